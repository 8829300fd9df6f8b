"""Columns of text that need no memory for their texts: on disk beyond a few megabytes, with an offset for each value."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

IN_MEMORY = 1 << 22
"""Bytes of a column that are kept in memory."""
_AT_ONCE = 1 << 24


class Texts(Sequence):
    """A column of texts, in the order in which they were added.

    Its file has no name, so that it goes with the process; it lies where Python's ``tempfile`` puts such files.
    """

    def __init__(self) -> None:
        self._lengths: list[np.ndarray] = []
        self._parts: list[bytes] = []
        self._file = None
        self._bytes = 0
        self._offsets: np.ndarray | None = None

    def append(self, values: pa.Array) -> None:
        """Add texts; missing ones are empty."""
        values = pc.fill_null(pc.cast(values, pa.large_string()), "")
        offsets = np.frombuffer(values.buffers()[1], dtype=np.int64)[values.offset : values.offset + len(values) + 1]
        if not len(values):
            return
        data = values.buffers()[2]
        block = b"" if data is None else data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
        self._lengths.append(np.diff(offsets))
        self._offsets = None
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

    def _index(self) -> np.ndarray:
        """Where each text begins, int64 [n + 1]."""
        if self._offsets is None:
            lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
            self._offsets = np.cumsum(lengths, out=lengths)
            self._lengths = [np.diff(self._offsets)] if len(self._offsets) > 1 else []
            self._lengths = [part.astype(np.int32) if part.max(initial=0) < 1 << 31 else part for part in self._lengths]
            if self._file is None:
                self._parts = [b"".join(self._parts)]
        return self._offsets

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._index()) - 1

    def __getitem__(self, position):
        """The text at a position."""
        offsets = self._index()
        start, end = int(offsets[position]), int(offsets[position + 1])
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
        return np.diff(self._index()) > 0

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Texts at some positions, object [k], empty where a position is -1; no others are in memory where there are many."""
        if int(self._index()[-1]) > _AT_ONCE:
            return self._read_rows(rows)
        everything = self._arrow()
        codes = pc.take(everything, pa.array(rows, mask=rows < 0)).dictionary_encode()
        tokens = codes.dictionary.to_numpy(zero_copy_only=False).astype(object)
        return np.append(tokens, "")[codes.indices.fill_null(len(tokens)).to_numpy(zero_copy_only=False)]

    def _read_rows(self, rows: np.ndarray) -> np.ndarray:
        """As `take`, neighbours in one read."""
        wanted, back = np.unique(rows, return_inverse=True)
        texts, known = np.full(len(wanted), "", dtype=object), int(np.searchsorted(wanted, 0))
        offsets, one = self._index(), {}
        for run in np.split(np.arange(known, len(wanted)), np.flatnonzero(np.diff(wanted[known:]) != 1) + 1):
            if not len(run):
                continue
            ends = offsets[wanted[run[0]] : wanted[run[-1]] + 2]
            block = self._read(int(ends[0]), int(ends[-1]))
            for place, start, end in zip(run.tolist(), (ends[:-1] - ends[0]).tolist(), (ends[1:] - ends[0]).tolist()):
                text = block[start:end].decode()
                texts[place] = one.setdefault(text, text)
        return texts[back]

    def _arrow(self) -> pa.Array:
        offsets = self._index()
        data = self._read(0, int(offsets[-1]))
        return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


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


def some(texts: Texts | Picked, most: int) -> list[str]:
    """Texts that are not empty, evenly spaced, between ``most`` and twice as many; all where there are fewer."""
    filled = np.flatnonzero(texts.filled)
    return [texts[int(row)] for row in filled[:: max(len(filled) // most, 1)]]


def preview(columns: dict[str, Texts] | dict[str, Picked], most: int) -> pd.DataFrame:
    """Some values of each column, those that are not empty, evenly spaced; the rows are of no entity."""
    shown = {name: some(texts, most) for name, texts in columns.items()}
    length = max(map(len, shown.values()), default=0)
    return pd.DataFrame({name: values + [""] * (length - len(values)) for name, values in shown.items()}, dtype=object)
