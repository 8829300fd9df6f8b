"""The leak check: no profile may quote an interaction that the run holds out."""

from __future__ import annotations

from logging import getLogger

import numpy as np
import pandas as pd

from recbole_rlmrec.data.corpus import heldout_keys, pair_keys, split_keys
from recbole_rlmrec.errors import ConfigError, LeakageError

MODES = ("error", "warn")

logger = getLogger()


def check_leakage(pairs: pd.DataFrame, train, mode: str = "error", tag: str = "TAG") -> int | None:
    """Look for quoted interactions that lie in the run's validation or test split and not in its training split.

    Pairs of users or items that the run does not have, or that a filter removed, are fine.

    Parameters
    ----------
    pairs : DataFrame
        ``user`` and ``item`` tokens of quoted interactions, distinct rows.
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
    if mode not in MODES:
        raise ConfigError(f"leakage must be one of {', '.join(MODES)}, not {mode!r}.")
    heldout = heldout_keys(train)
    if heldout is None:
        logger.warning(
            "The training split does not know the held-out splits, so the profiles could not be checked for leaks; "
            "build the dataset with recbole_rlmrec imported."
        )
        return None
    keys = pair_keys(train, _ids(train, train.uid_field, pairs["user"]), _ids(train, train.iid_field, pairs["item"]))
    leaked = (keys > 0) & np.isin(keys, heldout) & ~np.isin(keys, split_keys(train))
    if count := int(leaked.sum()):
        _report(count, pairs[leaked].iloc[0], mode, tag, train.dataset_name)
    return count


def _ids(train, field: str, tokens: pd.Series) -> np.ndarray:
    return tokens.map(train.field2token_id[field]).fillna(0).to_numpy(dtype=np.int64)


def _report(count: int, example: pd.Series, mode: str, tag: str, dataset: str) -> None:
    found = (
        f"The profiles of tag {tag!r} quote {count} interaction{'s' if count > 1 else ''} of this run's validation or "
        f"test split, for example user {example['user']!r} with item {example['item']!r}"
    )
    if mode == "warn":
        logger.warning(f"{found}; the results are too good to be true (leakage: warn).")
        return
    raise LeakageError(
        f"{found}. Make profiles for this split (recbole-rlmrec profile --dataset {dataset} --tag NEW with this run's "
        f"options), run with the split and seed they were made for, or set leakage: warn to go on regardless."
    )
