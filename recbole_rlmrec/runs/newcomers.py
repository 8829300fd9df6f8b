"""Files of new users and items: what they say, as :class:`recbole_rlmrec.runs.unseen.Unseen`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import PARTS, AtomicFile, read_atomic
from recbole_rlmrec.data.columns import guess_title
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.pairs import Interactions, interactions_of
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.profile import BadRecord, parse_profile, parse_token
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import DataError
from recbole_rlmrec.profiling.sentences import item_texts
from recbole_rlmrec.profiling.shared import Shared
from recbole_rlmrec.runs.scoring import by_item
from recbole_rlmrec.runs.sequential import TrainedOnSequences
from recbole_rlmrec.runs.trained import Trained
from recbole_rlmrec.runs.unseen import Unseen, semantic_tag
from recbole_rlmrec.semantic.leakage import check_leakage
from recbole_rlmrec.semantic.more import embed_texts

_LINES = (".jsonl", ".json")
logger = getLogger()


@dataclass
class _Side:
    """What a file says of one side.

    Attributes
    ----------
    tokens : list of str
        In the order of the file.
    texts, titles : dict of str to str
        By token, where there are.
    pairs : list of (str, str)
        Interactions, (user, item).
    quoted : list of (str, str)
        Interactions that texts were made from.
    """

    tokens: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    quoted: list[tuple[str, str]] = field(default_factory=list)


def read_unseen(
    trained: Trained, items: Path | None = None, users: Path | None = None, interactions: Path | None = None
) -> tuple[Unseen, dict[str, str], list[str]]:
    """Read what files say of new users and items, and encode their texts with the encoder of the run's profiles.

    Parameters
    ----------
    trained : Trained
    items : Path, optional
        An atomic file such as ``NAME.item`` (rows of known items are passed over; texts are put together from its columns, or
        are those of a column ``profile``), or JSON lines with ``item_id``, ``profile`` and perhaps ``title`` and ``pairs``.
    users : Path, optional
        JSON lines with ``user_id`` and ``history`` (a list of item ids), ``profile``, or both; or an atomic file with columns
        ``history:token_seq`` and ``profile:token_seq``. The history of a known user is taken as later interactions.
    interactions : Path, optional
        An atomic file such as ``NAME.inter`` of later interactions.

    Returns
    -------
    unseen : Unseen
    titles : dict of str to str
        Of new items.
    users : list of str
        Everyone whom the file of users names, known or new.

    Raises
    ------
    DataError
        A line is not as it should be, or names an unknown item.
    LeakageError
        A text was made from an interaction that the run holds out.
    EncoderError
        The encoder of the profiles is not at hand.
    """
    known = {side: set(map(str, trained.tokens(side)[1:])) for side in ("user", "item")}
    found = {
        "item": _read(trained, items, "item", known["item"]) if items else _Side(),
        "user": _read(trained, users, "user", set()) if users else _Side(),
    }
    named = list(found["user"].tokens)
    later = trained.later.items if trained.later is not None else ()
    _check_history(found["user"], known["item"].union(found["item"].tokens, later), users)
    pairs = pd.DataFrame(found["user"].pairs, columns=["user", "item"], dtype=object)
    if interactions:
        pairs = pd.concat([pairs, _read_pairs(trained, interactions)], ignore_index=True)
    if trained.later is not None:
        _add_later(trained, found, known)
        pairs = pd.concat([pairs, trained.later.pairs], ignore_index=True)
    new_users = [token for token in found["user"].tokens if token not in known["user"]]
    if isinstance(trained, TrainedOnSequences):
        found["user"].texts.clear()  # it ranks by histories alone
        if items is None:
            return Unseen(new_users, (), {}, pairs), {}, named
    tag = semantic_tag(trained)
    quoted = pd.DataFrame([*found["item"].quoted, *found["user"].quoted], columns=["user", "item"], dtype=object)
    check_leakage(quoted, trained.splits[0], trained.config["leakage"] or "error", tag)
    texts = {side: {token: one.texts[token] for token in one.tokens if token in one.texts} for side, one in found.items()}
    encoded = embed_texts(trained.config, tag, {side: list(one.values()) for side, one in texts.items()})
    vectors = {side: (list(texts[side]), rows) for side, rows in encoded.items()}
    return Unseen(new_users, found["item"].tokens, vectors, pairs), found["item"].titles, named


def _add_later(trained: Trained, found: dict[str, _Side], known: dict[str, set[str]]) -> None:
    """Take in what the run's own files have gained; texts of items are put together where those of the run were."""
    later = trained.later
    new = {"user": later.users, "item": later.items}
    if later.items and trained.item_file is not None and _templated(trained):
        texts = _read_atomic(trained, trained.item_file.path, "item").texts
        found["item"].texts = {token: texts[token] for token in later.items if token in texts} | found["item"].texts
    for side, tokens in new.items():
        there = known[side].union(found[side].tokens)
        found[side].tokens += [token for token in tokens if token not in there]


