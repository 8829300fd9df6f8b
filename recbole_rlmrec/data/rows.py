"""The raw rows of a run's training interactions: which row of ``.inter`` is whose, and its texts where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_rlmrec.data.atomic import FeatureType
from recbole_rlmrec.data.pairs import heldout_keys, pair_keys, pair_of, split_keys
from recbole_rlmrec.data.streams import Block, Plain
from recbole_rlmrec.data.texts import Picked, Texts, preview
from recbole_rlmrec.errors import DataError


@dataclass
class Rows:
    """One row for each training pair, by user in internal order and then by time.

    Attributes
    ----------
    users, items : int32 [n]
        Positions among the tokens of the run.
    columns : dict of str to Picked
        The other columns of ``.inter``.
    """

    users: np.ndarray
    items: np.ndarray
    columns: dict[str, Picked]

    def frame(self, users: list[str], items: list[str]) -> pd.DataFrame:
        """All of it in memory: columns ``user`` and ``item``, then the others."""
        tokens = {"user": np.array(users, dtype=object)[self.users], "item": np.array(items, dtype=object)[self.items]}
        texts = {name: column.values() for name, column in self.columns.items()}
        return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in {**tokens, **texts}.items()})

    def preview(self, most: int) -> pd.DataFrame:
        """Some values of each column, see :func:`recbole_rlmrec.data.texts.preview`."""
        return preview(self.columns, most)


class Raw:
    """``.inter`` as it is read: the key of each row's pair, its time, and its texts."""

    def __init__(self, path: Path, train, types: dict[str, FeatureType], time_field: str | None) -> None:
        self.path, self._train, self._time_field = path, train, time_field
        self._fields = (train.uid_field, train.iid_field)
        if missing := [name for name in self._fields if name not in types]:
            raise DataError(f"{path} has no column {missing[0]!r}; add it, or set USER_ID_FIELD and ITEM_ID_FIELD.")
        self.types = {name: kind for name, kind in types.items() if name not in ("user", "item", *self._fields)}

    def take(self, blocks: Iterator[Block]) -> Raw:
        """Read it."""
        plain, keys, times = Plain(self.types, self.path.name), [], []
        known = [pd.Index(_tokens(self._train, name), dtype=object) for name in self._fields]
        self.columns = {name: Texts() for name in self.types}
        for block in blocks:
            keys.append(pair_keys(self._train, *(_ids(block[name], index) for name, index in zip(self._fields, known))))
            if self._time_field in block:
                times.append(_numbers(block[self._time_field]))
            for name, column in plain({name: block[name] for name in self.types}).items():
                self.columns[name].append(column)
        plain.tell()
        self.keys = np.concatenate([np.empty(0, dtype=np.int64), *keys])
        self._times = np.concatenate(times) if times else None
        return self

    def training(self, keep: str | None) -> Rows:
        """Rows of the training pairs; ``keep`` says which of several rows of a pair counts, ``first`` or ``last`` (default).

        Raises
        ------
        DataError
            Some of the pairs have no row.
        """
        if self._lists_sequences():
            return self._of_sequences()
        size, times, self._times = len(self.keys), self._times, None
        order = np.arange(size) if times is None else np.argsort(times, kind="stable")
        known = known_by_then(self._train, self.keys, times)
        order = order[known[order]].astype(_row_type(size))
        del times, known
        keys, rows, blank = matching_rows(self._train, self.keys, order, keep)
        if (rows < 0).any():
            lost = int((rows < 0).sum())
            raise DataError(f"{self.path} lacks {lost} training interactions of the run; it is not the file of this run.")
        return self._picked(keys, np.where(blank, -1, rows).astype(_row_type(size)))

    def _picked(self, keys: np.ndarray, rows: np.ndarray) -> Rows:
        users, items = pair_of(keys, self._train.item_num)
        columns = {name: Picked(self.columns[name], rows) for name in self.types}
        return Rows((users - 1).astype(np.int32), (items - 1).astype(np.int32), columns)

    def _lists_sequences(self) -> bool:
        """Whether the file has the sequence before each row in columns of its own."""
        return f"{self._fields[1]}{self._train.config['LIST_SUFFIX']}" in self.types and hasattr(
            self._train, "item_list_length_field"
        )

    def _of_sequences(self) -> Rows:
        """Rows of a file that lists sequences.

        An item that is no target of any row has no values but the time, where the file lists times. A pair stands where it
        comes last: the later the row, the later in its sequence.
        """
        train, suffix, everything = self._train, self._train.config["LIST_SUFFIX"], np.arange(len(self.keys))
        separator = train.config["seq_separator"] or " "
        names = [name for name in (self._fields[1], self._time_field) if f"{name}{suffix}" in self.types]
        lists = [pd.Series(self.columns[f"{name}{suffix}"].take(everything)).str.split(separator) for name in names]
        same = len(lists) > 1 and bool((lists[0].str.len() == lists[1].str.len()).all())
        rank = np.empty(len(everything), dtype=np.int64)
        rank[everything if self._times is None else np.argsort(self._times, kind="stable")] = everything
        before = pd.DataFrame({"rank": rank, "user": self.keys // train.item_num, "item": lists[0], "row": -1})
        before["time"] = lists[1] if same else ""
        before = before.explode(["item", "time"] if same else "item", ignore_index=True)
        known = pd.Index(_tokens(train, self._fields[1]), dtype=object)
        items = np.maximum(known.get_indexer(pd.Index(before["item"], dtype=object)), 0)
        before["key"] = pair_keys(train, before["user"].to_numpy(), items)
        own = pd.DataFrame({"rank": rank, "key": self.keys, "row": everything, "time": ""})
        events = pd.concat([before[["rank", "key", "row", "time"]], own]).sort_values("rank", kind="stable", ignore_index=True)
        events = events[events["key"] > 0]
        target = events[events["row"] >= 0].drop_duplicates("key", keep="last").set_index("key")["row"]
        last = events.drop_duplicates("key", keep="last")
        last = last.iloc[np.lexsort((last.index, last["key"].to_numpy() // train.item_num))]
        rows = target.reindex(last["key"], fill_value=-1).to_numpy()
        self.types = {name: kind for name, kind in self.types.items() if not name.endswith(suffix)}
        found = self._picked(last["key"].to_numpy(), rows)
        if self._time_field in found.columns:
            times = np.where(rows < 0, last["time"].to_numpy(), found.columns[self._time_field].values())
            listed = Texts()
            listed.append(pa.array(times, type=pa.string()))
            found.columns[self._time_field] = Picked(listed, np.arange(len(times)))
        return found


def known_by_then(train, raw_keys: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    """Which raw rows may be training's, bool [n]: of pairs that the run has, and before it holds out what their users did."""
    known = raw_keys > 0
    deadlines = getattr(train, "rlmrec_deadlines", None)
    if deadlines is not None and times is not None:
        known &= ~deadlines.passed(*pair_of(raw_keys, train.item_num), times)
    return known


def matching_rows(
    train, raw_keys: np.ndarray, order: np.ndarray, keep: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The raw row of each distinct training pair.

    Parameters
    ----------
    train : recbole.data.dataset.Dataset
    raw_keys : int64 [n]
        Key of each raw row's pair.
    order : int [known]
        Raw rows that may be training's, see `known_by_then`, in the order of time.
    keep : str or None
        Which of several rows of a pair counts, ``first`` or ``last`` (also the default).

    Returns
    -------
    keys : int64 [pairs]
        The pairs, by user and then time.
    rows : int64 [pairs]
        Row of each pair; -1 where there is none.
    blank : bool [pairs]
        Whether the row might be another one's, held out: the raw file has more rows of the pair than training has, and
        the pair is in a held-out split or the run does not know its held-out splits. It stands where its first row does.
    """
    keys, counts = np.unique(split_keys(train), return_counts=True)
    in_time = raw_keys[order]
    by_key = np.argsort(in_time, kind="stable").astype(order.dtype)
    sorted_keys, rows_by_key = in_time[by_key], order[by_key]
    del in_time, by_key
    place = np.searchsorted(keys, sorted_keys).astype(order.dtype)
    ours = np.append(keys, 0)[place] == sorted_keys
    del sorted_keys
    place, rows_by_key = place[ours], rows_by_key[ours]
    ends = np.searchsorted(place, np.arange(len(keys) + 1))
    repeats = np.diff(ends)
    heldout = heldout_keys(train)
    risky = repeats > counts
    if heldout is not None:
        risky[risky] = np.isin(keys[risky], heldout)
    at = np.where(risky | (keep == "first"), ends[:-1], ends[1:] - 1)
    rows = np.where(repeats > 0, np.append(rows_by_key, -1)[at], -1)
    position = np.zeros(len(raw_keys), dtype=order.dtype)
    position[order] = np.arange(len(order))
    by_user = np.argsort(keys // train.item_num * (len(order) + 1) + position[rows])
    return keys[by_user], rows[by_user], risky[by_user]


def _row_type(size: int) -> type:
    return np.int32 if size < 1 << 31 else np.int64


def _tokens(train, field: str) -> np.ndarray:
    """Tokens of the run by internal id, object; that of the padding is None, as no row is."""
    return np.append(None, train.field2id_token[field][1:].astype(object))


def _ids(tokens: pa.Array, known: pd.Index) -> np.ndarray:
    """Internal ids of raw tokens, int64 [n], 0 for those that the run does not have."""
    coded = tokens.dictionary_encode()
    ids = np.maximum(known.get_indexer(pd.Index(coded.dictionary.to_numpy(zero_copy_only=False), dtype=object)), 0)
    return ids[coded.indices.to_numpy()] if len(ids) else np.empty(0, dtype=np.int64)


def _numbers(texts: pa.Array) -> np.ndarray:
    """Times as they are written, float64 [n], NaN where one is none."""
    try:
        return pc.cast(pc.if_else(pc.equal(texts, ""), None, texts), pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return pd.to_numeric(texts.to_pandas().astype(object), errors="coerce").to_numpy(dtype=np.float64)
