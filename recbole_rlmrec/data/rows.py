"""The raw rows of a run's training interactions: which row of ``.inter`` is whose, and its texts where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_rlmrec.data.atomic import FeatureType
from recbole_rlmrec.data.memory import give_back
from recbole_rlmrec.data.pairs import Interactions, pair_keys, pair_of, ranges, targets, training_interactions
from recbole_rlmrec.data.streams import Block, Plain
from recbole_rlmrec.data.texts import Picked, Spool, Texts, preview
from recbole_rlmrec.errors import DataError

_AT_ONCE = 1 << 16
_BLANK, _LOST = -1, -2


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

    def frame(self, users: Sequence[str], items: Sequence[str]) -> pd.DataFrame:
        """All of it in memory: columns ``user`` and ``item``, then the others."""
        tokens = {"user": np.array([*users], dtype=object)[self.users], "item": np.array([*items], dtype=object)[self.items]}
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
        plain, keys, times = Plain(self.types, self.path.name), Spool(np.int64), Spool(np.float64)
        known = [pd.Index(_tokens(self._train, name), dtype=object) for name in self._fields]
        self.columns = {name: Texts() for name in self.types}
        for block in blocks:
            ids = (_ids(block[name], index) for name, index in zip(self._fields, known))
            keys.append(pair_keys(self._train, *ids))
            if self._time_field in block:
                times.append(_numbers(block[self._time_field]))
            for name, column in plain({name: block[name] for name in self.types}).items():
                self.columns[name].append(column)
        plain.tell()
        del known
        give_back()
        self.keys, self._times = keys.array(), times.array()
        self._times = self._times if len(self._times) else None
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
        users, items, rows = matching_rows(self._train, self.keys, self._times, keep)
        self._times = None
        give_back()
        if lost := int((rows == _LOST).sum()):
            raise DataError(f"{self.path} lacks {lost} training interactions of the run; it is not the file of this run.")
        return self._picked(users, items, rows)

    def _picked(self, users: np.ndarray, items: np.ndarray, rows: np.ndarray) -> Rows:
        return Rows(users, items, {name: Picked(self.columns[name], rows) for name in self.types})

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
        users, items = pair_of(last["key"].to_numpy(), train.item_num)
        found = self._picked((users - 1).astype(np.int32), (items - 1).astype(np.int32), rows)
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
    train, raw_keys: np.ndarray, times: np.ndarray | None, keep: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The raw row of each distinct training pair, by user and then by time; made range of users by range of users.

    Parameters
    ----------
    train : recbole.data.dataset.Dataset
    raw_keys : int64 [n]
        Key of each raw row's pair.
    times : float64 [n], optional
        Time of each raw row; their order in the file by default.
    keep : str or None
        Which of several rows of a pair counts, ``first`` or ``last``; by default the last that training has.

    Returns
    -------
    users, items : int32 [pairs]
        Positions among the tokens of the run.
    rows : int [pairs]
        Row of each pair; -2 where there is none, and -1 where the row might be another one's: the raw file has more rows of
        the pair than training has, and the pair is in a held-out split, the run does not know its held-out splits, or it has
        left out rows by their values. It stands where its first row does.
    """
    known, heldout = training_interactions(train), getattr(train, "rlmrec_heldout", None)
    held = None if heldout is None else [targets(part) for part in heldout]
    of_user = ranges(np.bincount(known.users, minlength=train.user_num))
    of_raw = _ranges_of_keys(of_user, raw_keys, train.item_num)
    of_known, of_held = of_user[known.users], [of_user[part.users] for part in held or ()]
    filtered = bool(train.config["val_interval"]) and keep is None  # else duplicates are removed before
    size = len(known.users)
    users, items = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    rows, count = np.empty(size, dtype=_row_type(len(raw_keys))), 0
    for number in np.unique(of_user):
        raw = np.flatnonzero(of_raw == number)
        keys, in_range = raw_keys[raw], None if times is None else times[raw]
        may_be = known_by_then(train, keys, in_range)
        order = np.arange(len(raw)) if in_range is None else np.argsort(in_range, kind="stable")
        order = order[may_be[order]]
        own = _keys_at(train, known, of_known == number)
        shut = [_keys_at(train, part, of_part == number) for part, of_part in zip(held or (), of_held)]
        shut = None if held is None else np.concatenate(shut)
        found, place, risky = _matched(own, keys[order], shut, keep, filtered)
        by_user = np.argsort(found // train.item_num * (len(order) + 1) + place)
        found, place = found[by_user], place[by_user]
        part = slice(count, count + len(found))
        users[part], items[part] = (ids - 1 for ids in pair_of(found, train.item_num))
        rows[part] = np.where(risky[by_user], _BLANK, np.append(raw[order], _LOST)[place])
        count += len(found)
    return users[:count], items[:count], rows[:count]


def _ranges_of_keys(of_user: np.ndarray, keys: np.ndarray, n_items: int) -> np.ndarray:
    """Range of the user of each key, one that no user has for the key 0, as `pairs.ranges` numbers them."""
    found = np.empty(len(keys), dtype=of_user.dtype)
    for start in range(0, len(keys), _AT_ONCE):
        block = keys[start : start + _AT_ONCE]
        found[start : start + _AT_ONCE] = np.where(block > 0, of_user[pair_of(block, n_items)[0]], of_user[-1] + 1)
    return found


def _keys_at(train, known: Interactions, chosen: np.ndarray) -> np.ndarray:
    """Keys of some interactions, int64 [n], those with the padding left out."""
    rows = np.flatnonzero(chosen)
    keys = pair_keys(train, known.users[rows], known.items[rows])
    return keys[keys > 0]


def _matched(
    own: np.ndarray, in_time: np.ndarray, heldout: np.ndarray | None, keep: str | None, filtered: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct pairs of training, where the row of each is in the order of time, -1 for nowhere, and whether it is in doubt.

    Parameters
    ----------
    own : int64 [m]
        Keys of training.
    in_time : int64 [n]
        Keys of the raw rows in the order of time.
    heldout : int64 [k], optional
        Keys that are held out; any may be by default.
    keep : str or None
        See `matching_rows`.
    filtered : bool
        Whether rows of a pair may be missing in training because of their values.
    """
    keys, counts = np.unique(own, return_counts=True)
    by_key = np.argsort(in_time, kind="stable")
    ordered = in_time[by_key]
    begins, ends = np.searchsorted(ordered, keys), np.searchsorted(ordered, keys, side="right")
    risky = ends - begins > counts
    if heldout is not None:
        risky[risky] = filtered | np.isin(keys[risky], heldout)
    later = ends if keep == "last" else begins + np.minimum(counts, ends - begins)  # of data that have grown, not the newest
    at = np.where(risky | (keep == "first"), begins, later - 1)
    return keys, np.where(ends > begins, np.append(by_key, -1)[at], -1), risky


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
