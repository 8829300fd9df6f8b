"""The leak check: no profile may quote an interaction that the run holds out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import getLogger

import numpy as np
import pandas as pd

from recbole_rlmrec.data.pairs import heldout_keys, pair_keys, pair_of, split_keys
from recbole_rlmrec.errors import LeakageError, quoted
from recbole_rlmrec.semantic.origin import check_mode

logger = getLogger()


def check_leakage(pairs: pd.DataFrame, train, mode: str = "error", tag: str = "TAG") -> int | None:
    """As :func:`check_keys`, for ``user`` and ``item`` tokens of quoted interactions."""
    return check_keys(quoted_keys(train)(list(zip(pairs["user"], pairs["item"]))), train, mode, tag)


def quoted_keys(train) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """A function that turns (user, item) tokens into the keys of the run's pairs, int64 [n], which take little memory.

    Parameters
    ----------
    train : recbole.data.dataset.Dataset
        The training split. The key of a pair that the run does not have is 0.
    """
    users, items = train.field2token_id[train.uid_field], train.field2token_id[train.iid_field]

    def keys(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        ids = np.array([(users.get(user, 0), items.get(item, 0)) for user, item in pairs], dtype=np.int64).reshape(-1, 2)
        return pair_keys(train, ids[:, 0], ids[:, 1])

    return keys


def check_keys(keys: np.ndarray, train, mode: str = "error", tag: str = "TAG") -> int | None:
    """Look for quoted interactions that lie in the run's validation or test split and not in its training split.

    Pairs of users or items that the run does not have, or that a filter removed, are fine.

    Parameters
    ----------
    keys : int64 array [n]
        Of the quoted pairs, as :func:`quoted_keys` makes them, repeats allowed.
    train : recbole.data.dataset.Dataset
        The training split; its ``rlmrec_heldout`` holds the validation and the test split.
    mode : str
        ``error`` or ``warn``.
    tag : str
        Name of the profiles, for the message.

    Returns
    -------
    int or None
        Number of leaked interactions; None where the training split does not know the held-out ones.

    Raises
    ------
    LeakageError
        There is a leak and the mode is ``error``; the message has the count, an example and the remedy.
    ConfigError
        The mode is another one.
    """
    mode = check_mode(mode)
    heldout = heldout_keys(train)
    if heldout is None:
        logger.warning(
            "The training split does not know the held-out splits, so the profiles could not be checked for leaks; "
            "build the dataset with recbole_rlmrec imported."
        )
        return None
    leaked = np.setdiff1d(np.intersect1d(keys, heldout), split_keys(train))
    if len(leaked):
        _report(leaked, mode, tag, train)
    return len(leaked)


def _report(leaked: np.ndarray, mode: str, tag: str, train) -> None:
    count, (user, item) = len(leaked), pair_of(int(leaked[0]), train.item_num)
    names = [str(train.field2id_token[field][one]) for field, one in ((train.uid_field, user), (train.iid_field, item))]
    found = (
        f"The profiles of tag {tag!r} quote {count} interaction{'s' if count > 1 else ''} of this run's validation or "
        f"test split, for example user {names[0]!r} with item {names[1]!r}"
    )
    if mode == "warn":
        logger.warning(f"{found}; the results are too good to be true (leakage: warn).")
        return
    raise LeakageError(
        f"{found}. Make profiles for this split (recbole-rlmrec profile --dataset {quoted(train.dataset_name)} --tag NEW with "
        f"this run's options), run with the split and seed they were made for, or set leakage: warn to go on regardless."
    )
