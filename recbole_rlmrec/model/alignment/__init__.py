"""Alignment losses. A new one is a subclass of Alignment in a file of its own, announced with register_alignment."""

from __future__ import annotations

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.alignment.base import Alignment, AlignmentSettings, Mask, Step, Term
from recbole_rlmrec.model.alignment.contrastive import Contrastive
from recbole_rlmrec.model.alignment.darec import DaRec
from recbole_rlmrec.model.alignment.distance import Distance
from recbole_rlmrec.model.alignment.generative import Generative
from recbole_rlmrec.model.options import Option, choice, declared

ALIGNMENTS: dict[str, type[Alignment]] = {"con": Contrastive, "gen": Generative, "darec": DaRec, "distance": Distance}


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


def alignment_options(name: str | None = None) -> dict[str, Option]:
    """Options that alignments declare, by name: those of one, none for an unknown one, or of all together."""
    chosen = [cls for known, cls in ALIGNMENTS.items() if name is None or known.lower() == str(name).lower()]
    return {key: option for cls in chosen for key, option in declared(cls).items()}


def read_settings(config) -> AlignmentSettings:
    """The run's alignment and its options, checked; empty ones have the defaults that the alignment declares.

    Raises
    ------
    ConfigError
        There is no such alignment, or an option is out of range; the message names it and says what is allowed.
    """
    kind = choice(config, "alignment", (*ALIGNMENTS, "none"))
    return AlignmentSettings(kind, {name: option.read(config) for name, option in alignment_options(kind).items()})


__all__ = [
    "ALIGNMENTS",
    "Alignment",
    "AlignmentSettings",
    "Contrastive",
    "DaRec",
    "Distance",
    "Generative",
    "Mask",
    "Step",
    "Term",
    "alignment_options",
    "read_settings",
    "register_alignment",
]
