"""The paper's experiments, one file each.

An experiment is a module with ``run(study, args) -> Results``; its options are declared in
:mod:`recbole_rlmrec.commands.experiment_options`, its cells are runs of their own, kept on disk by
:mod:`recbole_rlmrec.experiments.cells.runner`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

EXPERIMENTS = ("compare", "ablation", "noise", "pretrain", "efficiency", "groups", "cold", "case", "rerank", "tune")


def load(name: str) -> ModuleType:
    """Module of an experiment."""
    return importlib.import_module(f"{__name__}.{name}")
