"""The split of a run, drawn as the run draws it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import SequentialDataset
from recbole.utils import init_seed

from recbole_rlmrec.data.files import read_yaml
from recbole_rlmrec.runs.checks import check_data, read_config, reading, setting_up
from recbole_rlmrec.runs.command_line import command_line, config_files, split_options
from recbole_rlmrec.runs.option_types import check_types


def load_split(dataset: str, options: Sequence[str], model: str = "BPR"):
    """Load a data set and draw the split that a run with the same options draws.

    Parameters
    ----------
    dataset : str
    options : sequence of str
        RecBole's options, ``--key=value``, ``--config_files=`` among them.
    model : str
        A model whose defaults apply; the split does not depend on it.

    Returns
    -------
    config : recbole.config.Config
    dataset : recbole.data.dataset.Dataset
        The filtered data.
    splits : list of recbole.data.dataset.Dataset
        Training, validation and test split; the training split knows the other two as ``rlmrec_heldout``.
    """
    ours, rest = split_options(options, ("config_files", "model", "dataset"))
    files = config_files(ours.get("config_files", ""))
    for file in files:
        read_yaml(Path(file))
    with command_line(rest), setting_up(), reading(dataset):
        config = read_config(ours.get("model", model), dataset, files)
        return config, *draw_split(config)


def draw_split(config, kind: Callable = create_dataset):
    """Draw the split of a run.

    Parameters
    ----------
    config : recbole.config.Config
    kind : callable
        Makes RecBole's dataset out of ``config``.

    Returns
    -------
    dataset : recbole.data.dataset.Dataset
        The filtered data.
    splits : list of recbole.data.dataset.Dataset
        Training, validation and test split; the training split knows the other two as ``rlmrec_heldout``.

    Raises
    ------
    DataError
        Files are missing or cannot be read, or no interaction is left.
    ConfigError
        Filters are set that RecBole would ignore.
    """
    check_data(config)
    init_seed(config["seed"], config["reproducibility"])
    with setting_up(), reading(config["dataset"]):
        dataset = kind(config)
        alone = _alone(dataset)
        splits = dataset.build()
        if alone is not None:
            dataset.rlmrec_alone = alone
        return dataset, splits


def _alone(dataset) -> np.ndarray | None:
    """Users with one interaction, and its items, int64 [2, n]: RecBole's sequences have none of them, as no target has a past.

    None where there are no sequences, or where they come with the split.
    """
    if not isinstance(dataset, SequentialDataset) or dataset.config["benchmark_filename"]:
        return None
    pairs = dataset.inter_feat[[dataset.uid_field, dataset.iid_field]]
    return pairs[~pairs[dataset.uid_field].duplicated(keep=False)].to_numpy(dtype=np.int64).T


def make_config(model: str, dataset: str, options: Mapping) -> Config:
    """RecBole's Config of a run with these options, as from a configuration file and an empty command line."""
    check_types(options)
    with tempfile.TemporaryDirectory(prefix="recbole-rlmrec-") as folder, command_line([]):
        file = Path(folder) / "options.yaml"
        file.write_text(json.dumps(dict(options), ensure_ascii=False), encoding="utf-8")
        return Config(model, dataset, config_file_list=[str(file)])
