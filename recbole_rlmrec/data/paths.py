"""Where semantic files live: semantic_path/DATASET/semantic/TAG/embeddings/ENCODER."""

from __future__ import annotations

import re
from pathlib import Path

from recbole_rlmrec.errors import ConfigError


def dataset_root(semantic_path: str | None, dataset: str) -> Path:
    """Folder of everything that this package keeps for a dataset.

    Raises
    ------
    ConfigError
        The dataset's name is no name of a folder.
    """
    if dataset in ("", ".", "..") or set(dataset) & set("/\\"):
        raise ConfigError(f"{dataset!r} is no name of a data set: it is the name of a folder, without the path to it.")
    return Path(semantic_path or "dataset") / dataset


def semantic_root(config) -> Path:
    """Folder that holds one sub-folder per semantic tag of the run's dataset.

    Parameters
    ----------
    config : recbole.config.Config or mapping
        Needs ``dataset``; ``semantic_path`` defaults to ``dataset/``.
    """
    return dataset_root(config["semantic_path"], config["dataset"]) / "semantic"


def encoder_slug(name: str) -> str:
    """File-system name of a text encoder, for example ``sentence-transformers--all-MiniLM-L6-v2``."""
    if Path(name).is_dir():
        name = Path(name).absolute().name
    return re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("/", "--"))
