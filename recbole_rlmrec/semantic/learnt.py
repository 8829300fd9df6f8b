"""Targets of an alignment that are no profiles: what another recommender has learnt of users and items."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.semantic.origin import Origin, check_origin
from recbole_rlmrec.semantic.table import Semantic, SemanticTable, home_of

_AGAIN = "write it with `recbole-rlmrec export --checkpoint FILE --output FOLDER`"


def load_learnt(config, train) -> Semantic:
    """Vectors of users and items of a trained recommender, in the place of profiles.

    LLMEmb's second stage aligns what a network makes of the texts with item embeddings learnt before (arXiv 2409.19925).

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``align_with``, the folder of ``export --checkpoint``, ``leakage``,
        ``semantic_device`` and ``device``.
    train : recbole.data.dataset.Dataset
        The training split.

    Raises
    ------
    SemanticError
        The folder is no export of a trained recommender on this dataset, or has nobody of this run.
    LeakageError
        The recommender was trained on another split, so it may know what this run holds out.
    """
    folder = Path(str(config["align_with"]))
    about = read_json(folder / "about.json", SemanticError, _AGAIN)
    if about.get("dataset") != config["dataset"]:
        raise SemanticError(
            f"align_with: {folder} is of dataset {about.get('dataset')!r}, not of {config['dataset']!r}; choose another folder."
        )
    remedy = "train that recommender on this run's split and export it again"
    origin = check_origin(Origin(f"The vectors of {folder}", about.get("split_hash")), train, config["leakage"], remedy)
    tables = {side: _table(folder, side, train, config["device"], home_of(config)) for side in SIDES}
    if not any(table.count for table in tables.values()):
        raise SemanticError(f"align_with: nobody in {folder} is a user or an item of this run; choose another folder.")
    learnt = f"{about.get('model')} ({about.get('alignment')})"
    provenance = {"folder": str(folder), "by": learnt, "made": about.get("made"), "dim": about.get("dim"), **origin}
    return Semantic(tables["user"], tables["item"], str(folder), learnt, provenance)


def _table(folder: Path, side: str, train, device, home: str | None) -> SemanticTable:
    tokens, vectors = _read(folder, side)
    field = train.uid_field if side == "user" else train.iid_field
    ids = pd.Series(tokens, dtype=object).map(train.field2token_id[field]).fillna(0).to_numpy(dtype=np.int64)
    row_of_id = np.full(train.num(field), -1, dtype=np.int64)
    row_of_id[ids] = np.arange(len(ids))
    return SemanticTable(vectors, row_of_id, device, home)


def _read(folder: Path, side: str) -> tuple[list[str], np.ndarray]:
    """Tokens and vectors float32 [n, d] of a side, from whichever form the export has."""
    try:
        if (path := folder / f"{side}s.parquet").is_file():
            import pyarrow.parquet as pq

            table = pq.read_table(path, columns=["id", "vector"])
            vectors = table["vector"].combine_chunks()
            flat = vectors.flatten().to_numpy(zero_copy_only=False)
            return table["id"].to_pylist(), flat.reshape(len(table), -1).astype(np.float32)
        from safetensors.numpy import load_file

        tokens = json.loads((folder / f"{side}s.tokens.json").read_text(encoding="utf-8"))
        return tokens, load_file(folder / "tables.safetensors")[f"{side}s"].astype(np.float32)
    except Exception as reason:
        raise SemanticError(f"align_with: the {side}s of {folder} cannot be read ({reason}); {_AGAIN}.") from None
