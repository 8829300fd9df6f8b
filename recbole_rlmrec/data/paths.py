"""Where semantic files live: semantic_path/DATASET/semantic/TAG/embeddings/ENCODER."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from recbole_rlmrec.data.files import hash_model
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


def encoder_slug(name: str, embeddings: Path | None = None) -> str:
    """File-system name of a text encoder, for example ``sentence-transformers--all-MiniLM-L6-v2``.

    Parameters
    ----------
    name : str
        Name on the hub, or a folder with a model, which goes by the folder's own name.
    embeddings : Path, optional
        Where the embeddings are. A folder gets a digest behind its name where another one of the same name has been there
        before.
    """
    if not Path(name).is_dir():
        return _file_name(name.replace("/", "--"))
    short = _file_name(Path(name).absolute().name)
    if embeddings is None:
        return short
    unique = f"{short}-{_model_digest(Path(name))[:8]}"
    return unique if (embeddings / unique).is_dir() or _is_of_another(embeddings / short, Path(name)) else short


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _model_digest(folder: Path) -> str:
    return hash_model(folder) or hashlib.sha256(str(folder.absolute()).encode()).hexdigest()


def _is_of_another(embeddings: Path, folder: Path) -> bool:
    """Whether some embeddings were made by another model than the one in a folder."""
    try:
        manifest = json.loads((embeddings / "manifest.json").read_bytes())
        made_by, revision = Path(str(manifest["encoder"])), manifest.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return made_by.absolute() != folder.absolute() and revision != _model_digest(folder)
