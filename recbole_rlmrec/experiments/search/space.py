"""Search spaces: which values of which options a variant may try."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import read_yaml
from recbole_rlmrec.data.properties import PROPERTIES
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.options import check_cell_options
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.model.adapters import get_adapter
from recbole_rlmrec.model.lookup import is_sequential

RANGES = {"choice": None, "uniform": 2, "quniform": 3, "loguniform": 2}  # how many numbers a range takes


def search_space(model: str, variant: str, own: dict | None = None, fixed: Collection[str] = ()) -> dict:
    """Search space in RecBole's form, ``{"choice": {"align_weight": [0.01, 0.1]}, "loguniform": {...}}``.

    A variant searches what its backbone searches and options of its own, of equally many points for every variant.

    Parameters
    ----------
    model : str
        Backbone.
    variant : str
    own : dict, optional
        Spaces by variant, in place of the shipped ones.
    fixed : collection of str
        Options that the user gave, which shipped spaces leave as they are.

    Raises
    ------
    ConfigError
        A space is not of this form, or nothing is left to search.
    """
    if own is not None:
        return _checked(own.get(variant), f"The search space of {variant}")
    folder, runs = PROPERTIES / "hyper", VARIANTS[variant].model
    backbone = folder / f"{model}.yaml"
    if "{}" in runs:
        files = [backbone if backbone.is_file() else folder / "backbone.yaml", _file_of(folder, model, variant)]
    else:  # a model of its own, without a backbone
        files = [folder / f"{runs}.yaml"]
    space: dict = {}
    for file in files:
        for kind, ranges in _checked(read_yaml(file), str(file)).items():
            space[kind] = {**space.get(kind, {}), **ranges}
    left = {kind: {name: values for name, values in ranges.items() if name not in fixed} for kind, ranges in space.items()}
    left = {kind: ranges for kind, ranges in left.items() if ranges}
    if not left:
        raise ConfigError(f"All that tune would search for {model} {variant} is given; leave an option out, or give --space.")
    return left


def _file_of(folder: Path, model: str, variant: str) -> Path:
    """Where a variant's own options are: first where its kind of backbone has them, those with a loss of their own or all."""
    kinds = ["own_loss"] if get_adapter(model).softmax else []
    kinds = ["sequential", *kinds] if is_sequential(model) else kinds
    return next(filter(Path.is_file, (folder / kind / f"{variant}.yaml" for kind in kinds)), folder / f"{variant}.yaml")


def _checked(space, where: str) -> dict:
    if not isinstance(space, dict) or not space or not all(isinstance(ranges, dict) for ranges in space.values()):
        raise ConfigError(f"{where} is missing or not of the form choice: {{align_weight: [0.01, 0.1]}}.")
    if unknown := sorted(set(map(str, space)) - set(RANGES)):
        raise ConfigError(f"{where} has {', '.join(unknown)}; a range is one of {', '.join(RANGES)}.")
    for kind, ranges in space.items():
        check_cell_options(ranges, where)
        for name, limits in ranges.items():
            if not isinstance(limits, list) or not limits or (RANGES[kind] and not _is_range(limits, RANGES[kind])):
                form = {None: "a list of values", 2: "[low, high]", 3: "[low, high, step]"}[RANGES[kind]]
                raise ConfigError(f"{where}: {name} under {kind} needs {form}, not {limits!r}.")
            if kind == "loguniform" and 0 < limits[0] and limits[1] <= 1:
                low, high = (f"{math.log(limit):.4g}" for limit in limits)
                raise ConfigError(
                    f"{where}: {name} under loguniform has {limits!r}, and limits are natural logarithms, as in RecBole; write "
                    f"[{low}, {high}] for {limits[0]:g} to {limits[1]:g}."
                )
    return space


def _is_range(limits: list, size: int) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in limits)
    return numbers and len(limits) == size and limits[0] < limits[1]


def space_size(space: dict) -> int | None:
    """Number of points of a grid; None where a range is continuous."""
    return int(np.prod([len(values) for values in space["choice"].values()])) if set(space) == {"choice"} else None
