"""Files: written whole or not at all, and read so that nothing in them can do more than be wrong."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from recbole_rlmrec.data.reading import misshapen, parse_json, parse_yaml
from recbole_rlmrec.errors import ConfigError, DataError, StoreError, refused


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
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder without what is hidden in it; the first file that cannot be written is the error."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            copy_folder(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)


def write_matrix(path: Path, dtype: np.dtype, shape: tuple[int, int], blocks: Iterable[np.ndarray]) -> None:
    """Write a ``.npy`` file block by block.

    It is not mapped: what was written would count as the process's memory, and a full disk would end it by a signal.

    Parameters
    ----------
    path : Path
    dtype : dtype
    shape : (int, int)
    blocks : iterable of arrays [k, d]
        The rows in their order; converted to ``dtype``.
    """
    head = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        npy.write_array_header_1_0(file, head)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=dtype))


def hash_file(digest, path: Path) -> None:
    """Feed the contents of a file to a hash of :mod:`hashlib`, in blocks."""
    with open(path, "rb") as file:
        for block in iter(functools.partial(file.read, 1 << 20), b""):
            digest.update(block)


def hash_model(folder: Path) -> str | None:
    """Digest of a model in a folder, 40 digits: its weights and what decides how they are used; None where it has none.

    The latter are its ``.json`` files (pooling, tokenizer, prompts, ...), vocabularies and SentencePiece models.
    """
    digest = hashlib.sha256()
    weights = sorted(folder.rglob("*.safetensors")) or sorted(folder.rglob("*.bin"))
    about = sorted(path for pattern in ("*.json", "vocab.txt", "merges.txt", "*.model") for path in folder.rglob(pattern))
    for path in weights + [path for path in about if path.is_file()]:
        digest.update(path.relative_to(folder).as_posix().encode())
        hash_file(digest, path)
    return digest.hexdigest()[:40] if weights else None


def digest_source(folders: dict[str, Path]) -> str:
    """SHA-256 over names and contents of the ``.py`` and ``.yaml`` files of folders, 16 digits."""
    digest = hashlib.sha256()
    for name, folder in folders.items():
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml")):
            digest.update(f"{name}/{path.relative_to(folder).as_posix()}".encode() + b"\0")
            digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    hash_file(digest, path)
    return digest.hexdigest()


def bytes_digest(data: bytes) -> str:
    """SHA-256 of what a file holds."""
    return hashlib.sha256(data).hexdigest()


def _json_parts(value: object) -> Iterator[bytes]:
    """What `write_json` writes, part by part."""
    for part in json.JSONEncoder(ensure_ascii=False, indent=1).iterencode(value):
        yield part.encode("utf-8", "replace")
    yield b"\n"


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON in UTF-8, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(_json_parts(value))


def write_lists(path: Path, lists: Mapping[str, Iterable[list[str]]]) -> None:
    """Write what `write_json` writes of an object of lists of texts, each given in blocks, one of which is in memory."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(b"{")
        for number, (name, blocks) in enumerate(lists.items()):
            file.write(f"{',' * (number > 0)}\n {json.dumps(name, ensure_ascii=False)}: [".encode())
            lead = "\n  "
            for block in filter(None, blocks):
                inner = json.dumps(block, ensure_ascii=False, separators=(",\n  ", ": "))[1:-1]
                file.write((lead + inner).encode("utf-8", "replace"))
                lead = ",\n  "
            file.write(b"]" if lead == "\n  " else b"\n ]")
        file.write(b"\n}\n")


def read_json(path: Path, error: type[Exception], remedy: str, shape: object = None) -> dict:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        The file.
    error : type
        Class of the exception for a file that is missing or holds anything but one JSON object.
    remedy : str
        What to do about it, the end of the error's sentence.
    shape : optional
        What it must hold, as `reading.misshapen` takes it.
    """
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise error(f"{path} is missing; {remedy}.") from None
    except (OSError, ValueError) as reason:
        if refused(reason):
            raise
        raise error(f"{path} cannot be read ({reason}); {remedy}.") from None
    if not isinstance(value, dict):
        raise error(f"{path} does not hold a JSON object; {remedy}.")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise error(f"{path} holds half of a character (a lone surrogate); {remedy}.") from None
    if shape is not None and (wrong := misshapen(value, shape)):
        raise error(f"{path} is damaged: {wrong}; {remedy}.")
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
        found = parse_yaml(path.read_text(encoding="utf-8"), Config._build_yaml_loader(None)) or {}
    except ValueError as reason:
        raise ConfigError(f"{path} is not YAML: {reason}.") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
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
