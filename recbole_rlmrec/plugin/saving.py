"""What RecBole writes for a run: under names that no other run has, and whole or not at all.

RecBole names checkpoints, logs and TensorBoard folders by the second, and writes checkpoints, data sets and data loaders
in place: runs that start together tested each other's models, and a full disk or a kill destroyed the best one so far.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import logging
import os
import secrets
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType

from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.model import parallel


def get_local_time() -> str:
    """RecBole's ``get_local_time``, which names files, followed by eight random digits of this call."""
    return f"{datetime.now():%b-%d-%Y_%H-%M-%S}-{secrets.token_hex(4)}"


def get_tensorboard(logger: logging.Logger):
    """RecBole's ``get_tensorboard`` with a folder that no other run writes into: the log's name, or with a number.

    Of several processes the first one writes.
    """
    if not parallel.first():
        return _Silent()
    from torch.utils.tensorboard import SummaryWriter

    names = (Path(handler.baseFilename).stem for handler in logger.handlers if hasattr(handler, "baseFilename"))
    name = next(names, None) or f"model-{get_local_time()}"
    return SummaryWriter(str(claim_folder(Path("log_tensorboard"), name)))


class _Silent:
    """A TensorBoard writer that writes nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


def quiet_logger() -> None:
    """The logger of a process that is not the first: it says what fails."""
    logging.basicConfig(level=logging.ERROR, format=f"process {parallel.rank()}: %(message)s")


def ensure_dir(dir_path) -> None:
    """RecBole's ``ensure_dir`` for a folder that another process makes meanwhile."""
    Path(dir_path).mkdir(parents=True, exist_ok=True)


def claim_folder(parent: Path, name: str) -> Path:
    """Make a folder that was not there: ``name``, or ``name-2`` and so on."""
    parent.mkdir(parents=True, exist_ok=True)
    number, path = 1, parent / name
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1
            path = parent / f"{name}-{number}"


@contextmanager
def _whole(path, mode: str):
    with replacing(Path(path)) as temporary, builtins.open(temporary, mode) as file:
        yield file


def _open(path, mode: str = "r", *args, **kwargs):
    """``open`` whose new binary files appear under their name when they are closed without an error."""
    return _whole(path, mode) if mode == "wb" else builtins.open(path, mode, *args, **kwargs)


def _torch_save() -> str:
    """RecBole's checkpoints are written beside and renamed; nobody else's call changes."""
    import torch

    original = torch.save

    @functools.wraps(original)
    def save(obj, f, *args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.split(".")[0] != "recbole" or not isinstance(f, (str, os.PathLike)):
            return original(obj, f, *args, **kwargs)
        with _open(f, "wb") as file:
            save_to(file, obj, original, *args, **kwargs)

    torch.save = save
    return "RecBole overwrites the best checkpoint in place"


def save_to(file, obj, save, *args, **kwargs) -> None:
    """``torch.save`` into an open file; a disk that takes no more is an OSError, not torch's report of its own parts."""
    try:
        save(obj, file, *args, **kwargs)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        raise (cause or error) from None


def _pickles() -> str:
    """Data sets and data loaders that RecBole keeps have one name for all runs: each finds a whole file or none."""
    for name in ("recbole.data.dataset.dataset", "recbole.data.utils"):
        importlib.import_module(name).open = _open
    return "RecBole writes saved data sets and data loaders in place"


class _LogFile(logging.FileHandler):
    """A log file that is there for one run alone, and whose full disk ends the run instead of filling the screen."""

    def __init__(self, path: str):
        super().__init__(path, mode="x", encoding="utf-8")

    def handleError(self, record) -> None:  # noqa: N802  (logging's name)
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            error.filename = error.filename or self.baseFilename
            raise error
        super().handleError(record)


def _logs() -> str:
    """RecBole opens its log for appending, whoever else writes to it."""
    module = importlib.import_module("recbole.utils.logger")
    module.logging = ModuleType("logging")
    vars(module.logging).update({**vars(logging), "FileHandler": _LogFile})
    return "RecBole's runs may share a log file"


def _clock() -> str:
    """RecBole's trainers subtract times of day, which jump when the clock is set."""
    from time import perf_counter

    importlib.import_module("recbole.trainer.trainer").time = perf_counter
    return "RecBole takes times of epochs from the clock of the day"


REPAIRS = (_torch_save, _pickles, _logs, _clock)
