"""Memory that has been freed: kept for the next step of training, or given back before the next stage needs its own."""

from __future__ import annotations

import ctypes
from functools import cache

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGE = 1 << 30  # bytes; what is larger is still given back


def give_back() -> None:
    """Give back what Arrow and, where it is glibc, the C library keep of what has been freed."""
    pa.default_memory_pool().release_unused()
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def keep() -> None:
    """Let glibc keep large blocks that are freed; every step of training takes up blocks of the same sizes again.

    It gives each one of more than 32 MB back at once, and the system clears its pages every time that it is asked for them.
    An older glibc refuses, and another C library has no such call; then all stays as it is.
    """
    if (option := _of_glibc("mallopt")) is not None and option(_MMAP_THRESHOLD, _LARGE):
        option(_TRIM_THRESHOLD, _LARGE)


@cache
def _of_glibc(name: str):
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return None
