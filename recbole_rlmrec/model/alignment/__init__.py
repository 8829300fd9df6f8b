"""Alignment losses. A new one is a subclass of Alignment in a file of its own, announced with register_alignment."""

from __future__ import annotations

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.alignment.base import Alignment, AlignmentSettings, Mask, Step, Term
from recbole_rlmrec.model.alignment.contrastive import Contrastive
from recbole_rlmrec.model.alignment.generative import Generative

ALIGNMENTS: dict[str, type[Alignment]] = {"con": Contrastive, "gen": Generative}


def register_alignment(name: str, cls: type[Alignment]) -> None:
    """Make ``alignment: NAME`` choose a class.

    Raises
    ------
    ConfigError
        The name is taken or the class is no Alignment.
    """
    if name in ALIGNMENTS or name == "none":
        raise ConfigError(f"An alignment named {name!r} exists already; choose another name.")
    if not issubclass(cls, Alignment):
        raise ConfigError(f"{cls.__name__} cannot be an alignment: derive it from recbole_rlmrec.Alignment.")
    ALIGNMENTS[name] = cls


def read_settings(config) -> AlignmentSettings:
    """The run's alignment options, checked against the alignments that exist."""
    return AlignmentSettings.from_config(config, ALIGNMENTS)


__all__ = [
    "ALIGNMENTS",
    "Alignment",
    "AlignmentSettings",
    "Contrastive",
    "Generative",
    "Mask",
    "Step",
    "Term",
    "read_settings",
    "register_alignment",
]
