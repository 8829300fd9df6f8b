"""Vectors as they arrive: a file of fixed-size records (digest of the text, vector) that a killed encoding resumes from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import write_json
from recbole_rlmrec.data.reading import parse_json, read_npy
from recbole_rlmrec.errors import StoreError

_AT_ONCE = 1 << 12


class Journal:
    """Vectors that have been computed but are not yet part of a finished matrix.

    A record that was cut off in writing is not seen by :meth:`rows`, and the next one takes its place.

    Parameters
    ----------
    path : Path
        File of the records; ``PATH.json`` beside it says what they hold.
    fingerprint : str
        Stands for everything but the text that decides about a vector; records of another one are discarded.
    """

    def __init__(self, path: Path, fingerprint: str):
        self._path, self._head = path, path.with_name(path.name + ".json")
        self._fingerprint = fingerprint
        self._record = self._resume()

    def _resume(self) -> np.dtype | None:
        try:
            head = parse_json(self._head.read_bytes())
            if head["fingerprint"] == self._fingerprint and self._path.is_file():
                return _record_type(head["dtype"], head["dim"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.remove()
        return None

    def append(self, digests: np.ndarray, vectors: np.ndarray) -> None:
        """Add vectors [n, d] of the texts with these digests, S32 [n], and see them to the disk."""
        if self._record is None:
            self._record = _record_type(vectors.dtype.name, vectors.shape[1])
            write_json(
                self._head,
                {"fingerprint": self._fingerprint, "dtype": vectors.dtype.name, "dim": vectors.shape[1]},
            )
        records = np.empty(len(digests), dtype=self._record)
        records["digest"] = digests
        records["vector"] = vectors
        with open(self._path, "ab") as file:
            file.truncate(file.tell() - file.tell() % self._record.itemsize)
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> tuple[np.ndarray, Vectors | None]:
        """Digests, S32 [n], and vectors of all whole records; the vectors are None where there are none."""
        size = self._path.stat().st_size if self._record is not None and self._path.is_file() else 0
        count = size // self._record.itemsize if size else 0
        digests = np.empty(count, dtype="S32")
        if not count:
            return digests, None
        with open(self._path, "rb") as file:
            for start in range(0, count, _AT_ONCE):
                block = np.fromfile(file, dtype=self._record, count=min(_AT_ONCE, count - start))
                digests[start : start + len(block)] = block["digest"]
        kind, (dim,) = self._record["vector"].subdtype
        place = self._record.fields["vector"][1]
        return digests, Vectors(self._path, kind, (count, dim), place, self._record.itemsize)

    def remove(self) -> None:
        """Delete the journal."""
        self._path.unlink(missing_ok=True)
        self._head.unlink(missing_ok=True)


class Vectors:
    """Rows of a matrix in a file, read when they are asked for; pages of a mapped file would count as memory.

    Parameters
    ----------
    path : Path
    dtype : dtype
    shape : (int, int)
    offset : int
        Where the first row begins.
    step : int, optional
        From one row to the next, in bytes; the length of a row by default.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, int], offset: int, step: int | None = None):
        self._path, self.dtype, self.shape, self._offset = path, np.dtype(dtype), shape, offset
        self._step = step or shape[1] * self.dtype.itemsize

    @classmethod
    def of_npy(cls, path: Path) -> Vectors:
        """The rows of a ``.npy`` file; errors as those of :func:`read_npy`."""
        matrix = read_npy(path, "r")
        if matrix.ndim != 2 or not matrix.flags.c_contiguous:
            raise ValueError(f"an array of {matrix.dtype} {matrix.shape}")
        return cls(path, matrix.dtype, matrix.shape, getattr(matrix, "offset", 0))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, [k, d]."""
        found = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        with open(self._path, "rb", buffering=0) as file:
            for row, place in zip(found.view(np.uint8), rows.tolist()):
                file.seek(self._offset + place * self._step)
                if file.readinto(row) != len(row):
                    raise StoreError(f"{self._path} has changed while it was read; encode again.")
        return found


def _record_type(dtype: str, dim: int) -> np.dtype:
    return np.dtype([("digest", "S32"), ("vector", dtype, (dim,))])
