"""``recbole-rlmrec recommend``: the top items of some or all users, by a trained model."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from tqdm import tqdm

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.runs.candidates import allowed_items
from recbole_rlmrec.runs.new_sequences import extend_sequences
from recbole_rlmrec.runs.newcomers import read_unseen
from recbole_rlmrec.runs.trained import PLACES, Trained, TrainedOnSequences, load_trained
from recbole_rlmrec.runs.unseen import Unseen, check_serves, extend

HIDDEN = {"none": ("train", "valid", "test"), "heldout": ("train",), "all": ()}


class Recommended(NamedTuple):
    """An item that is recommended: its token, its title where there is one, its score."""

    item: str
    title: str | None
    score: float


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print or write the recommendations; returns the exit status."""
    if args.topk < 1:
        raise ConfigError(f"--topk is the number of items per user, 1 or more, not {args.topk}.")
    if not (args.user or args.all_users or args.new_users or args.items):
        raise ConfigError("recommend needs to know for whom: --user ID, --all-users, --new-users FILE or --items ID,ID.")
    if args.format == "parquet" and args.output is None:
        raise ConfigError("--format parquet is no text for the screen; name a file with --output.")
    if args.output is not None and args.output.is_dir():
        raise ConfigError(f"--output {args.output} is a folder; give the name of a file.")
    trained = load_trained(args.checkpoint, {key: value for key in PLACES if (value := place(args, key))})
    named = read_users(args.user) if args.user else []
    trained = _until(trained, args)
    if args.items:
        trained, token = with_sequence(trained, read_users(args.items, "--items"))
        named.append(token)
    if args.new_items or args.new_users or args.interactions:
        trained, tokens = with_unseen(trained, args.new_items, args.new_users, args.interactions)
        named = named or tokens
    users = torch.arange(1, trained.dataset.user_num) if args.all_users else trained.user_ids(named)
    allowed, notes = allowed_items(trained, args.only_items, args.exclude, args.where)
    for note in notes:
        print(f"recbole-rlmrec: {note}", file=sys.stderr)
    found = recommend(trained, users, args.topk, HIDDEN[args.keep], allowed)
    if args.output is None:
        for text in lines(found, TEXTS[args.format]):
            sys.stdout.write(text)
        return 0
    if args.format == "parquet":
        _write_parquet(args.output, found)
    else:
        _write(args.output, lines(found, TEXTS[args.format]))
    print(f"{args.output}: top {args.topk} of {len(users)} users")
    return 0


def with_unseen(
    trained: Trained, items: Path | None, users: Path | None, interactions: Path | None
) -> tuple[Trained, list[str]]:
    """A trained model that knows the users and items of files, and the tokens of the users that the file of users has."""
    sequential = isinstance(trained, TrainedOnSequences)
    if not sequential:
        check_serves(trained)
    unseen, titles, tokens = read_unseen(trained, items, users, interactions)
    extended = extend_sequences(trained, unseen) if sequential else extend(trained, unseen)
    extended.__dict__["titles"] = {**titles, **trained.titles}
    return extended, tokens


def _until(trained: Trained, args: argparse.Namespace) -> Trained:
    """A sequential recommender whose users' sequences end where they are asked to."""
    if isinstance(trained, TrainedOnSequences):
        return trained.until(args.until or ("train" if args.keep == "heldout" else "test"))
    if args.until or args.items:
        option = "--until" if args.until else "--items"
        raise ConfigError(f"{trained.config['model']} ranks by no sequences; leave {option} out, or give a sequential model.")
    return trained


def with_sequence(trained: TrainedOnSequences, items: Sequence[str]) -> tuple[TrainedOnSequences, str]:
    """A sequential recommender that knows somebody with a sequence of items, and what that user is called there.

    Raises
    ------
    DataError
        The run does not have one of the items.
    """
    known = trained.dataset.field2token_id[trained.dataset.iid_field]
    if unknown := [item for item in items if known.get(item, 0) == 0]:
        raise DataError(f"{trained.config['dataset']} has no item {unknown[0]!r}; write ids as they stand in the .inter file.")
    token = f"who chose {', '.join(items)}"
    pairs = pd.DataFrame({"user": token, "item": list(items)}, dtype=object)
    return extend_sequences(trained, Unseen(users=[token], pairs=pairs)), token


def read_users(values: Sequence[str], option: str = "--user") -> list[str]:
    """Tokens of ``A,B`` and of options that are repeated, users each once, items as often as they are given.

    Raises
    ------
    ConfigError
        There is none.
    """
    tokens = [token.strip() for value in values for token in value.split(",") if token.strip()]
    if not tokens:
        raise ConfigError(f"{option} needs at least one id, for example {option} 12,74.")
    return tokens if option == "--items" else list(dict.fromkeys(tokens))


def recommend(
    trained, users: torch.Tensor, k: int, seen: Sequence[str] = HIDDEN["none"], allowed: torch.Tensor | None = None
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
    allowed : BoolTensor [n_items], optional
        Items that may be shown.

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
            scores, items = trained.top(part, k, hidden, allowed)
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


TEXTS = {"table": _as_table, "csv": _as_csv, "jsonl": _as_jsonl}
FORMATS = (*TEXTS, "parquet")


def _write(path: Path, texts: Iterator[str]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(texts)


def _write_parquet(path: Path, found: Iterator[tuple[str, list[Recommended]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("user", pa.string()), ("rank", pa.int32()), ("item", pa.string()), ("title", pa.string()), ("score", pa.float32())]
    )
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as file:
        while users := list(itertools.islice(found, 4096)):
            rows = [(user, rank, *one) for user, items in users for rank, one in enumerate(items, 1)]
            columns = [pa.array(column) for column in zip(*rows)]
            file.write_table(pa.table(columns, schema.names).cast(schema) if rows else schema.empty_table())
