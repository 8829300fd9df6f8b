"""How many users, items and repeated pairs there are, in memory that does not grow with the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

_AT_ONCE = 1 << 23
_MIX = np.uint64(0x9E3779B97F4A7C15)


def hashes(texts: pa.Array) -> np.ndarray:
    """A 64-bit hash of each text, uint64 [n]."""
    coded = texts.dictionary_encode()
    values = coded.dictionary.to_numpy(zero_copy_only=False).astype(object)
    return pd.util.hash_array(values, categorize=False)[coded.indices.to_numpy(zero_copy_only=False)]


class Distinct:
    """Hashes that have been seen, each once."""

    def __init__(self):
        self._known, self._new, self._waiting = np.zeros(0, dtype=np.uint64), [], 0

    def add(self, found: np.ndarray) -> None:
        """Take hashes, uint64 [n]."""
        self._new.append(np.unique(found))
        self._waiting += len(self._new[-1])
        if self._waiting > max(len(self._known), 1 << 18):
            self.values()

    def values(self) -> np.ndarray:
        """All of them, sorted."""
        if self._new:
            self._known = np.unique(np.concatenate([self._known, *self._new]))
            self._new, self._waiting = [], 0
        return self._known


class Pairs:
    """Pairs of user and item, kept in a file until they are counted."""

    def __init__(self, path: Path):
        self._path, self.rows = path, 0
        path.write_bytes(b"")

    def add(self, users: np.ndarray, items: np.ndarray) -> None:
        """Take the hashes of pairs, uint64 [n] each."""
        with open(self._path, "ab") as file:
            file.write(memoryview(users * _MIX ^ items).cast("B"))
        self.rows += len(users)

    def repeated(self) -> int:
        """Rows whose pair stands in a row before."""
        distinct, shares = 0, -(-self.rows // _AT_ONCE)
        for share in range(shares):
            kept = []
            with open(self._path, "rb") as file:
                while block := file.read(_AT_ONCE):
                    values = np.frombuffer(block, dtype=np.uint64)
                    kept.append(values if shares == 1 else values[values % np.uint64(shares) == share])
            distinct += len(np.unique(np.concatenate(kept)))
        return self.rows - distinct


def repeats(keys: np.ndarray) -> np.ndarray:
    """Rows whose key stands in a row before, int64, ascending."""
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    return np.sort(again)
