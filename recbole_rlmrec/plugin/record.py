"""The record of the last run in this process, and its description for the result file."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from recbole_rlmrec.model import parallel


class RunRecord:
    """Series of the last run in this process, one entry per training epoch or validation.

    Attributes
    ----------
    config : recbole.config.Config
    seconds : list of float
        Time of each training epoch.
    losses : dict of str to list of float
        Each named loss, summed over the batches of an epoch as RecBole reports it.
    valid : list of [int, float]
        Epoch and validation score.
    best_epoch : int or None
    provenance : dict or None
        Where the profiles came from; None without alignment.
    parameters : int
        Number of trainable parameters.
    resumed_from : list of int
        Epochs before which training was taken up again.
    """

    def __init__(self, config, model):
        self.config = config
        self.seconds: list[float] = []
        self.losses: dict[str, list[float]] = {}
        self.valid: list[list[float]] = []
        self.best_epoch: int | None = None
        self.provenance = getattr(model, "semantic_provenance", None)
        self.parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        self.checkpoint: str | None = None
        self.initial: dict | None = None
        self.preloaded: dict | None = None
        self.resumed_from: list[int] = []
        self.training = False

    def as_dict(self) -> dict:
        """JSON-able form, as it goes into the result file."""
        return {
            "epochs": len(self.seconds),
            "best_epoch": self.best_epoch,
            "median_epoch_seconds": float(np.median(self.seconds)) if self.seconds else None,
            "parameters": self.parameters,
            "profiles": self.provenance,
            "initial_embeddings": self.initial,
            "preloaded": self.preloaded,
            "checkpoint": self.checkpoint,
            "resumed_from": self.resumed_from,
            "series": {"seconds": self.seconds, "losses": self.losses, "valid": self.valid},
        }


_last: RunRecord | None = None


def begin_record(config, model) -> RunRecord:
    """The record of a run that begins now; it takes the place of the one before."""
    global _last
    _last = RunRecord(config, model)
    return _last


def last_record() -> RunRecord | None:
    """The record of the last run in this process, or None before the first."""
    return _last


def forget() -> None:
    """Called where a run begins that leaves no record."""
    global _last
    _last = None


PACKAGES = ("recbole-rlmrec", "recbole", "torch", "numpy", "scipy", "pandas", "scikit-learn", "sentence-transformers")


def describe_run() -> dict:
    """Settings, series and versions of the last run in this process, JSON-able."""
    record = last_record()
    if record is None:
        return {"run": None}
    config = record.config
    alignment = config["alignment"]
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "alignment": None if alignment is None else str(alignment).lower(),
        "seed": config["seed"],
        "run": {**record.as_dict(), "processes": parallel.size(), **peak_memory()},
        "settings": {key: plain(value) for key, value in sorted(config.final_config_dict.items())},
        "versions": versions(),
    }


def peak_memory() -> dict[str, float | None]:
    """Peak memory of this process (None on Windows) and of its GPU (None without one), in MiB."""
    resident = resident_memory()
    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    return {"peak_rss_mib": resident / 2**20 if resident else None, "peak_gpu_mib": gpu}


def resident_memory() -> int:
    """Most memory that this process has held, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that matter; None where one is not installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def plain(value):
    """A value of RecBole's configuration or metrics as JSON knows it; what JSON has no form for becomes text."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
