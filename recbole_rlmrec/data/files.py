"""Files: written whole or not at all, and read so that nothing in them can do more than be wrong."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import reprlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from numpy.lib import format as npy

from recbole_rlmrec.errors import ConfigError, DataError, RLMRecError, StoreError, refused


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


def new_matrix(path: Path, dtype: np.dtype, shape: tuple[int, int]) -> np.memmap:
    """A new ``.npy`` file that is written to as an array, its space taken from the disk now.

    Without that, a disk that fills up ends the process by a signal where a page is first written to.
    """
    matrix = npy.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return matrix


def hash_file(digest, path: Path) -> None:
    """Feed the contents of a file to a hash of :mod:`hashlib`, in blocks."""
    with open(path, "rb") as file:
        for block in iter(functools.partial(file.read, 1 << 20), b""):
            digest.update(block)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON in UTF-8, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n")


def parse_json(text: str | bytes):
    """The value of a JSON text that may come from anyone.

    Raises
    ------
    ValueError
        It is not JSON, or nested more deeply than any file of this package.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


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
        What it must hold, as `misshapen` takes it.
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


NUMBER = (int, float)


def misshapen(value: object, shape: object, where: str = "") -> str | None:
    """What is wrong with a value out of a file, in words; None where it has its shape.

    Parameters
    ----------
    value : object
    shape : object
        A type or a tuple of types; `NUMBER` for a finite number; a pattern for a text that matches; ``[shape]`` for a list
        of such; ``{name: shape}`` for an object with these keys at least, a name that ends in ``?`` for one that may be
        missing or null; ``{str: shape}`` for one with any keys.
    """
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where or 'it'} is not a list"
        return next((wrong for n, part in enumerate(value) if (wrong := misshapen(part, shape[0], f"{where}[{n}]"))), None)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where or 'it'} is not an object"
        parts = [(key, key, shape[str]) for key in value] if str in shape else [(k.rstrip("?"), k, s) for k, s in shape.items()]
        for key, name, inner in parts:
            if name.endswith("?") and str not in shape and value.get(key) is None:
                continue
            if key not in value:
                return f"{where or 'it'} has no {key!r}"
            if wrong := misshapen(value[key], inner, f"{where}.{key}".lstrip(".")):
                return wrong
        return None
    if isinstance(shape, re.Pattern):
        return None if isinstance(value, str) and shape.fullmatch(value) else f"{where or 'it'} is {reprlib.repr(value)}"
    fits = isinstance(value, shape) and not (isinstance(value, bool) and shape in (int, NUMBER))
    if fits and shape is NUMBER and not math.isfinite(value):
        fits = False
    return None if fits else f"{where or 'it'} is {reprlib.repr(value)}"


@contextmanager
def understanding(error: type[Exception], what: str, remedy: str) -> Iterator[None]:
    """Say in a sentence that something cannot be made sense of, whatever way the code that tries fails.

    Parameters
    ----------
    error : type
        Class of the exception; the one that was raised is its cause.
    what, remedy : str
        What it is, and what to do about it.
    """
    try:
        yield
    except RLMRecError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as reason:
        said = f"{type(reason).__name__}: {' '.join(str(reason).split())[:200]}"
        raise error(f"{what} cannot be made sense of ({said.rstrip(': ')}); {remedy}.") from reason


MOST_NODES = 1_000_000


def parse_yaml(text: str, loader: type | None = None):
    """The value of a YAML text that may come from anyone.

    Parameters
    ----------
    text : str
    loader : type, optional
        Class of the loader; ``yaml.SafeLoader`` by default.

    Raises
    ------
    ValueError
        It is not YAML, asks for an object of Python, or is nested or repeated by aliases without measure.
    """
    loader = loader or yaml.SafeLoader
    try:
        root = yaml.compose(text, Loader=loader)
        if root is not None and _nodes(root, {}) > MOST_NODES:
            raise ValueError("its aliases make it far too large")
        return yaml.load(text, Loader=loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as reason:
        raise ValueError(" ".join(str(reason).split())) from None
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError, re.error) as reason:  # of constructors
        raise ValueError(f"a value in it cannot be read ({type(reason).__name__}: {reason})") from None


def _nodes(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Number of nodes below and with one, what an alias stands for counted each time."""
    if id(node) in known:
        if known[id(node)] is None:
            raise ValueError("it contains itself by an alias")
        return known[id(node)]
    if node.tag.startswith("tag:yaml.org,2002:python/") and node.tag != "tag:yaml.org,2002:python/tuple":
        raise ValueError(f"it asks for an object of Python ({node.tag.rpartition(':')[2]})")
    known[id(node)] = None
    parts = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_nodes(part, known) for part in parts)
    return known[id(node)]


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


def read_npy(path: Path, mmap_mode: str | None = None) -> np.ndarray:
    """Read an array of numbers that may come from anyone.

    Parameters
    ----------
    path : Path
        ``.npy``.
    mmap_mode : str, optional
        As in ``numpy.load``.

    Raises
    ------
    ValueError
        The file does not hold an array of numbers, or not all of what its header says.
    OSError
        It cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            version = npy.read_magic(file)
            shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        except OSError:
            raise
        except Exception as reason:  # the header is a Python literal: numpy's parser fails in many ways
            raise ValueError(f"not an .npy file: {' '.join(str(reason).split())}") from None
        if dtype.kind not in "?biuf" or dtype.subdtype is not None or any(size < 0 for size in shape):
            raise ValueError(f"an array of {dtype} {shape}")
        if math.prod(shape) * dtype.itemsize > os.fstat(file.fileno()).st_size - file.tell():
            raise ValueError(f"its header says {dtype} {shape}, and it is shorter")
    return np.load(path, mmap_mode=mmap_mode if math.prod(shape) else None, allow_pickle=False)


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
