"""A trained model out of its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import torch
from recbole.config import Config
from recbole.utils import ModelType, init_seed

from recbole_rlmrec.data.reading import misshapen, understanding
from recbole_rlmrec.errors import CheckpointError, ModelError
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX, SUFFIX, find_model
from recbole_rlmrec.plugin import vocabulary
from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.runs.grown import Later, meet
from recbole_rlmrec.runs.histories import Histories
from recbole_rlmrec.runs.scoring import Trained
from recbole_rlmrec.runs.sequential import TrainedOnSequences
from recbole_rlmrec.runs.split import draw_split

__all__ = ["PLACES", "Trained", "TrainedOnSequences", "load_trained"]

_SHAPE = {"config": Config, "state_dict": {str: torch.Tensor}, "other_parameter?": dict}
_FEATURES = ("selected_features", "preload_weight", "item_attribute")  # what is numbered with the data beside ids
PLACES = ("data_path", "semantic_path")
ALIGNED = "alignment."


def load_trained(path: str | os.PathLike, places: Mapping[str, str] | None = None) -> Trained:
    """Read a checkpoint, the data it was trained on, and put the model together, on the CPU.

    The profiles are not needed where only the alignment loss reads them. A sequential recommender knows of its users what it
    knows at test: what they did up to the end of validation.

    Parameters
    ----------
    path : str or os.PathLike
        File that a run wrote.
    places : mapping, optional
        ``data_path`` and ``semantic_path`` where the files do not lie where they were at training.

    Raises
    ------
    CheckpointError
        The file cannot be read, or is of other data.
    DataError
        The data is not there.
    SemanticError
        The model reads texts, and their vectors are not those that it was trained with.
    """
    checkpoint = load_checkpoint(path, map_location="cpu")
    if not isinstance(checkpoint, dict) or misshapen(checkpoint, _SHAPE):
        raise CheckpointError(f"{path} holds no model of RecBole; give the .pth file that a run wrote.")
    with understanding(CheckpointError, str(path), "give the .pth file that a run wrote"):
        return _put_together(path, checkpoint, places or {})


def _put_together(path: str | os.PathLike, checkpoint: dict, places: Mapping[str, str]) -> Trained:
    wanted = checkpoint["config"]["alignment"]
    config = _prepared(checkpoint["config"], places)
    dataset, splits = draw_split(config)
    dataset, splits, later = _met(path, checkpoint, config, dataset, splits)
    if vocabulary.KEY in checkpoint:
        splits[0].rlmrec_known_sketch = checkpoint[vocabulary.KEY].get("semantic")
    init_seed(config["seed"], config["reproducibility"])
    model = find_model(config["model"])(config, splits[0])
    weights, aligned, alignment = checkpoint["state_dict"], {}, "none"
    if config["model"].endswith((SUFFIX, SEMANTIC_SUFFIX)):
        alignment = wanted or "none"
        aligned = {name.removeprefix(ALIGNED): weights[name] for name in weights if name.startswith(ALIGNED)}
        weights = {name: value for name, value in weights.items() if not name.startswith(ALIGNED)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit the data at {config['data_path']} ({str(error).splitlines()[-1].strip()}); "
            "set --data_path to the data that it was trained on."
        ) from None
    model.load_other_parameter(checkpoint.get("other_parameter"))
    found = config, model.eval(), dataset, splits, alignment, aligned, later
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return TrainedOnSequences(*found, Histories.of_splits(dataset, splits, 2))
    return Trained(*found)


def _met(path: str | os.PathLike, checkpoint: dict, config, dataset, splits) -> tuple[object, list, Later | None]:
    """The data of the run; those of a checkpoint that does not know its own are what the files hold."""
    kept = checkpoint.get(vocabulary.KEY)
    if kept is None:
        return dataset, splits, None
    if wrong := misshapen(kept, vocabulary.SHAPE):
        raise CheckpointError(f"{path} is damaged: {vocabulary.KEY}: {wrong}; give a .pth file as the run wrote it.")
    sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    found, parts, later = meet(kept, dataset, splits, sequential and not any(config[name] for name in _FEATURES))
    if later is not None and config["MODEL_TYPE"] not in (ModelType.GENERAL, ModelType.TRADITIONAL):
        more = ", with --interactions FILE for what came later" * sequential
        raise ModelError(
            f"{config['model']} reads more than ids, and {_of_sequences(later) if sequential else later} "
            f"({config['data_path']}): set --data_path to the data that it was trained on{more}, or train it again."
        )
    return found, parts, later


def _of_sequences(later: Later) -> str:
    """What has changed, in words; interactions are not counted, for the first of a sequence is no row."""
    others = replace(later, pairs=later.pairs[:0])
    named = others.gained or any(later.gone.values())
    return str(others) if named else "since training the data have other interactions, or another order of them"


def _prepared(config, places: Mapping[str, str]):
    config["device"] = torch.device("cpu")
    if config["model"].endswith((SUFFIX, SEMANTIC_SUFFIX)):
        config["alignment"] = "none"
    if "data_path" in places:
        config["data_path"] = os.path.join(places["data_path"], config["dataset"])
    if "semantic_path" in places:
        config["semantic_path"] = places["semantic_path"]
    return config
