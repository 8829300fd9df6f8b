"""Columns of text that need no memory for their texts: on disk beyond a few megabytes, with an offset for each value."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from operator import eq

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

IN_MEMORY = 1 << 22
"""Bytes of a column that are kept in memory."""
_AT_ONCE = 1 << 24
_SHIFT = 8
_ROWS = 1 << 16


class Spool:
    """Numbers on disk beyond a few megabytes until all of them have come, so that they are in memory once.

    Parameters
    ----------
    dtype : type
    """

    def __init__(self, dtype: type) -> None:
        self._dtype, self._file = dtype, tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="recbole-rlmrec-")

    def append(self, values: np.ndarray) -> None:
        """Add numbers."""
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype))

    def array(self) -> np.ndarray:
        """All of them, read-only; nothing can be added after that."""
        self._file.seek(0)
        with self._file as file:
            return np.frombuffer(file.read(), dtype=self._dtype)


class Texts(Sequence):
    """A column of texts, in the order in which they were added.

    Its file has no name, so that it goes with the process; it lies where Python's ``tempfile`` puts such files. In memory
    are, of every 256 texts, where they begin, and of each how far from there: two bytes, or four where the texts are long.
    """

    def __init__(self) -> None:
        self._lengths: list[np.ndarray] = []
        self._parts: list[bytes] = []
        self._file = None
        self._bytes = self._count = 0
        self._starts: np.ndarray | None = None
        self._within: np.ndarray | None = None

    def append(self, values: pa.Array) -> None:
        """Add texts; missing ones are empty."""
        values = pc.fill_null(pc.cast(values, pa.large_string()), "")
        offsets = np.frombuffer(values.buffers()[1], dtype=np.int64)[values.offset : values.offset + len(values) + 1]
        if not len(values):
            return
        data = values.buffers()[2]
        block = b"" if data is None else data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
        if self._starts is not None:
            self._lengths = [np.diff(self._at(np.arange(self._count + 1)))]
            self._starts = self._within = None
        lengths = np.diff(offsets)
        self._lengths.append(lengths.astype(np.min_scalar_type(lengths.max())))
        self._count += len(lengths)
        self._bytes += len(block)
        self._parts.append(block)
        if self._bytes > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="recbole-rlmrec-")
        self._file.seek(0, os.SEEK_END)
        self._file.write(b"".join(self._parts))
        self._file.flush()
        self._parts = []

    def _close(self) -> None:
        """Make the index of what has been added."""
        if self._starts is not None:
            return
        lengths = np.concatenate([np.empty(0, dtype=np.uint8), *self._lengths])
        self._lengths = []
        lengths.resize(((self._count >> _SHIFT) + 1) << _SHIFT, refcheck=False)
        lengths = lengths.reshape(-1, 1 << _SHIFT)
        sums = lengths.sum(axis=1, dtype=np.int64)
        self._starts = np.cumsum(sums) - sums
        within = np.zeros(lengths.shape, dtype=np.min_scalar_type(sums.max()))
        np.cumsum(lengths[:, :-1], axis=1, dtype=within.dtype, out=within[:, 1:])
        self._within = within.ravel()
        if self._file is None:
            self._parts = [b"".join(self._parts)]

    def _at(self, positions: np.ndarray) -> np.ndarray:
        """Where texts begin, int64 [n]; at ``len(self)`` where the last one ends."""
        self._close()
        return self._starts[positions >> _SHIFT] + self._within[positions]

    def __len__(self) -> int:
        """Number of texts."""
        return self._count

    def __getitem__(self, position):
        """The text at a position."""
        if not 0 <= position < self._count:
            raise IndexError(position)
        start, end = self._at(np.array([position, position + 1])).tolist()
        return self._read(start, end).decode() if end > start else ""

    def _read(self, start: int, end: int) -> bytes:
        if self._file is None:
            return self._parts[0][start:end]
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), end - start, start)
        self._file.seek(start)
        return self._file.read(end - start)

    @property
    def filled(self) -> np.ndarray:
        """Whether each text is more than nothing, bool [n]."""
        self._close()
        found = np.not_equal(self._within[1:], self._within[:-1])[: self._count]
        if len(found) < self._count:  # the last of a full group
            found = np.append(found, False)
        last = np.arange((1 << _SHIFT) - 1, self._count, 1 << _SHIFT)
        found[last] = self._at(last + 1) > self._at(last)
        return found

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Texts at some positions, object [k], empty where a position is -1; no others are in memory where there are many."""
        if self._bytes > _AT_ONCE:
            return self._read_rows(rows)
        known = np.maximum(rows, 0).astype(np.int64)
        begins = self._at(known)
        lengths = np.where(rows >= 0, self._at(known + 1) - begins, 0) if self._count else np.zeros(len(rows), dtype=np.int64)
        ends = np.cumsum(lengths)
        offsets = np.append(0, ends)
        everything = np.frombuffer(self._read(0, self._bytes), dtype=np.uint8)
        data = everything[np.arange(offsets[-1]) + np.repeat(begins - (ends - lengths), lengths)]
        texts = pa.Array.from_buffers(pa.large_string(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
        codes = texts.dictionary_encode()
        return codes.dictionary.to_numpy(zero_copy_only=False).astype(object)[codes.indices.to_numpy()]

    def _read_rows(self, rows: np.ndarray) -> np.ndarray:
        """As `take`, neighbours in one read."""
        wanted, back = np.unique(rows, return_inverse=True)
        texts, known = np.full(len(wanted), "", dtype=object), int(np.searchsorted(wanted, 0))
        starts, ends, one = self._at(wanted), self._at(wanted + (wanted >= 0)), {}
        for run in np.split(np.arange(known, len(wanted)), np.flatnonzero(np.diff(wanted[known:]) != 1) + 1):
            if not len(run):
                continue
            begin = starts[run[0]]
            block = self._read(int(begin), int(ends[run[-1]]))
            for place, start, end in zip(run.tolist(), (starts[run] - begin).tolist(), (ends[run] - begin).tolist()):
                text = block[start:end].decode()
                texts[place] = one.setdefault(text, text)
        return texts[back]


class Tokens(Sequence):
    """Tokens of a run by position, made texts when they are asked for; equal to a list of the same.

    Parameters
    ----------
    array : str array [n]
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.array)

    def __getitem__(self, place):
        """The token at a position, or a list of those of a slice."""
        return self.array[place].tolist() if isinstance(place, slice) else str(self.array[place])

    def __iter__(self) -> Iterator[str]:
        """All of them."""
        for start in range(0, len(self), _ROWS):
            yield from self[start : start + _ROWS]

    def __eq__(self, other: object) -> bool:
        """Whether they are the same, one by one."""
        return isinstance(other, list | Tokens) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """The array itself, for numpy."""
        return self.array if dtype is None and not copy else np.array(self.array, dtype=dtype)


class Picked(Sequence):
    """Some of the texts of a column, by position; empty where a position is -1."""

    def __init__(self, texts: Texts, rows: np.ndarray) -> None:
        self._texts, self._rows = texts, rows

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._rows)

    def __getitem__(self, position):
        """The text at a position."""
        row = int(self._rows[position])
        return self._texts[row] if row >= 0 else ""

    def __iter__(self) -> Iterator[str]:
        """Read them in turn."""
        return (self[position] for position in range(len(self)))

    @property
    def filled(self) -> np.ndarray:
        """Whether each text is more than nothing, bool [n]."""
        return np.append(self._texts.filled, False)[self._rows]

    def values(self, places: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Those at some places, or all of them, object [n], equal ones once in memory."""
        return self._texts.take(self._rows[places])


def filled(values: Texts | Picked | np.ndarray) -> np.ndarray:
    """Whether each text is more than nothing, bool [n]."""
    if isinstance(values, np.ndarray):
        return np.fromiter(map(bool, values), dtype=bool, count=len(values))
    return values.filled


def blocks_of(values: Picked | np.ndarray) -> Iterator[np.ndarray]:
    """All texts of a column, some at a time, object [k] each."""
    for start in range(0, len(values), _ROWS):
        part = slice(start, start + _ROWS)
        yield values[part] if isinstance(values, np.ndarray) else values.values(part)


def some(texts: Texts | Picked, most: int) -> list[str]:
    """Texts that are not empty, evenly spaced, between ``most`` and twice as many; all where there are fewer."""
    filled, before = texts.filled, 0
    step, rows = max(int(filled.sum()) // most, 1), []
    for start in range(0, len(filled), _ROWS):
        found = start + np.flatnonzero(filled[start : start + _ROWS])
        rows += found[-before % step :: step].tolist()
        before += len(found)
    return [texts[row] for row in rows]


def preview(columns: dict[str, Texts] | dict[str, Picked], most: int) -> pd.DataFrame:
    """Some values of each column, those that are not empty, evenly spaced; the rows are of no entity."""
    shown = {name: some(texts, most) for name, texts in columns.items()}
    length = max(map(len, shown.values()), default=0)
    return pd.DataFrame({name: values + [""] * (length - len(values)) for name, values in shown.items()}, dtype=object)
