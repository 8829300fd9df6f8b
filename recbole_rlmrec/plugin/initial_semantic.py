"""``initial_embeddings: semantic``: ids start from the semantic embeddings and are trained as usual.

Reference:
    Weizhi Zhang et al. "LLMInit: A Free Lunch from Large Language Models for Selective Initialization of Recommendation."
    arXiv 2503.01814.
"""

from __future__ import annotations

from logging import getLogger

import numpy as np
import torch

from recbole_rlmrec.errors import ConfigError, ModelError, SemanticError
from recbole_rlmrec.model.history import HistoryMean
from recbole_rlmrec.model.options import choice
from recbole_rlmrec.semantic.load import load_semantic
from recbole_rlmrec.semantic.reduction import fit
from recbole_rlmrec.semantic.table import SemanticTable

WAYS = ("pca", "uniform", "random", "variance")


def load_semantic_initial(model, dataset, config) -> None:
    """Put the semantic embeddings, reduced to the size of the initial embeddings, into a model that is not trained yet.

    Users are the mean of their training items, or their own profile (``user_text``). All values of a side are scaled by one
    number, so that they are on average as large as the drawn ones were. Those without text stay as they were drawn.

    Parameters
    ----------
    model : torch.nn.Module
        A recommender with an adapter, ``NAME_RLMRec`` or ``NAME_Semantic``.
    dataset : recbole.data.dataset.Dataset
        The training split.
    config : recbole.config.Config
        Reads ``initial_from``: ``pca``, or d of the d_s dimensions: at equal distances (``uniform``), drawn (``random``), or
        those of the largest variance among the items (``variance``).

    Raises
    ------
    ConfigError
        An option is out of range, or the initial embeddings are larger than the semantic ones.
    ModelError
        The model has no initial embeddings.
    SemanticError
        No item, or no user where users are their profiles, has a profile.
    """
    if getattr(model, "adapter", None) is None or not hasattr(model.adapter, "input_names"):
        raise ModelError(f"{type(model).__name__} has no initial embeddings that could start from profiles.")
    how = choice(config, "initial_from", WAYS)
    user_text = choice(config, "user_text", ("history", "profile"))
    semantic = load_semantic(config, dataset)
    inputs = model.adapter.input_names(model)
    profiles = user_text == "profile" and any(user for user, _ in inputs)
    needed = [semantic.item, semantic.user] if profiles else [semantic.item]
    if not all(table.count for table in needed):
        side = "user" if semantic.item.count else "item"
        raise SemanticError(
            f"initial_embeddings: semantic needs profiles of {side}s, and tag {semantic.tag!r} has none of this run; "
            "make or import them, or leave initial_embeddings out."
        )
    history = HistoryMean(dataset, semantic.item.covered) if user_text == "history" else None
    for names in inputs:
        user, item = (model.get_submodule(name).weight if name else None for name in names)
        mean, basis = _basis(semantic.item, item.shape[1], how, config["seed"])
        items = _reduced(semantic.item, mean, basis)
        _fill(item, items, semantic.item.covered)
        if user is None:
            continue
        center = semantic.user.mean().double() if how == "pca" else mean
        users = history(items) if history else _reduced(semantic.user, center, basis)
        _fill(user, users, history.known if history else semantic.user.covered)
    model.semantic_provenance = semantic.provenance
    about = "" if user is None else f"; users by {user_text}"
    getLogger().info(f"initial embeddings: {semantic.item.count} items, from tag {semantic.tag} by {how}{about}")


def _basis(table: SemanticTable, dim: int, how: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What to subtract [d_s] and the directions [d_s, dim], float64."""
    if dim > table.dim:
        raise ConfigError(
            f"The initial embeddings have size {dim}, the semantic ones {table.dim}: initial_embeddings: semantic reduces "
            f"them; set embedding_size to at most {table.dim}."
        )
    rows = np.concatenate([block.cpu().numpy() for _, block in table.blocks()])
    mean, components, _ = fit([rows], dim)
    if how == "pca":
        return torch.from_numpy(mean), torch.from_numpy(np.ascontiguousarray(components))
    if how == "uniform":
        chosen = np.arange(dim) * table.dim // dim
    elif how == "random":
        chosen = np.sort(np.random.default_rng(seed).permutation(table.dim)[:dim])
    else:
        chosen = np.sort(np.argsort(-rows.var(axis=0, dtype=np.float64), kind="stable")[:dim])
    return torch.zeros(table.dim, dtype=torch.float64), torch.eye(table.dim, dtype=torch.float64)[:, chosen]


def _reduced(table: SemanticTable, mean: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Projected rows as a table of all internal ids [n, dim]; zero for those without a profile."""
    device = table.covered.device
    mean, basis = mean.to(device), basis.to(device)
    parts = [(block.double() - mean) @ basis for _, block in table.blocks()]
    reduced = torch.zeros(table.n, basis.shape[1], dtype=torch.get_default_dtype(), device=device)
    reduced[table.ids] = torch.cat(parts).to(reduced.dtype)
    return reduced


@torch.no_grad()
def _fill(weight: torch.nn.Parameter, rows: torch.Tensor, known: torch.Tensor) -> None:
    weight = weight[: len(known)]
    scale = weight[1:].square().mean().sqrt() / rows[known].square().mean().sqrt().clamp_min(1e-12)
    weight[known] = (rows[known] * scale).to(weight.dtype)
