"""Reading what anyone may have written: within limits, and nothing in it can do more than be wrong."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from recbole_rlmrec.errors import RLMRecError

if TYPE_CHECKING:
    import numpy as np


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
    import numpy as np
    from numpy.lib import format as npy

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
