"""``train_batch_size: auto``: batches that grow with the data, where every step passes over the whole graph."""

from __future__ import annotations

import math
from logging import getLogger

from recbole.utils import InputType

from recbole_rlmrec.errors import ConfigError

STEPS = 50
LARGEST = 2**18
"""Interactions of a batch whose rows of 64 dimensions, with gradients, take about half a GB."""


def settle(config, dataset) -> None:
    """Put numbers into a run whose ``train_batch_size`` is ``auto``; others stay as they are.

    A batch holds a fiftieth of the training interactions, at least as many as the recommender's default says and at most
    `LARGEST`. The learning rate is taken for the default batch and grows with the square root of the batch: Adam divides a mean
    over the batch by the root of its second moment, whose noise falls by that factor (Malladi et al., 2022).

    Parameters
    ----------
    config : recbole.config.Config
    dataset : recbole.data.dataset.Dataset
        The training split.

    Raises
    ------
    ConfigError
        The recommender is trained by user.
    """
    if config["train_batch_size"] != "auto":
        return
    if config["MODEL_INPUT_TYPE"] not in (InputType.PAIRWISE, InputType.POINTWISE):
        raise ConfigError(f"train_batch_size is auto, but {config['model']} is not trained by interaction; set it to a number.")
    usual, count = int(config.internal_config_dict["train_batch_size"]), len(dataset.inter_feat)
    size = max(usual, min(math.ceil(count / STEPS), LARGEST))
    rate = float(config["learning_rate"])
    config["train_batch_size"], config["learning_rate"] = size, rate * math.sqrt(size / usual)
    getLogger().info(
        f"train_batch_size: auto is {size} for {count} interactions, {math.ceil(count / size)} steps an epoch; learning_rate "
        f"{rate:g} is taken for batches of {usual} and becomes {config['learning_rate']:.4g}."
    )
