"""Targets of an alignment that are no profiles: what another recommender has learnt of users and items."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.data.profile import SIDES, aligned_sides
from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.semantic.origin import Origin, check_origin, refuse
from recbole_rlmrec.semantic.table import Semantic, SemanticTable, home_of

_AGAIN = "write it with `recbole-rlmrec export --checkpoint FILE --output FOLDER`"


def load_learnt(config, train) -> Semantic:
    """Vectors of users and items of a trained recommender, in the place of profiles.

    LLMEmb's second stage aligns what a network makes of the texts with item embeddings learnt before (arXiv 2409.19925).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``align_with``, the folder of ``export --checkpoint``, ``leakage``, ``device`` and ``semantic_device``.
    train : recbole.data.dataset.Dataset
        The training split.

    Raises
    ------
    SemanticError
        The folder is no export of a trained recommender on this dataset, or has nobody of this run.
    LeakageError
        The recommender was trained on another split, so it may know what this run holds out; or users are aligned, and their
        vectors know what they did after training.
    """
    folder, places = Path(str(config["align_with"])), (config["device"], home_of(config))
    about = read_json(folder / "about.json", SemanticError, _AGAIN)
    if about.get("dataset") != config["dataset"]:
        raise SemanticError(
            f"align_with: {folder} is of dataset {about.get('dataset')!r}, not of {config['dataset']!r}; choose another folder."
        )
    remedy = "train that recommender on this run's split and export it again"
    origin = check_origin(Origin(f"The vectors of {folder}", about.get("split_hash")), train, config["leakage"], remedy)
    _check_users(folder, about, config)
    tables = {side: SemanticTable.of_tokens(*_read(folder, side), side, train, *places) for side in SIDES}
    if not any(table.count for table in tables.values()):
        raise SemanticError(f"align_with: nobody in {folder} is a user or an item of this run; choose another folder.")
    learnt = f"{about.get('model')} ({about.get('alignment')})"
    provenance = {"folder": str(folder), "by": learnt, "made": about.get("made"), "dim": about.get("dim"), **origin}
    return Semantic(tables["user"], tables["item"], str(folder), learnt, provenance)


def _check_users(folder: Path, about: dict, config) -> None:
    """Refuse users whose sequences go on after training, where users are aligned at all."""
    until = about.get("until") or "a part that is not recorded"
    if until != "train" and "user" in aligned_sides(config["align_sides"]):
        found = f"The users of {folder} are their sequences to the end of {until} and may know what this run holds out"
        refuse(found, config["leakage"], "set align_sides: item, or export with --until train")


def _read(folder: Path, side: str) -> tuple[np.ndarray, list[str]]:
    """Vectors float32 [n, d] and tokens of a side, from whichever form the export has."""
    try:
        if (path := folder / f"{side}s.parquet").is_file():
            import pyarrow.parquet as pq

            table = pq.read_table(path, columns=["id", "vector"])
            vectors = table["vector"].combine_chunks()
            flat = vectors.flatten().to_numpy(zero_copy_only=False)
            return flat.reshape(len(table), -1).astype(np.float32), table["id"].to_pylist()
        from safetensors.numpy import load_file

        tokens = json.loads((folder / f"{side}s.tokens.json").read_text(encoding="utf-8"))
        return load_file(folder / "tables.safetensors")[f"{side}s"].astype(np.float32), tokens
    except Exception as reason:
        raise SemanticError(f"align_with: the {side}s of {folder} cannot be read ({reason}); {_AGAIN}.") from None
