"""``recbole-rlmrec show``: one profile with its reasoning and the history that it quotes."""

from __future__ import annotations

import argparse

from recbole_rlmrec.commands.places import given_options
from recbole_rlmrec.data.history import History
from recbole_rlmrec.data.paths import dataset_root
from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.data.store import ProfileStore, tag_folder
from recbole_rlmrec.errors import StoreError


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print a profile; returns the exit status."""
    given = given_options(args, options)
    root = dataset_root(given.get("semantic_path"), args.dataset) / "semantic"
    store = ProfileStore(tag_folder(root, args.tag, args.dataset))
    side, token = ("user", args.user) if args.user is not None else ("item", args.item)
    profile = None
    for found in store.iter(side):
        profile = found if found.token == token else profile
    if profile is None:
        raise StoreError(f"{store.folder} has no profile of {side} {token}; failures.jsonl there may say why.")
    print(describe_profile(profile, side, store.manifest, History(args.dataset, given)))
    return 0


def describe_profile(profile: Profile, side: str, manifest: dict, history: History) -> str:
    """The profile, its reasoning, and each quoted interaction with its title, rating and review."""
    name = f" ({title})" if side == "item" and (title := history.title(profile.token)) else ""
    written_by = profile.extra.get("model") or manifest.get("by")
    lines = [f"{side} {profile.token}{name}, tag {manifest.get('tag')}, by {written_by}", "", profile.profile]
    if profile.reasoning:
        lines += ["", f"Reasoning: {profile.reasoning}"]
    if profile.pairs is None:
        return "\n".join([*lines, "", "Which interactions it quotes is not recorded."])
    lines += ["", f"It quotes {len(profile.pairs)} interactions" + (":" if profile.pairs else ".")]
    for (user, item), time in zip(profile.pairs, profile.times or [None] * len(profile.pairs)):
        who = f"item {item} {history.title(item)}".strip() if side == "user" else f"user {user}"
        details = history.details(user, item, time)
        lines.append("  " + "; ".join([who, *(f"{name}: {value}" for name, value in details.items())]))
    return "\n".join(lines)
