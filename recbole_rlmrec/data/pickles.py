"""Pickles of strangers, read without running anything that is in them.

A pickle is a program: it names functions and classes and has them called. Here a name leads only to a stand-in, which
the reader of a kind of file lists; what a stand-in stands for is put together after the whole file has been read, and
checked then. Any other name is refused. torch's ``weights_only`` is no replacement: to allow a class there is to let a pickle
call it.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

NUMBERS = "biuf"
"""Kinds of NumPy arrays that hold numbers."""


class Forbidden(Exception):
    """A pickle asks for something that its kind of file does not hold; the message is a noun for the caller's sentence."""


class Function:
    """A function that a pickle may call and do nothing else with."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable):
        self._call = call

    def __call__(self, *args):
        return self._call(*args)

    def __setstate__(self, state):
        raise Forbidden("a change to a function")

    def build(self, resolve):
        """Refused: a function is no value."""
        raise Forbidden("a function where a value should be")


class Constant:
    """An object that a pickle may hold but neither call nor change."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __setstate__(self, state):
        raise Forbidden("a change to a shared object")

    def build(self, resolve):
        """The object."""
        return self.value


class Recorded:
    """What a pickle wants to have made: its arguments and its state, kept until the object can be made."""

    def __init__(self, *args):
        self.args, self.state = args, None

    def __setstate__(self, state):
        self.state = state

    def build(self, resolve: Callable[[Any], Any]):
        """The real object; ``resolve`` gives what other stand-ins stand for."""
        raise NotImplementedError


class _ArrayClass(Constant):
    """``numpy.ndarray``, named as an argument of the function that makes one, and no value of its own."""

    def build(self, resolve):
        raise Forbidden("a class where a value should be")


class _Array(Recorded):
    """An array as made by ``_reconstruct``; ``objects`` says whether its elements may be any value."""

    objects = False

    def build(self, resolve):
        shape, dtype, fortran, raw = self.state[-4:]
        if isinstance(raw, list) and self.objects:
            array = np.empty(len(raw), dtype=object)
            array[:] = resolve(raw)
            array = array.reshape(shape, order="F" if fortran else "C")
        else:
            array = _array(raw, dtype, shape, "F" if fortran else "C", resolve)
        return array.view(self.args[0].value)


class _ObjectArray(_Array):
    objects = True


class _Buffer(Recorded):
    """An array as made by ``_frombuffer``, from protocol 5 on."""

    def build(self, resolve):
        return _array(*self.args, resolve)


class _Scalar(Recorded):
    """A NumPy scalar."""

    def build(self, resolve):
        dtype, raw = self.args
        return _array(raw, dtype, (), "C", resolve)[()]


def _array(raw, dtype, shape, order, resolve) -> np.ndarray:
    dtype = resolve(dtype)
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(dtype, np.dtype) or not isinstance(raw, (bytes, bytearray)):
        raise Forbidden("an array of objects")
    flat = np.frombuffer(raw, dtype).copy() if raw else np.empty(0, dtype)
    return flat.reshape(resolve(shape), order=order)


class _Dtype(Recorded):
    """``numpy.dtype``, of one of the kinds in ``kinds``."""

    kinds = NUMBERS

    def build(self, resolve):
        dtype, state = np.dtype(self.args[0]), self.state
        if dtype.kind not in self.kinds or (state and any(part is not None for part in state[2:5])):
            raise Forbidden(f"an array of {dtype}")
        return dtype.newbyteorder(state[1]) if state else dtype


class _Sparse(Recorded):
    """A SciPy sparse matrix, whose indices are checked: SciPy's own code trusts them."""

    kind = ""

    def build(self, resolve):
        from scipy import sparse

        state = resolve(self.state)
        shape = tuple(state["_shape"])
        if "coords" in state or "row" in state:
            coords = tuple(state["coords"]) if "coords" in state else (state["row"], state["col"])
            matrix = sparse.coo_matrix((state["data"], coords), shape=shape)
            return matrix
        if "rows" in state:
            parts = np.hstack(state["data"]), np.hstack(state["rows"]), np.cumsum([0, *map(len, state["rows"])])
        else:
            parts = state["data"], state["indices"], state["indptr"]
        matrix = (sparse.csc_matrix if self.kind == "csc" else sparse.csr_matrix)(parts, shape=shape)
        matrix.check_format(full_check=True)
        return matrix.asformat(self.kind)


def _latin1(text: str = "", encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Forbidden(f"bytes encoded as {encoding!r}")
    return str.encode(text, "latin1")


def container_names() -> dict[tuple[str, str], Any]:
    """Names of plain containers and of bytes, as all protocols write them."""
    names = {("_codecs", "encode"): Function(_latin1), ("collections", "OrderedDict"): Function(OrderedDict)}
    for module in ("builtins", "__builtin__"):
        names[module, "set"], names[module, "frozenset"] = Function(set), Function(frozenset)
        names[module, "bytes"] = Function(_latin1)
    return names


def numpy_names(kinds: str = NUMBERS, objects: bool = False) -> dict[tuple[str, str], Any]:
    """Names of NumPy's arrays and scalars.

    Parameters
    ----------
    kinds : str
        Allowed kinds of types, as ``numpy.dtype.kind``.
    objects : bool
        Whether arrays of other values are allowed.
    """
    dtype = type("_Dtype", (_Dtype,), {"kinds": kinds})
    names = {("numpy", name): _ArrayClass(getattr(np, name)) for name in ("ndarray", "matrix")}
    names["numpy", "dtype"] = Function(dtype)
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = Function(_ObjectArray if objects else _Array)
        names[f"{core}.multiarray", "scalar"] = Function(_Scalar)
        names[f"{core}.numeric", "_frombuffer"] = Function(_Buffer)
    return names


def sparse_names() -> dict[tuple[str, str], Any]:
    """Names of SciPy's sparse matrices and arrays."""
    names = {}
    for kind in ("coo", "csr", "csc", "lil"):
        stand_in = type(f"_Sparse_{kind}", (_Sparse,), {"kind": kind})
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            names |= {(module, f"{kind}_{form}"): stand_in for form in ("matrix", "array")}
    return names


def make_unpickler(names: dict[tuple[str, str], Any], find: Callable[[str, str], Any] | None = None) -> type[pickle.Unpickler]:
    """An unpickler that knows ``names`` and, for others, what ``find(module, name)`` returns; without it they are refused."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) in names:
                return names[module, name]
            if find is None:
                raise Forbidden(f"{module}.{name}")
            return find(module, name)

    return Unpickler


def resolve_all(value: Any) -> Any:
    """Put real objects in the place of the stand-ins, each once, however often it is shared."""
    done: dict[int, tuple[Any, Any]] = {}

    def build(value):
        if isinstance(value, dict):
            if any(isinstance(key, (Recorded, Constant, Function, tuple)) for key in value):
                return type(value)((resolve(key), resolve(entry)) for key, entry in value.items())
            for key in value:
                value[key] = resolve(value[key])
        elif isinstance(value, list):
            value[:] = [resolve(part) for part in value]
        elif type(value) in (tuple, set, frozenset):
            return type(value)(resolve(part) for part in value)
        elif isinstance(value, (Recorded, Constant, Function)):
            return value.build(resolve)
        elif isinstance(value, type):
            raise Forbidden("a class where a value should be")
        return value

    def resolve(value):
        if id(value) not in done:
            done[id(value)] = value, build(value)
        return done[id(value)][1]

    return resolve(value)
