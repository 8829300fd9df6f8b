"""Reading RecBole's checkpoints without running anything that is in them.

A checkpoint is a pickle, and RecBole's hold a ``Config``, enums, classes and arrays besides tensors. torch refuses them
since 2.6 and ran whatever they held before. Here a pickle reaches nothing but the names listed below, each through a
stand-in of this module that it can neither call into nor change; the real objects are put together afterwards.
"""

from __future__ import annotations

import datetime
import importlib
import os
import pathlib
import pickle
import sys
from collections import OrderedDict, defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from recbole_rlmrec.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_ARRAY_KINDS = "?biufcSU"


class _Refused(Exception):
    """A pickle asked for something that no checkpoint of RecBole needs."""


class _Function:
    """A function that a pickle may call and do nothing else with."""

    __slots__ = ("_call",)

    def __init__(self, call):
        self._call = call

    def __call__(self, *args):
        return self._call(*args)

    def __setstate__(self, state):
        raise _Refused("a change to a function")


class _Later:
    """An object that a pickle may hold but neither call nor change."""

    __slots__ = ("_value",)

    def __init__(self, value):
        self._value = value

    def __setstate__(self, state):
        raise _Refused("a change to a shared object")

    def build(self, resolve):
        return self._value


class _State:
    """What a pickle says of an object, kept until the object can be made."""

    state = None

    def __setstate__(self, state):
        self.state = state


class _ConfigState(_State):
    def build(self, resolve):
        from recbole.config import Config

        config = Config.__new__(Config)
        vars(config).update(resolve(self.state))
        return config


class _DtypeState(_State):
    def __init__(self, code, *_):
        self.code = code

    def build(self, resolve):
        dtype = np.dtype(self.code)
        if dtype.kind not in _ARRAY_KINDS:
            raise _Refused(f"an array of {dtype}")
        return dtype.newbyteorder(self.state[1]) if self.state else dtype


class _ArrayState(_State):
    def __init__(self, kind, *_):
        self.kind = kind

    def build(self, resolve):
        _, shape, dtype, fortran, data = self.state
        order = "F" if fortran else "C"
        if isinstance(data, list):
            array = np.empty(len(data), dtype=object)
            array[:] = resolve(data)
        else:
            array = np.frombuffer(data, dtype=dtype.build(resolve)).copy()
        return array.reshape(shape, order=order).view(resolve(self.kind))


class _SparseState(_State):
    """A scipy matrix, whose indices are checked: scipy's own code trusts them."""

    def build(self, resolve):
        from scipy import sparse

        state = resolve(self.state)
        if "rows" in state:
            rows, lengths = state["rows"], [len(row) for row in state["rows"]]
            parts = np.hstack(state["data"]), np.hstack(rows), np.cumsum([0, *lengths])
        else:
            parts = state["data"], state["indices"], state["indptr"]
        kind = sparse.csc_matrix if self.format == "csc" else sparse.csr_matrix
        matrix = kind(parts, shape=state["_shape"])
        matrix.check_format()
        return matrix.asformat(self.format)


class _CsrState(_SparseState):
    format = "csr"


class _CscState(_SparseState):
    format = "csc"


class _LilState(_SparseState):
    format = "lil"


def _scalar(dtype, data):
    return np.frombuffer(data, dtype=dtype.build(None))[0]


def _latin1(text, encoding):
    return text.encode("latin1")