def _templated(trained: Trained) -> bool:
    return ProfileStore(semantic_root(trained.config) / semantic_tag(trained)).manifest.get("by") == "template"


def _read(trained: Trained, path: Path, side: str, known: set[str]) -> _Side:
    if not path.is_file():
        raise DataError(f"{path} is not there; give a file of new {side}s.")
    found = _read_lines(path, side) if path.suffix in _LINES else _read_atomic(trained, path, side)
    tokens = [token for token in dict.fromkeys(found.tokens) if token not in known]
    if len(tokens) < len(found.tokens):
        logger.info(f"{len(found.tokens) - len(tokens)} of {len(found.tokens)} {side}s of {path} are known to the run.")
    if not tokens:
        raise DataError(f"{path} holds no {side} that the run does not have.")
    found.tokens = tokens
    return found


def _read_lines(path: Path, side: str) -> _Side:
    found, seen = _Side(), set()
    for where, record in _records(path):
        try:
            if not isinstance(record, dict):
                raise BadRecord("not a JSON object")
            history, title = record.pop("history", None), record.pop("title", None)
            if history is not None and (side == "item" or not isinstance(history, list)):
                raise BadRecord("'history' must be a list of item ids, and is of users")
            one = parse_profile({"profile": "", **record}, side)
            pairs = [(one.token, parse_token(item)) for item in history or ()]
        except BadRecord as reason:
            raise DataError(f"{where}: {reason}; correct the line.") from None
        if one.token in seen:
            raise DataError(f"{where}: {side} {one.token!r} comes a second time; remove one.")
        seen.add(one.token)
        found.tokens.append(one.token)
        found.pairs += pairs
        found.quoted += one.pairs or []
        if one.profile.strip():
            found.texts[one.token] = one.profile
        if isinstance(title, str) and title:
            found.titles[one.token] = title
    return found


def _records(path: Path) -> Iterator[tuple[str, object]]:
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield f"{path}, line {number}", json.loads(line)
                except ValueError:
                    raise DataError(f"{path}, line {number}: not a JSON object; correct the line.") from None


def _format(trained: Trained) -> tuple[str, str]:
    return trained.config["field_separator"] or "\t", trained.config["encoding"] or "utf-8"


def _read_atomic(trained: Trained, path: Path, side: str) -> _Side:
    file = read_atomic(path, *_format(trained))
    train = trained.splits[0]
    column = train.uid_field if side == "user" else train.iid_field
    if column not in file.table:
        raise DataError(f"{path} has no column {column!r} but {', '.join(file.table)}; its first line names the columns.")
    table = file.table[file.table[column] != ""].drop_duplicates(column)
    found = _Side(tokens=table[column].tolist())
    if side == "user":
        if not {"history", "profile"} & set(table):
            raise DataError(f"{path} has neither a column history:token_seq nor profile:token_seq; add one, or both.")
        separator = trained.config["seq_separator"] or " "
        for user, items in zip(table[column], table.get("history", pd.Series("", index=table.index))):
            found.pairs += [(user, item.strip()) for item in items.split(separator) if item.strip()]
    else:
        name = guess_title(table.drop(columns=column), file.types)
        found.titles = {token: title for token, title in zip(table[column], table[name]) if title} if name else {}
    if "profile" in table:
        texts = zip(table[column], table["profile"])
    else:
        texts = _put_together(trained, file, column) if side == "item" else ()
    found.texts = {token: text for token, text in texts if text.strip()}
    return found


def read_rows(trained: Trained, path: Path) -> AtomicFile | None:
    """A file of new items with the ids of its rows as index; None for JSON lines, which have no columns."""
    if path.suffix in _LINES:
        return None
    return by_item(read_atomic(path, *_format(trained)), trained.splits[0].iid_field)


