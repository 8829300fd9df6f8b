"""Training that was interrupted goes on: a last checkpoint beside the best one, and how it is found and taken up.

RecBole's checkpoint holds what a model needs to be used. To go on as if nothing had happened takes more: every optimiser,
all random states, the samplers' and loaders' own, what models count and cache, early stopping and the series of the run.
``checkpoint_dir/resume/MODEL-DATASET-DIGEST/`` holds it, where the digest is over the options and the data of the run.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from time import perf_counter

import torch
from filelock import FileLock, Timeout

from recbole_rlmrec.data.files import read_json, replacing, write_json
from recbole_rlmrec.data.reading import misshapen
from recbole_rlmrec.errors import CheckpointError, ConfigError, RLMRecError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.plugin import state
from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.plugin.identity import digest_run
from recbole_rlmrec.plugin.saving import save_to

FOLDER = "resume"
FORMAT = 1
SHARE = 0.05
"""Most of the training time that last checkpoints may take: where writing is slow, fewer are written."""

_SHAPE = {
    "format": int,
    "digest": str,
    "epoch": int,
    "processes?": int,
    "file": re.compile(r"[^/\\\0]+\.pth"),
    "best?": re.compile(r"[^/\\\0]+\.best-\d+"),
    "trainer": {name: object for name in state.COUNTERS},
    "record": {"seconds": [float], "losses": {str: [float]}, "valid": [list], "best_epoch?": int, "resumed_from": [int]},
    "state": {
        "weights": {str: torch.Tensor},
        "attributes": {str: dict},
        "optimizers": dict,
        "generators": dict,
        "random": dict,
    },
}


class RunEnded(RLMRecError):
    """What is to be resumed has ended; ``result`` is what it found."""

    def __init__(self, folder: Path, result: dict):
        self.result = result
        model = (result.get("run") or {}).get("checkpoint")
        super().__init__(
            f"This run has ended{f', its model is {model}' if model else ''}; leave --resume out to start it anew "
            f"(known from {folder})."
        )


class Holding:
    """Last checkpoints that are kept until their caller says that the run has ended."""

    active: Holding | None = None

    def __init__(self):
        self.held: list[LastCheckpoint] = []

    def finish(self, result: dict) -> None:
        """Everything that the run should leave is written: what would resume it goes."""
        for last in self.held:
            last.finish(result)


@contextmanager
def holding() -> Iterator[Holding]:
    """Keep last checkpoints of the runs inside the block until ``finish`` is called."""
    before, Holding.active = Holding.active, Holding()
    try:
        yield Holding.active
    finally:
        Holding.active = before


class LastCheckpoint:
    """The last checkpoint of one training.

    Parameters
    ----------
    trainer : RLMRecTrainer
        Before its first epoch.
    train_data, valid_data : AbstractDataLoader or None
        Its loaders.

    Raises
    ------
    RunEnded
        ``resume`` is asked for, and the run has ended.
    ConfigError
        It is asked for, and the run is at work in another process.
    """

    def __init__(self, trainer, train_data, valid_data):
        config = trainer.config
        self._trainer, self._roots = trainer, {"train": train_data, "valid": valid_data, "model": trainer.model}
        self._every = every(config)
        self._digest = digest_run(config, train_data._dataset, valid_data and valid_data._dataset, trainer.record.provenance)
        name = f"{config['model']}-{config['dataset']}-{self._digest}"
        self._folder = Path(config["checkpoint_dir"]) / FOLDER / name
        self._before = state.fingerprints(trainer.model)
        self._pending: dict | None = None
        self._cost, self._written = 0.0, perf_counter()
        self._folder.mkdir(parents=True, exist_ok=True)
        if config["resume"]:
            self._find()
        if self._pending is None:
            self._name = Path(trainer.saved_model_file).stem
            self._lock = FileLock(str(self._folder / f"{self._name}.lock"))
            self._lock.acquire(timeout=0)
            (self._folder / "ended.json").unlink(missing_ok=True)

    # --- beginning -----------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Take the newest last checkpoint that no other process holds."""
        found = sorted(self._folder.glob("*.last"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found:
            lock = FileLock(str(path.with_suffix(".lock")))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ConfigError(
                    f"A run with these options is at work in {self._folder.parent.parent}; wait until it has ended, or leave "
                    "--resume out to start another."
                ) from None
            try:
                self._pending = self._read(path)
            except CheckpointError as error:
                lock.release()
                getLogger().warning(f"{error} The one before it is taken.")
                continue
            processes = self._pending.get("processes") or 1
            if processes != parallel.size():
                lock.release()
                raise ConfigError(
                    f"This run was interrupted with {processes} {'processes' if processes > 1 else 'process'}, and this is "
                    f"{parallel.size()}; give --nproc={processes}, or leave --resume out to start anew."
                )
            self._name, self._lock = path.stem, lock
            self._begin()
            return
        ended = self._folder / "ended.json"
        if not found and ended.is_file():
            raise RunEnded(ended, read_json(ended, CheckpointError, "delete it, or leave --resume out"))
        where = self._folder.parent.parent
        getLogger().warning(f"There is nothing to resume in {where} for these options: the run starts anew.")

    def _read(self, path: Path) -> dict:
        found = load_checkpoint(path, map_location="cpu")
        if not isinstance(found, dict) or (wrong := misshapen(found, _SHAPE)):
            raise CheckpointError(f"{path} is no last checkpoint: {wrong if isinstance(found, dict) else 'it holds no table'}.")
        if found["format"] != FORMAT or found["digest"] != self._digest:
            raise CheckpointError(f"{path} is not a last checkpoint of this run.")
        return found

    def _begin(self) -> None:
        """Set what RecBole's ``fit`` reads before the first epoch, and bring back the best model of that time."""
        trainer, found = self._trainer, self._pending
        trainer.start_epoch = found["epoch"]
        trainer.saved_model_file = str(Path(trainer.config["checkpoint_dir"]) / found["file"])
        for name, value in found["trainer"].items():
            setattr(trainer, name, value)
        if found["best"] is not None:
            publish(self._folder / found["best"], Path(trainer.saved_model_file))
        record = trainer.record
        for name, value in found["record"].items():
            setattr(record, name, value)
        record.resumed_from = [*record.resumed_from, found["epoch"]]
        logger = getLogger()
        logger.info(f"Training is resumed before epoch {found['epoch']}; its log before that is {found['log']}.")
        scores = {int(epoch): score for epoch, score in record.valid}
        for epoch in range(found["epoch"]):
            losses = {name: series[epoch] for name, series in record.losses.items() if epoch < len(series)}
            said = ", ".join(f"{name} {value:.{trainer.config['loss_decimal_place'] or 4}f}" for name, value in losses.items())
            logger.info(f"epoch {epoch}, before: {said}" + (f", valid_score {scores[epoch]:f}" if epoch in scores else ""))
            values = tuple(losses.values())
            if values:
                trainer._add_train_loss_to_tensorboard(epoch, values if len(values) > 1 else values[0])
            if epoch in scores:
                trainer.tensorboard.add_scalar("Vaild_score", scores[epoch], epoch)

    def begun(self) -> dict | None:
        """What the other processes of the run need to begin where this one does; None where it begins anew."""
        names = ("epoch", "trainer", "record", "state")
        return self._pending and {name: self._pending[name] for name in names}

    # --- while it trains -----------------------------------------------------------------------------------------------

    def at(self, epoch: int) -> None:
        """Called where an epoch begins: take up what was found, or write what is reached."""
        if self._pending is not None:
            try:
                state.restore(self._trainer, self._roots, self._pending["state"])
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as reason:
                raise CheckpointError(
                    f"{self._folder / self._name}.last does not fit this run ({' '.join(str(reason).split())}); delete it."
                ) from reason
            self._pending, self._written = None, perf_counter()
        elif self._due(epoch):
            start = perf_counter()
            self._write(epoch)
            self._written = perf_counter()
            self._cost = self._written - start

    def _due(self, epoch: int) -> bool:
        wanted = self._every > 0 and epoch > 0 and epoch % self._every == 0
        return wanted and perf_counter() - self._written >= self._cost / SHARE

    def _write(self, epoch: int) -> None:
        trainer, record = self._trainer, self._trainer.record
        best = Path(trainer.saved_model_file)
        kept = self._folder / f"{self._name}.best-{epoch}" if best.is_file() else None
        if kept is not None:
            publish(best, kept)
        found = {
            "format": FORMAT,
            "digest": self._digest,
            "epoch": epoch,
            "processes": parallel.size(),
            "file": best.name,
            "best": kept and kept.name,
            "log": next((handler.baseFilename for handler in getLogger().handlers if hasattr(handler, "baseFilename")), None),
            "trainer": {name: getattr(trainer, name) for name in state.COUNTERS},
            "record": {name: getattr(record, name) for name in ("seconds", "losses", "valid", "best_epoch", "resumed_from")},
            "state": state.capture(trainer, self._roots, self._before),
        }
        with replacing(self._folder / f"{self._name}.last") as temporary, open(temporary, "wb") as file:
            save_to(file, found, torch.save, pickle_protocol=4)
        self._remove(f"{self._name}.best-*", kept)

    # --- the end -------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Training was interrupted in this process, which goes on: let another take it up."""
        self._lock.release()
        self._tidy()

    def evaluated(self) -> None:
        """The best model was tested: the run has ended, unless its caller says so itself."""
        if Holding.active is None:
            self.finish()
        else:
            Holding.active.held.append(self)

    def finish(self, result: dict | None = None) -> None:
        """The run has ended well: what would resume it goes, what it found stays where it is given.

        Parameters
        ----------
        result : dict, optional
            JSON-able.
        """
        if result is not None:
            write_json(self._folder / "ended.json", result)
        self._remove(f"{self._name}.*")
        for path in list(self._folder.glob("*.last")):  # of earlier runs with these options that were not resumed
            lock = FileLock(str(path.with_suffix(".lock")))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            self._remove(f"{path.stem}.*")
            lock.release()
        self._lock.release()
        self._tidy()

    def _remove(self, pattern: str, but: Path | None = None) -> None:
        for path in self._folder.glob(pattern):
            if path != but:
                path.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove locks that nothing is left of, and folders that are empty."""
        for lock in self._folder.glob("*.lock"):
            if not lock.with_suffix(".last").exists() and lock.stem == self._name:
                lock.unlink(missing_ok=True)
        for folder in (self._folder, self._folder.parent):
            try:
                folder.rmdir()
            except OSError:
                return


def every(config) -> int:
    """Number of epochs from one last checkpoint to the next; 0 where none is wanted.

    Raises
    ------
    ConfigError
        ``checkpoint_every`` is no whole number of at least 0.
    """
    value = config["checkpoint_every"]
    value = 1 if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(
            f"checkpoint_every is {value!r}; set it to a number of epochs, for example 1, or to 0 for no last checkpoint."
        )
    return value


def publish(source: Path, target: Path) -> None:
    """Let a file appear under a second name, in place of what is there, without copying where links are known."""
    if target.exists() and os.path.samefile(source, target):
        return
    with replacing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
