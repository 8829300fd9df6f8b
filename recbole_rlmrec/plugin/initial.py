"""Initial embeddings from files: what one model learnt is where another begins."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

import numpy as np
import torch

from recbole_rlmrec.data.files import building, write_json
from recbole_rlmrec.data.pairs import split_hash, split_prints
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.encoding.embeddings import Embeddings, read_embeddings, seal
from recbole_rlmrec.errors import CheckpointError, ConfigError
from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.semantic.origin import PRINTS, Origin, check_origin, read_prints, write_prints

SEMANTIC = "semantic"  # initial_embeddings: no folder but the run's profiles


def export_initial(checkpoint: Path, dataset, folder: Path) -> None:
    """Write the embeddings that a model has learnt, in the form of semantic embeddings.

    Parameters
    ----------
    checkpoint : Path
        Of an aligned model or its base.
    dataset : recbole.data.dataset.Dataset
        The training split that it was trained on; gives the tokens, the hash and the interactions.
    folder : Path
        To be made: ``users.npy``, ``items.npy`` [n, d], their token lists, ``pairs.npy`` and ``manifest.json``.

    Raises
    ------
    CheckpointError
        The checkpoint has no embedding of users or of items, or is of other data.
    """
    loaded = load_checkpoint(checkpoint, map_location="cpu")
    names, more = _names(loaded["config"]["model"]), _adapter(loaded["config"]["model"]).more_rows
    about = {"format": 1, "dataset": dataset.dataset_name, "encoder": loaded["config"]["model"]}
    with building(folder) as temporary:
        for side, field in zip(SIDES, (dataset.uid_field, dataset.iid_field), strict=True):
            tokens = [str(token) for token in dataset.field2id_token[field][1:]]
            if not names[side]:
                continue
            weight = loaded["state_dict"].get(f"{names[side]}.weight")
            if weight is None or len(weight) - len(tokens) - 1 not in (0, more):
                raise CheckpointError(f"{checkpoint} has no embeddings of the {len(tokens)} {side}s of {dataset.dataset_name}.")
            np.save(temporary / f"{side}s.npy", weight[1 : len(tokens) + 1].float().numpy(), allow_pickle=False)
            write_json(temporary / f"{side}s.tokens.json", {"tokens": tokens})
            about |= {f"{side}s": len(tokens), "dim": weight.shape[1]}
        about |= {"split_hash": split_hash(dataset), "pairs": write_prints(temporary / PRINTS, split_prints(dataset))}
        seal(temporary, about)


def load_initial(model, dataset, folder: Path | str) -> dict:
    """Put embeddings of a folder, by token, into a model that is not trained yet; others stay as they were drawn.

    Parameters
    ----------
    model : torch.nn.Module
        A recommender with an adapter, ``NAME_RLMRec``.
    dataset : recbole.data.dataset.Dataset
        The training split; its ``config`` gives ``leakage``.
    folder : Path
        As `export_initial` writes it.

    Returns
    -------
    dict
        Where they come from, for the result file.

    Raises
    ------
    LeakageError
        They were learnt from interactions that this run holds out.
    ConfigError
        There are no files, the model has no such embeddings, or they are of another size.
    SemanticError
        The files are malformed or of another dataset.
    """
    if not (Path(folder) / "manifest.json").is_file():
        raise ConfigError(f"There are no embeddings in {folder}; correct initial_embeddings.")
    found = read_embeddings(Path(folder).resolve(), dataset.dataset_name)
    provenance = {"folder": str(folder), "by": found.manifest.get("encoder"), **_check(found, dataset)}
    names = _names(type(model).__name__)
    for side, field in zip(SIDES, (dataset.uid_field, dataset.iid_field), strict=True):
        if not names[side]:
            continue
        if side not in found.tokens:
            getLogger().info(f"initial embeddings: no {side}s in {folder}")
            continue
        embedding = _embedding(model, names[side])
        if embedding.embedding_dim != found.dim:
            raise ConfigError(
                f"{folder} holds embeddings of size {found.dim}, those of {type(model).__name__} have "
                f"{embedding.embedding_dim}; set embedding_size: {found.dim}."
            )
        ids = [dataset.field2token_id[field].get(token, 0) for token in found.tokens[side]]
        known = np.flatnonzero(ids)
        with torch.no_grad():
            rows = torch.from_numpy(np.array(found.matrices[side][known], dtype=np.float32))
            embedding.weight[torch.as_tensor(np.array(ids)[known])] = rows.to(embedding.weight.device)
        getLogger().info(f"initial embeddings: {len(known)} of {dataset.num(field) - 1} {side}s from {folder}")
    return provenance


def _check(found: Embeddings, dataset) -> dict:
    manifest = found.manifest
    seen = read_prints(found.folder / PRINTS, manifest["pairs"]) if manifest.get("pairs") else None
    origin = Origin(f"The initial embeddings in {found.folder}", manifest.get("split_hash"), seen)
    return check_origin(origin, dataset, dataset.config["leakage"], "train them on this run's training split")


def _adapter(model: str):
    from recbole_rlmrec.model.adapters import get_adapter
    from recbole_rlmrec.model.lookup import backbone_name

    return get_adapter(backbone_name(model))


def _names(model: str) -> dict[str, str]:
    """Names of the initial embeddings by side; empty for a side that has none."""
    adapter = _adapter(model)
    return {"user": adapter.user_embedding, "item": adapter.item_embedding}


def _embedding(model, name: str) -> torch.nn.Embedding:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        module = None
    if not isinstance(module, torch.nn.Embedding):
        raise ConfigError(f"{type(model).__name__} has no embedding named {name}; leave initial_embeddings out.")
    return module
