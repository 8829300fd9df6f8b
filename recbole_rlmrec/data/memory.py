"""Memory that has been freed, given back to the system before the next stage needs its own."""

from __future__ import annotations

import ctypes
from functools import cache

import pyarrow as pa


def give_back() -> None:
    """Give back what Arrow and, where it is glibc, the C library keep of what has been freed."""
    pa.default_memory_pool().release_unused()
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim():
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return None
