"""Vectors as they arrive: a file of fixed-size records (digest of the text, vector) that a killed encoding resumes from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import write_json
from recbole_rlmrec.data.reading import parse_json


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

    def append(self, digests: list[str], vectors: np.ndarray) -> None:
        """Add vectors [n, d] of the texts with these digests, and see them to the disk."""
        if self._record is None:
            self._record = _record_type(vectors.dtype.name, vectors.shape[1])
            write_json(
                self._head,
                {"fingerprint": self._fingerprint, "dtype": vectors.dtype.name, "dim": vectors.shape[1]},
            )
        records = np.empty(len(digests), dtype=self._record)
        records["digest"] = [digest.encode() for digest in digests]
        records["vector"] = vectors
        with open(self._path, "ab") as file:
            file.truncate(file.tell() - file.tell() % self._record.itemsize)
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> tuple[list[str], np.ndarray | None]:
        """Digests and vectors [n, d] (memory-mapped) of all whole records; the vectors are None where there are none."""
        size = self._path.stat().st_size if self._record is not None and self._path.is_file() else 0
        count = size // self._record.itemsize if size else 0
        if not count:
            return [], None
        records = np.memmap(self._path, dtype=self._record, mode="r", shape=(count,))
        return [digest.decode() for digest in records["digest"].tolist()], records["vector"]

    def remove(self) -> None:
        """Delete the journal."""
        self._path.unlink(missing_ok=True)
        self._head.unlink(missing_ok=True)


def _record_type(dtype: str, dim: int) -> np.dtype:
    return np.dtype([("digest", "S32"), ("vector", dtype, (dim,))])
