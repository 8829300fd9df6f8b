"""Times as a person would write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from recbole_rlmrec.data.texts import Picked, blocks_of

EARLIEST, LATEST = 1e8, 4102444800  # 1973, so that smaller numbers are no times but positions, and 2100
UNITS = (1, 10**3, 10**6, 10**9)


class Days(Sequence):
    """Days such as ``2024-05-31``, empty where a time is missing or not above 0.

    Parameters
    ----------
    times : float64 array [n]
    unit : int
        How many of them are a second.
    """

    def __init__(self, times: np.ndarray, unit: int) -> None:
        self._times, self._unit = times, unit

    def __len__(self) -> int:
        """Number of times."""
        return len(self._times)

    def __getitem__(self, row):
        """The day of a row."""
        time = self._times[row]
        return str((time // (self._unit * 86400)).astype("datetime64[D]")) if time > 0 else ""


def dates(values: Picked | np.ndarray) -> Days | None:
    """Days of Unix times, in seconds, milliseconds, microseconds or nanoseconds.

    Parameters
    ----------
    values : texts [n]

    Returns
    -------
    Days or None
        None where the numbers are none of these, but for example positions.
    """
    blocks = (pd.to_numeric(pd.Series(block, dtype=object), errors="coerce") for block in blocks_of(values))
    times = np.concatenate([np.empty(0), *(block.to_numpy(dtype=np.float64) for block in blocks)])
    known = times > 0
    if not known.any():
        return None
    first, last = times.min(where=known, initial=np.inf), times.max(where=known, initial=0)
    for unit in UNITS:
        if EARLIEST <= first / unit and last / unit < LATEST:
            return Days(times, unit)
    return None
