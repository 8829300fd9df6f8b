"""Files that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from recbole_rlmrec.errors import ConfigError, DataError, StoreError


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


def hash_file(digest, path: Path) -> None:
    """Feed the contents of a file to a hash of :mod:`hashlib`, in blocks."""
    with open(path, "rb") as file:
        for block in iter(functools.partial(file.read, 1 << 20), b""):
            digest.update(block)


def hash_weights(folder: Path) -> str | None:
    """Digest of the weights of a model in a folder, 40 digits; None where it has none."""
    digest = hashlib.sha256()
    weights = sorted(folder.rglob("*.safetensors")) or sorted(folder.rglob("*.bin"))
    for path in weights:
        hash_file(digest, path)
    return digest.hexdigest()[:40] if weights else None


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


def read_yaml(path: Path) -> dict:
    """Read options from a YAML file, as RecBole does: ``1e-3`` is a number.

    Raises
    ------
    DataError
        The file does not exist.
    ConfigError
        It is not YAML, or holds anything but a mapping.
    """
    from recbole.config import Config

    if not path.is_file():
        raise DataError(f"The file {path} does not exist; check the option that names it.")
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=Config._build_yaml_loader(None)) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as reason:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(reason).split())}.") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} does not hold options as key: value.")
    return found


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
        Another process holds the folder, or it cannot be made.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{folder} cannot be made: a file of this name is in the way.") from None
    except OSError as reason:
        raise StoreError(f"{folder} cannot be made ({reason.strerror}); choose another place.") from None
    lock = FileLock(str(folder / ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(busy) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that takes its name when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
