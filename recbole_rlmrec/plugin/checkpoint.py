"""Reading RecBole's checkpoints without running anything that is in them.

A checkpoint is a pickle, and RecBole's hold a ``Config``, enums, classes and arrays besides tensors. torch refuses them
since 2.6 and ran whatever they held before. Here a pickle reaches nothing but the names listed below, each through a
stand-in that it can neither call into nor change (`data.pickles`); the real objects are put together afterwards.
"""

from __future__ import annotations

import datetime
import importlib
import os
import pathlib
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch

from recbole_rlmrec.data.pickles import (
    Constant,
    Forbidden,
    Function,
    Recorded,
    container_names,
    make_unpickler,
    numpy_names,
    resolve_all,
    sparse_names,
)
from recbole_rlmrec.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_ARRAY_KINDS = "?biufcSU"


class _ConfigState(Recorded):
    def build(self, resolve):
        from recbole.config import Config

        config = Config.__new__(Config)
        vars(config).update(resolve(self.state))
        return config


_NAMES = {
    **container_names(),
    **numpy_names(_ARRAY_KINDS, objects=True),
    **sparse_names(),
    ("torch._utils", "_rebuild_tensor_v2"): Function(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): Function(torch._utils._rebuild_parameter),
    ("torch", "device"): Function(torch.device),
    ("torch", "Size"): Function(torch.Size),
    ("collections", "defaultdict"): Function(lambda *_: defaultdict(list)),
    ("datetime", "date"): Function(datetime.date),
    ("datetime", "datetime"): Function(datetime.datetime),
    ("recbole.config.configurator", "Config"): _ConfigState,
}
for _module in ("builtins", "__builtin__"):
    _NAMES[_module, "list"] = Constant(list)
for _module in ("pathlib", "pathlib._local"):
    for _name in ("PosixPath", "WindowsPath"):
        _NAMES[_module, _name] = Function(pathlib.Path)


def _enum(name):
    from recbole.utils import enum_type

    kind = getattr(enum_type, name)
    return Function(lambda value: Constant(kind(value)))


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
            raise Forbidden(f"{module}.{name} ({error})") from error
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, AbstractRecommender):
        return Constant(found)
    raise Forbidden(f"{module}.{name}")


def _find(module, name):
    if module == "yaml.loader" and name == "FullLoader":
        from yaml import FullLoader

        return Constant(FullLoader)
    if module == "recbole.utils.enum_type":
        return _enum(name)
    return _model_class(module, name)


_Unpickler = make_unpickler(_NAMES, _find)


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
        return resolve_all(loaded)
    except CheckpointError:
        raise
    except Forbidden as refused:
        raise CheckpointError(
            f"{path} holds {refused}, which RecBole's checkpoints do not: it was not loaded and nothing in it was run. "
            "If that is your own model's class, import its module first; otherwise do not use this file."
        ) from None
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}: give the path that the run printed.") from None
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}).") from error
