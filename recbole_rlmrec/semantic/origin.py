"""Where something that was learnt or written from interactions comes from, and whether a run may use it.

Every such thing (profiles, exported and initial embeddings) carries the hash of the training split that it was made from
and, where they are known, the interactions it has seen, as prints of 8 bytes each. One rule decides wherever one enters a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import bytes_digest, file_digest, replacing
from recbole_rlmrec.data.pairs import heldout_prints, split_hash
from recbole_rlmrec.data.reading import read_npy
from recbole_rlmrec.errors import ConfigError, LeakageError, SemanticError

MODES = ("error", "warn")
PRINTS = "pairs.npy"

logger = getLogger()


@dataclass(frozen=True)
class Origin:
    """What is known of where a thing comes from.

    Attributes
    ----------
    what : str
        Begins sentences: ``The initial embeddings of FOLDER``.
    split_hash : str or None
        Of the training split that it was made from.
    prints : uint64 array or None
        Of the interactions that it has seen (see `data.pairs.pair_prints`); None where nobody knows.
    """

    what: str
    split_hash: str | None = None
    prints: np.ndarray | None = None


def check_mode(mode: str | None) -> str:
    """``error`` or ``warn``; None means ``error``.

    Raises
    ------
    ConfigError
        It is something else.
    """
    mode = mode or "error"
    if mode not in MODES:
        raise ConfigError(f"leakage must be one of {', '.join(MODES)}, not {mode!r}.")
    return mode


def check_origin(origin: Origin, train, mode: str | None, remedy: str) -> dict:
    """Let a run use something, or stop it.

    Parameters
    ----------
    origin : Origin
    train : recbole.data.dataset.Dataset
        The training split; its ``rlmrec_heldout`` holds the validation and the test split.
    mode : str or None
        The option ``leakage``.
    remedy : str
        What to do in place of it, the end of a sentence.

    Returns
    -------
    dict
        For the result file: ``split_hash``, ``made_for_this_split``, ``provenance`` and ``leaked_interactions``.

    Raises
    ------
    LeakageError
        It has seen interactions that the run holds out, or was made from another split and nobody knows which it has seen,
        and the mode is ``error``.
    ConfigError
        The mode is unknown.
    """
    mode = check_mode(mode)
    same = origin.split_hash and origin.split_hash == split_hash(train)
    about = {
        "split_hash": origin.split_hash,
        "made_for_this_split": same,
        "provenance": "recorded" if same or origin.prints is not None else "unknown",
        "leaked_interactions": 0 if same else None,
    }
    if origin.prints is not None:
        heldout = heldout_prints(train)
        if heldout is None:
            logger.warning(f"{origin.what} could not be checked for leaks: the training split does not know the held-out ones.")
            return about
        leaked = int(np.isin(heldout, origin.prints).sum())
        if leaked:
            of = f"{leaked} interaction{'s' * (leaked > 1)} of this run's validation or test split"
            refuse(f"{origin.what} come from {of}", mode, remedy)
        return {**about, "leaked_interactions": leaked}
    if origin.split_hash and not same:
        refuse(
            f"{origin.what} were made from another training split ({origin.split_hash[:8]}, this run's is "
            f"{split_hash(train)[:8]}), and which interactions they have seen is not recorded",
            mode,
            remedy,
        )
    elif not same:
        logger.warning(
            f"{origin.what} have unknown provenance: which interactions they come from is not recorded, so results with them "
            "may know what the run holds out."
        )
    return about


def refuse(found: str, mode: str | None, remedy: str) -> None:
    """Stop a run that would use what knows too much; with ``leakage: warn`` say so and go on.

    Raises
    ------
    LeakageError
        The mode is ``error``.
    """
    if check_mode(mode) == "warn":
        logger.warning(f"{found}; the results are too good to be true (leakage: warn).")
        return
    raise LeakageError(f"{found}. {remedy[0].upper()}{remedy[1:]}, or set leakage: warn to go on regardless.")


def write_prints(path: Path, prints: np.ndarray) -> str:
    """Write prints of interactions, sorted, each once; returns the file's digest."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.unique(prints), allow_pickle=False)
    return file_digest(path)


def read_prints(path: Path, digest: str | None) -> np.ndarray:
    """Prints of interactions as `write_prints` leaves them.

    Raises
    ------
    SemanticError
        The file is missing, is none of these, or not the one that was written.
    """
    try:
        data = path.read_bytes()
        prints = read_npy(path)
    except (OSError, ValueError, EOFError) as reason:
        raise SemanticError(f"{path} cannot be read ({reason}); make it again.") from None
    if prints.ndim != 1 or prints.dtype != np.uint64 or digest not in (None, bytes_digest(data)):
        raise SemanticError(f"{path} is not the file that was written beside its manifest; make both again.")
    return prints
