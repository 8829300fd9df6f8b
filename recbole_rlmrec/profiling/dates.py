"""Times as a person would write them."""

from __future__ import annotations

import numpy as np
import pandas as pd

EARLIEST, LATEST = 1e8, 4102444800  # 1973, so that smaller numbers are no times but positions, and 2100
UNITS = (1, 10**3, 10**6, 10**9)


def dates(values: pd.Series) -> np.ndarray | None:
    """Days of Unix times, in seconds, milliseconds, microseconds or nanoseconds.

    Parameters
    ----------
    values : Series of str

    Returns
    -------
    object array of str or None
        ``2024-05-31``, empty where a time is missing or not above 0; None where the numbers are none of these, but for
        example positions.
    """
    times = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    known = times > 0
    for unit in UNITS:
        if known.any() and EARLIEST <= times[known].min() / unit and times[known].max() / unit < LATEST:
            days = np.where(known, times, 0) // (unit * 86400)
            return np.where(known, days.astype("datetime64[D]").astype(str), "").astype(object)
    return None
