"""Adding lines of JSON to a file as they arrive, safe against being killed at any moment."""

from __future__ import annotations

import os
import threading
from logging import getLogger
from pathlib import Path

from recbole_rlmrec.data.profile import Profile, to_line
from recbole_rlmrec.data.reading import parse_json

_TAIL_BLOCK = 1 << 16

logger = getLogger()


class Appender:
    """Adds profiles to the end of a file; may be shared by threads. Made by :meth:`ProfileStore.appender`."""

    def __init__(self, path: Path, side: str):
        self._side = side
        self._mutex = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        mend_tail(path)
        self._file = open(path, "ab")

    def append(self, profile: Profile) -> None:
        """Add one profile; on disk after the next :meth:`flush`."""
        line = to_line(profile, self._side)
        with self._mutex:
            self._file.write(line)

    def flush(self, fsync: bool = True) -> None:
        """Hand everything to the operating system and, with ``fsync``, to the disk."""
        with self._mutex:
            self._file.flush()
            if fsync:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()


def mend_tail(path: Path) -> None:
    """Make a file end with a whole line: what a killed writer left of its last line is cut off."""
    if not path.exists() or not path.stat().st_size:
        return
    with open(path, "r+b") as file:
        start = _last_line_start(file)
        file.seek(start)
        tail = file.read()
        if tail.endswith(b"\n"):
            return
        if _is_json(tail):
            file.write(b"\n")
        else:
            file.truncate(start)
            logger.warning(f"{path}: the last line was cut off in writing and has been removed.")


def _last_line_start(file) -> int:
    """Offset of the last line of an open file; a final newline belongs to the line that it ends."""
    position = file.seek(0, os.SEEK_END) - 1
    while position > 0:
        begin = max(position - _TAIL_BLOCK, 0)
        file.seek(begin)
        found = file.read(position - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True
