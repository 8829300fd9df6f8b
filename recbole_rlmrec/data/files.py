"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_rlmrec.errors import StoreError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends without an error.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON in UTF-8, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path, error: type[Exception], remedy: str) -> dict:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        The file.
    error : type
        Class of the exception for a file that is missing or holds anything but one JSON object.
    remedy : str
        What to do about it, the end of the error's sentence.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise error(f"{path} is missing; {remedy}.") from None
    except (OSError, ValueError) as reason:
        raise error(f"{path} cannot be read ({reason}); {remedy}.") from None
    if not isinstance(value, dict):
        raise error(f"{path} does not hold a JSON object; {remedy}.")
    return value


@contextmanager
def held(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder for this process; it is made where it is missing.

    Parameters
    ----------
    folder : Path
    busy : str
        The sentence for the case that another process holds it.

    Raises
    ------
    StoreError
        Another process holds the folder.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(busy) from None
    try:
        yield
    finally:
        lock.release()