_NAMES = {
    ("collections", "OrderedDict"): _Function(OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Function(torch._utils._rebuild_parameter),
    ("torch", "device"): _Function(torch.device),
    ("torch", "Size"): _Function(torch.Size),
    ("_codecs", "encode"): _Function(_latin1),
    ("collections", "defaultdict"): _Function(lambda *_: defaultdict(list)),
    ("datetime", "date"): _Function(datetime.date),
    ("datetime", "datetime"): _Function(datetime.datetime),
    ("numpy", "ndarray"): _Later(np.ndarray),
    ("numpy", "matrix"): _Later(np.matrix),
    ("numpy", "dtype"): _Function(_DtypeState),
    ("recbole.config.configurator", "Config"): _ConfigState,
}
for _module in ("builtins", "__builtin__"):
    _NAMES[_module, "set"] = _Function(set)
    _NAMES[_module, "list"] = _Later(list)
    _NAMES[_module, "bytes"] = _Function(lambda: b"")
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _NAMES[_module, "scalar"] = _Function(_scalar)
    _NAMES[_module, "_reconstruct"] = _Function(_ArrayState)
for _module in ("pathlib", "pathlib._local"):
    for _name in ("PosixPath", "WindowsPath"):
        _NAMES[_module, _name] = _Function(pathlib.Path)
for _format, _class in (("csr", _CsrState), ("csc", _CscState), ("lil", _LilState)):
    for _module in (f"scipy.sparse._{_format}", f"scipy.sparse.{_format}"):
        _NAMES[_module, f"{_format}_matrix"] = _class


def _enum(name):
    from recbole.utils import enum_type

    kind = getattr(enum_type, name)
    return _Function(lambda value: _Later(kind(value)))


_MOVED = {"recbole_rlmrec.model.general_recommender": "recbole_rlmrec.model.lookup"}
"""Where checkpoints of version 0.1 look for classes that are made when they are asked for."""


def _model_class(module, name):
    """A recommender's class: of RecBole, of this package, or of a module that the caller has imported."""
    from recbole.model.abstract_recommender import AbstractRecommender

    module = _MOVED.get(module, module)
    if module.startswith(("recbole.model.", "recbole_rlmrec.model.")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise _Refused(f"{module}.{name} ({error})") from error
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, AbstractRecommender):
        return _Later(found)
    raise _Refused(f"{module}.{name}")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module == "yaml.loader" and name == "FullLoader":
            from yaml import FullLoader

            return _Later(FullLoader)
        if module == "recbole.utils.enum_type":
            return _enum(name)
        return _model_class(module, name)


def _resolver():
    """A function that puts real objects in the place of the stand-ins, each once, however often it is shared."""
    done = {}

    def build(value):
        if isinstance(value, dict):
            for key in value:
                value[key] = resolve(value[key])
        elif isinstance(value, list):
            value[:] = [resolve(part) for part in value]
        elif type(value) is tuple:
            return tuple(resolve(part) for part in value)
        elif isinstance(value, (_Later, _State)):
            return value.build(resolve)
        return value

    def resolve(value):
        if id(value) not in done:
            done[id(value)] = value, build(value)
        return done[id(value)][1]

    return resolve


def _require_archive(path):
    """Let only torch's own zip format through: the older formats and TorchScript have other ways to run code."""
    with open(path, "rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            raise CheckpointError(f"{path} is not a checkpoint as torch writes them since 1.6: train the model again.")
    if "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint of RecBole: it was not loaded.")


def load_checkpoint(path: str | os.PathLike, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint of RecBole; nothing in it is run.

    Parameters
    ----------
    path : str or os.PathLike
        File that ``Trainer`` wrote.
    map_location : optional
        Where the tensors go, as in ``torch.load``.

    Returns
    -------
    dict
        ``config``, ``epoch``, ``cur_step``, ``best_valid_score``, ``state_dict``, ``other_parameter``, ``optimizer``.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or holds an object that RecBole's checkpoints do not hold.
    """
    reader = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler)
    try:
        _require_archive(path)
        loaded = torch.load(path, map_location=map_location, pickle_module=reader, weights_only=False)
        return _resolver()(loaded)
    except CheckpointError:
        raise
    except _Refused as refused:
        raise CheckpointError(
            f"{path} holds {refused}, which RecBole's checkpoints do not: it was not loaded and nothing in it was run. "
            "If that is your own model's class, import its module first; otherwise do not use this file."
        ) from None
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}: give the path that the run printed.") from None
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}).") from error
