"""``recbole-rlmrec show``: one profile with its reasoning and the history that it quotes."""

from __future__ import annotations

import argparse

from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.data.store import ProfileStore, tag_folder
from recbole_rlmrec.errors import StoreError


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print a profile; returns the exit status."""
    from recbole_rlmrec.runs.split import load_split

    config, _, splits = load_split(args.dataset, options)
    store = ProfileStore(tag_folder(semantic_root(config), args.tag, args.dataset))
    side, token = ("user", args.user) if args.user is not None else ("item", args.item)
    profile = None
    for found in store.iter(side):
        profile = found if found.token == token else profile
    if profile is None:
        raise StoreError(f"{store.folder} has no profile of {side} {token}; failures.jsonl there may say why.")
    print(describe_profile(profile, side, store.manifest, Corpus.from_config(config, splits[0])))
    return 0


def describe_profile(profile: Profile, side: str, manifest: dict, corpus: Corpus) -> str:
    """The profile, its reasoning, and each quoted interaction with its title, rating and review."""
    title = _Titles(corpus)
    name = f" ({title(profile.token)})" if side == "item" and title(profile.token) else ""
    written_by = profile.extra.get("model") or manifest.get("by")
    lines = [f"{side} {profile.token}{name}, tag {manifest.get('tag')}, by {written_by}", "", profile.profile]
    if profile.reasoning:
        lines += ["", f"Reasoning: {profile.reasoning}"]
    if profile.pairs is None:
        return "\n".join([*lines, "", "Which interactions it quotes is not recorded."])
    lines += ["", f"It quotes {len(profile.pairs)} interactions" + (":" if profile.pairs else ".")]
    rows = corpus.interactions.set_index(["user", "item"])
    columns = corpus.columns()
    details = [name for name in [columns.rating, *columns.reviews] if name]
    for user, item in profile.pairs:
        who = f"item {item} {title(item)}".strip() if side == "user" else f"user {user}"
        known = [f"{name}: {rows.at[(user, item), name]}" for name in details] if (user, item) in rows.index else []
        lines.append("  " + "; ".join([who, *known]))
    return "\n".join(lines)


class _Titles:
    """Titles by item token; empty where there is none."""

    def __init__(self, corpus: Corpus) -> None:
        column = corpus.columns().title if corpus.item_fields is not None else None
        self._titles = None if column is None else corpus.item_fields[column]

    def __call__(self, token: str) -> str:
        return "" if self._titles is None else str(self._titles.get(token, ""))
