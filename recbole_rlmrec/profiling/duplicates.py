"""Texts that are nearly the same, by MinHash over runs of three words."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

PERMUTATIONS, BANDS = 64, 16
ALIKE = 0.7
RUN = 3
MOST_COMPARED = 20
_WORD = re.compile(r"[^\W_]+")
_FACTORS, _SHIFTS = np.random.default_rng(0).integers(1, 2**63, size=(2, PERMUTATIONS), dtype=np.uint64)


def signature(text: str) -> np.ndarray:
    """MinHash of a text, uint32 [64]."""
    words = _WORD.findall(text.lower())
    if len(words) < RUN:  # one word, or a script without spaces
        words = list("".join(words)) or [""]
    runs = {" ".join(words[start : start + RUN]) for start in range(max(len(words) - RUN + 1, 1))}
    hashes = np.array([zlib.crc32(run.encode("utf-8", "replace")) for run in runs], dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = (hashes[:, None] + np.uint64(1)) * (_FACTORS | np.uint64(1)) + _SHIFTS
    return (mixed >> np.uint64(32)).min(axis=0).astype(np.uint32)


def count_near_duplicates(signatures: Sequence[np.ndarray]) -> int:
    """How many texts share at least 0.7 of their runs of words, as estimated, with another one."""
    table = np.array(signatures, dtype=np.uint32).reshape(-1, PERMUTATIONS)
    alike = np.zeros(len(table), dtype=bool)
    rows = PERMUTATIONS // BANDS
    for band in range(BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for number, part in enumerate(table[:, band * rows : (band + 1) * rows]):
            buckets[part.tobytes()].append(number)
        for members in (bucket for bucket in buckets.values() if len(bucket) > 1):
            for first in members[:MOST_COMPARED]:
                others = [member for member in members if member != first]
                near = (table[others] == table[first]).mean(axis=1) >= ALIKE
                alike[first] |= near.any()
                alike[np.array(others)[near]] = True
    return int(alike.sum())
