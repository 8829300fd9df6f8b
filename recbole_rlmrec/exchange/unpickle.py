"""Read arrays, sparse matrices and plain containers out of a pickle without running anything that is in it.

A pickle is a program: it names functions and has them called. Here no name leads to a real one. Arrays, their types and
sparse matrices are recorded by stand-ins that do nothing; only when the whole file has been read are they built and
checked. Any other name is refused.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_rlmrec.errors import DataError


def read_pickle(path: Path | str) -> Any:
    """Read a pickle made by others.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object
        Nested lists, tuples, sets and dicts of text, bytes, numbers, None, NumPy arrays and SciPy sparse matrices.

    Raises
    ------
    DataError
        The file is missing, damaged, or asks for anything else; nothing of it has been run then.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _Finisher().finish(_Unpickler(file).load())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; restore it or check the folder.") from None
    except _Forbidden as reason:
        raise DataError(
            f"{path} asks for {reason}, which is no array, sparse matrix or plain container; it was refused and nothing "
            "of it was run."
        ) from None
    except Exception as reason:
        raise DataError(
            f"{path} is no pickle of arrays, sparse matrices and plain containers ({' '.join(str(reason).split())}); "
            "fetch it again."
        ) from None


class _Forbidden(Exception):
    """The pickle names something that is not allowed."""


class _Recorded:
    """What a pickle wants to have made: its arguments and its state."""

    __slots__ = ("args", "state")

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state):
        self.state = state

    def build(self):
        """The real object."""
        raise ValueError(f"a {type(self).__name__.strip('_').lower()} that is no value")


class _Class(_Recorded):
    """``numpy.ndarray``, named as an argument of the function that makes one."""

    __slots__ = ()


class _Type(_Recorded):
    """``numpy.dtype``."""

    __slots__ = ()

    def build(self):
        code, order = self.args[0], "="
        if self.state is not None:
            order, *structure = self.state[1:5]
            if any(part is not None for part in structure):
                raise ValueError("an array of records")
        if not re.fullmatch(r"[biuf]\d{1,2}", code) or order not in ("<", ">", "|", "="):
            raise ValueError(f"an array of type {code!r}, which is no number")
        return np.dtype(order + code)


class _Array(_Recorded):
    """``numpy.ndarray`` as made by ``_reconstruct``."""

    __slots__ = ()

    def build(self):
        shape, dtype, fortran, raw = self.state[-4:]
        return _array(raw, dtype, shape, "F" if fortran else "C")


class _Buffer(_Recorded):
    """``numpy.ndarray`` as made by ``_frombuffer``, from protocol 5 on."""

    __slots__ = ()

    def build(self):
        return _array(*self.args)


class _Number(_Recorded):
    """A NumPy scalar."""

    __slots__ = ()

    def build(self):
        dtype, raw = self.args
        return _array(raw, dtype, (), "C").item()


class _Sparse(_Recorded):
    """A SciPy sparse matrix."""

    __slots__ = ()

    def build(self):
        finish = _Finisher().finish
        state = {key: finish(value) for key, value in self.state.items()}
        shape, data = tuple(state["_shape"]), state["data"]
        return self.assemble(state, data, shape)


class _Coo(_Sparse):
    __slots__ = ()

    def assemble(self, state, data, shape):
        coords = state["coords"] if "coords" in state else (state["row"], state["col"])
        return sp.coo_matrix((data, tuple(coords)), shape=shape)


class _Csr(_Sparse):
    __slots__ = ()
    kind = sp.csr_matrix

    def assemble(self, state, data, shape):
        matrix = self.kind((data, state["indices"], state["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
        return matrix


class _Csc(_Csr):
    __slots__ = ()
    kind = sp.csc_matrix


class _Bytes(_Recorded):
    """``_codecs.encode`` and ``bytes``, by which protocols before 3 write bytes."""

    __slots__ = ()

    def __new__(cls, text: str = "", encoding: str = "latin1"):
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes encoded as {encoding!r}")
        return str.encode(text, "latin1")


def _names() -> dict[tuple[str, str], type]:
    names = {("_codecs", "encode"): _Bytes, ("collections", "OrderedDict"): dict}
    for builtins in ("builtins", "__builtin__"):
        names |= {(builtins, "set"): set, (builtins, "frozenset"): frozenset, (builtins, "bytes"): _Bytes}
    names |= {("numpy", "ndarray"): _Class, ("numpy", "dtype"): _Type}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _Array
        names[f"{core}.multiarray", "scalar"] = _Number
        names[f"{core}.numeric", "_frombuffer"] = _Buffer
    for kind, stand_in in (("coo", _Coo), ("csr", _Csr), ("csc", _Csc)):
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            names |= {(module, f"{kind}_{form}"): stand_in for form in ("matrix", "array")}
    return names


_NAMES = _names()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _NAMES[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}") from None

    def persistent_load(self, pid):
        raise _Forbidden("an object that is not in it")


def _array(raw, dtype, shape, order) -> np.ndarray:
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    dtype, shape = _Finisher().finish(dtype), _Finisher().finish(shape)
    if not isinstance(dtype, np.dtype) or not isinstance(raw, (bytes, bytearray)):
        raise ValueError("an array of objects")
    flat = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
    return flat.reshape(shape, order=order)


class _Finisher:
    """Replaces every stand-in by what it stands for; what is mentioned several times is made once."""

    def __init__(self):
        self._done: dict[int, Any] = {}

    def finish(self, value):
        """The value without stand-ins."""
        if value is None or isinstance(value, (str, bytes, bytearray, bool, int, float, complex)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = self._make(value)
        return self._done[id(value)]

    def _make(self, value):
        if isinstance(value, _Recorded):
            return value.build()
        if isinstance(value, dict):
            return {self.finish(key): self.finish(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)(self.finish(entry) for entry in value)
        raise ValueError("a function or class where a value should be")
