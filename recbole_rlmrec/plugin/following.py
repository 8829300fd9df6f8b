"""Resuming with several processes: the first one has the last checkpoint, the others follow it."""

from __future__ import annotations

from recbole_rlmrec.model import parallel
from recbole_rlmrec.plugin import state
from recbole_rlmrec.plugin.resume import LastCheckpoint


class Following:
    """What a process has in place of a last checkpoint, where another process of the run keeps it.

    Parameters
    ----------
    trainer : RLMRecTrainer
    train_data, valid_data : AbstractDataLoader or None
    begun : dict or None
        `LastCheckpoint.begun` of the other.
    """

    def __init__(self, trainer, train_data, valid_data, begun: dict | None):
        self._trainer, self._roots = trainer, {"train": train_data, "valid": valid_data, "model": trainer.model}
        self._pending = begun
        if begun is not None:
            trainer.start_epoch = begun["epoch"]
            for target, part in ((trainer, "trainer"), (trainer.record, "record")):
                for name, value in begun[part].items():
                    setattr(target, name, value)

    def at(self, epoch: int) -> None:
        """Called where an epoch begins: take up what was found."""
        if self._pending is not None:
            state.restore(self._trainer, self._roots, self._pending["state"])
            self._pending = None

    def release(self) -> None:
        """Nothing is held here."""

    def evaluated(self) -> None:
        """Nothing is left here."""


def last_checkpoint(trainer, train_data, valid_data) -> LastCheckpoint | Following:
    """The last checkpoint of a training, which the first of several processes keeps."""
    found = parallel.on_first(lambda: LastCheckpoint(trainer, train_data, valid_data), send_back=False)
    begun = parallel.send(found.begun() if parallel.first() else None)
    return found if parallel.first() else Following(trainer, train_data, valid_data, begun)