def with_rows(file: AtomicFile | None, more: AtomicFile | None) -> AtomicFile | None:
    """``NAME.item`` with the rows of a file of new items behind its own; what a row does not say is empty."""
    if file is None or more is None:
        return file or more
    new = more.table[~more.table.index.isin(file.table.index)]
    return AtomicFile(file.path, pd.concat([file.table, new]).fillna(""), {**more.types, **file.types})


def _put_together(trained: Trained, file, column: str) -> Iterator[tuple[str, str]]:
    """Texts of a file's items as templates make them for those of the run; interactions are not looked at."""
    manifest = ProfileStore(semantic_root(trained.config) / semantic_tag(trained)).manifest
    if manifest.get("by") != "template":
        logger.warning(
            f"The profiles of tag {manifest.get('tag')!r} were made by {manifest.get('by')}, texts of new items are put "
            "together from their columns: new items are served better with texts of the same kind, in a column profile."
        )
    corpus = Corpus.from_config(trained.config, trained.splits[0])
    corpus.interactions = corpus.interactions[[]].assign(user="", item="").iloc[:0]
    corpus = corpus.with_items(file, column)
    for token, text, _ in item_texts(Shared(corpus, corpus.columns())):
        yield token, text


def _check_history(users: _Side, known: set[str], path: Path | None) -> None:
    unknown = [(user, item) for user, item in users.pairs if item not in known]
    if unknown:
        more = f", and {len(unknown) - 1} more such ids" if len(unknown) > 1 else ""
        raise DataError(
            f"{path}: the history of user {unknown[0][0]!r} has item {unknown[0][1]!r}{more}, which neither the run nor "
            "--new-items has; write ids as they stand in the .inter file."
        )


def _read_pairs(trained: Trained, path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not there; give a file of interactions, as NAME.inter.")
    file, train = read_atomic(path, *_format(trained)), trained.splits[0]
    fields, time = [train.uid_field, train.iid_field], train.time_field
    if missing := [name for name in fields if name not in file.table]:
        raise DataError(f"{path} has no column {missing[0]!r} but {', '.join(file.table)}; its first line names the columns.")
    found = file.table[fields].set_axis(["user", "item"], axis=1)
    times = pd.to_numeric(file.table[time], errors="coerce").astype(np.float64) if time in file.table else np.nan
    found = found.assign(time=times).sort_values("time", kind="stable")
    if isinstance(trained, TrainedOnSequences):
        found = _only_later(trained, found, path)
    return found[["user", "item"]]


def _only_later(trained: TrainedOnSequences, rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Interactions without those that sequences have: the same user, item and time, as often as the run has them.

    RecBole keeps times in single precision, and so they are compared. Where times are not known, each row is a repeat.
    """
    parts = trained.splits[: PARTS.index(trained.ends) + 1]
    known = functools.reduce(Interactions.plus, interactions_of(parts))
    there = pd.DataFrame({"user": known.users, "item": known.items, "time": np.nan if known.times is None else known.times})
    asked = rows.copy()
    for side, name in (("user", parts[0].uid_field), ("item", parts[0].iid_field)):
        asked[side] = rows[side].map(trained.dataset.field2token_id[name]).fillna(-1).astype(np.int64)
    timed = {name: table.astype({"time": np.float32}).dropna() for name, table in (("there", there), ("asked", asked))}
    counts = timed["there"].value_counts().reindex(pd.MultiIndex.from_frame(timed["asked"]), fill_value=0).to_numpy()
    again = timed["asked"].groupby(list(asked)).cumcount() < counts
    had = again.reindex(asked.index, fill_value=False).to_numpy()
    if had.any():
        logger.info(f"{had.sum():,} of the {len(rows):,} interactions of {path} are in the run's sequences already.")
    pairs = [pd.MultiIndex.from_frame(table[["user", "item"]]) for table in (asked, there)]
    timeless = asked["time"].isna().to_numpy() | (known.times is None)
    if repeats := int((pairs[0].isin(pairs[1]) & timeless & ~had).sum()):
        logger.warning(
            f"{repeats:,} of the {len(rows):,} interactions of {path} are of pairs of user and item that the run has, and "
            "without times nobody can tell repeats from the same ones: they are taken for repeats that came later."
        )
    return rows[~had]
