"""``recbole-rlmrec recommend``: the top items of some or all users, by a trained model."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from recbole_rlmrec.errors import ConfigError

HIDDEN = {"none": ("train", "valid", "test"), "heldout": ("train",)}
NEW_ITEMS = """a file as NAME.item, or JSON lines with item_id and profile; for models that take texts (AlphaRec, NAME_Semantic,
NAME_RLMRec with con)"""
NEW_USERS = """JSON lines with user_id and history (item ids), profile, or both; recommended to where neither --user nor
--all-users is given"""


class Recommended(NamedTuple):
    """An item that is recommended: its token, its title where there is one, its score."""

    item: str
    title: str | None
    score: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add = parser.add_argument
    add("--checkpoint", required=True, type=Path, help="model that a run has written, saved/NAME.pth")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--user", action="append", metavar="ID[,ID]", help="users, by their ids in the atomic files")
    who.add_argument("--all-users", action="store_true", help="every user of the run, and new ones")
    add("--new-items", type=Path, metavar="FILE", help=f"items that training never saw join the ranking: {NEW_ITEMS}")
    add("--new-users", type=Path, metavar="FILE", help=f"users that training never saw: {NEW_USERS}")
    add("--interactions", type=Path, metavar="FILE", help="later interactions of known and new users and items, as NAME.inter")
    add("--topk", type=int, default=10, help="items per user (default: 10)")
    add(
        "--keep",
        choices=tuple(HIDDEN),
        default="none",
        help="items that the user has interacted with and that may still be shown: none (default), or heldout, those of "
        "validation and test",
    )
    add("--format", choices=tuple(FORMATS), default="table", help="how to write them (default: table)")
    add("--output", type=Path, help="file to write (default: the screen)")
    parser.epilog = "Where the data or the profiles have moved since: --data_path=FOLDER, --semantic_path=FOLDER."


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print or write the recommendations; returns the exit status."""
    from recbole_rlmrec.runs.command_line import split_options
    from recbole_rlmrec.runs.trained import PLACES, load_trained

    places, rest = split_options(options, PLACES)
    if rest:
        raise ConfigError(f"recommend does not know {' '.join(rest)}; a checkpoint has the options of its run.")
    if args.topk < 1:
        raise ConfigError(f"--topk is the number of items per user, 1 or more, not {args.topk}.")
    if not (args.user or args.all_users or args.new_users):
        raise ConfigError("recommend needs to know for whom: --user ID, --all-users or --new-users FILE.")
    trained, new_users = load_trained(args.checkpoint, places), []
    if args.new_items or args.new_users or args.interactions:
        trained, new_users = with_unseen(trained, args.new_items, args.new_users, args.interactions)
    wanted = read_users(args.user) if args.user else new_users
    users = torch.arange(1, trained.dataset.user_num) if args.all_users else trained.user_ids(wanted)
    texts = lines(recommend(trained, users, args.topk, HIDDEN[args.keep]), FORMATS[args.format])
    if args.output is None:
        for text in texts:
            sys.stdout.write(text)
        return 0
    _write(args.output, texts)
    print(f"{args.output}: top {args.topk} of {len(users)} users")
    return 0


def with_unseen(trained, items: Path | None, users: Path | None, interactions: Path | None):
    """A trained model that knows the users and items of files, and the tokens of the users that the file of users has."""
    from recbole_rlmrec.runs.newcomers import read_unseen
    from recbole_rlmrec.runs.unseen import check_serves, extend

    check_serves(trained)
    unseen, titles, tokens = read_unseen(trained, items, users, interactions)
    extended = extend(trained, unseen)
    extended.__dict__["titles"] = {**titles, **trained.titles}
    return extended, tokens


def read_users(values: Sequence[str]) -> list[str]:
    """Tokens of ``A,B`` and of options that are repeated, each once.

    Raises
    ------
    ConfigError
        There is none.
    """
    users = list(dict.fromkeys(token.strip() for value in values for token in value.split(",") if token.strip()))
    if not users:
        raise ConfigError("--user needs at least one id, for example --user 12,74.")
    return users


def recommend(
    trained, users: torch.Tensor, k: int, seen: Sequence[str] = HIDDEN["none"]
) -> Iterator[tuple[str, list[Recommended]]]:
    """Top items of each user.

    Parameters
    ----------
    trained : recbole_rlmrec.runs.trained.Trained
    users : LongTensor [n]
        Internal ids.
    k : int
    seen : sequence of str
        Splits whose interactions are left out.

    Yields
    ------
    user : str
        Token.
    items : list of Recommended
        At most k, the best first; fewer where the user has fewer items left.
    """
    hidden, tokens = trained.items_of(seen), trained.tokens("item")
    names = trained.tokens("user")
    with tqdm(total=len(users), desc="users", unit="user", ncols=100, disable=len(users) <= trained.block or None) as bar:
        for part in users.split(trained.block):
            scores, items = trained.top(part, k, hidden)
            for user, row, ids in zip(part.tolist(), scores.tolist(), items.tolist()):
                found = [(str(tokens[item]), score) for item, score in zip(ids, row) if score > -torch.inf]
                yield str(names[user]), [Recommended(token, trained.titles.get(token), score) for token, score in found]
            bar.update(len(part))


def lines(found: Iterator[tuple[str, list[Recommended]]], form: Callable[[str, list[Recommended], bool], str]) -> Iterator[str]:
    """Each user's text in a format."""
    for number, (user, items) in enumerate(found):
        yield form(user, items, number == 0)


def _as_table(user: str, items: list[Recommended], first: bool) -> str:
    width = max((len(one.item) for one in items), default=0)
    rows = [f"{n:4}  {one.score:10.4f}  {one.item:{width}}  {one.title or ''}".rstrip() for n, one in enumerate(items, 1)]
    return "\n".join([*([] if first else [""]), f"user {user}", *rows]) + "\n"


def _as_csv(user: str, items: list[Recommended], first: bool) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if first:
        writer.writerow(["user", "rank", "item", "title", "score"])
    writer.writerows([user, rank, one.item, one.title or "", f"{one.score:.7g}"] for rank, one in enumerate(items, 1))
    return file.getvalue()


def _as_jsonl(user: str, items: list[Recommended], first: bool) -> str:
    return json.dumps({"user": user, "items": [one._asdict() for one in items]}, ensure_ascii=False) + "\n"


FORMATS = {"table": _as_table, "csv": _as_csv, "jsonl": _as_jsonl}


def _write(path: Path, texts: Iterator[str]) -> None:
    from recbole_rlmrec.data.files import replacing

    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder; give the name of a file.")
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(texts)
