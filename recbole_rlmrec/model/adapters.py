"""How alignment reaches the representations of each recommender, and how it masks their initial embeddings.

An :class:`Adapter` is a few lines: which call of the recommender yields representations, how to look them up by id, and
whether its loss is a mean or a sum over the batch. ``register_adapter("MyModel", MyAdapter())`` makes ``MyModel_RLMRec``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model.alignment.base import Term

Lookup = Callable[[torch.Tensor], torch.Tensor]


class Call(NamedTuple):
    """One observed call of a recommender's forward method, or of the sub-module that an adapter observes."""

    args: tuple
    output: Any


class Adapter:
    """How one kind of recommender is aligned. Attributes and methods are overridden where a recommender differs.

    Attributes
    ----------
    loss : {"mean", "sum"}
        Whether the recommender's loss is a mean or a sum over the batch; with a sum the alignment loss is multiplied by B.
    observes : str or None
        Name of the sub-module whose output holds the representations; None for the recommender's own ``forward``.
    user_embedding, item_embedding : str
        Names of the initial embeddings, ``torch.nn.Embedding`` modules of the recommender.
    masking : str
        Empty where ``alignment: gen`` works; else the reason why it does not.
    place : {"last", "before_last", "sum"}
        Where the alignment loss goes among several losses of the recommender.
    """

    loss = "mean"
    observes: str | None = None
    user_embedding = "user_embedding"
    item_embedding = "item_embedding"
    masking = ""
    place = "last"

    def initial_dim(self, model: nn.Module) -> int:
        """Size of the initial embeddings."""
        return getattr(model, self.user_embedding).embedding_dim

    def dim(self, model: nn.Module) -> int:
        """Size d of the representations."""
        return self.initial_dim(model)

    def lookups(self, model: nn.Module, calls: list[Call]) -> tuple[Lookup | None, Lookup | None]:
        """Functions from internal ids [k] to representations [k, d], for users and for items."""
        raise NotImplementedError

    def terms(self, model: nn.Module, interaction, calls: list[Call]) -> tuple[list[Term], int]:
        """The sides of the batch to align and the batch's size B.

        The batch is pair-wise (user, positive, negative item), point-wise (user, item, label) or made of users alone.
        """
        user, item = self.lookups(model, calls)
        ids = batch_ids(model, interaction)
        terms = [Term("user", ids["user"], user)]
        terms += [Term("item", ids[name], item) for name in ("positive", "negative") if name in ids and item]
        return terms, len(ids["user"])


def batch_ids(model: nn.Module, interaction) -> dict[str, torch.Tensor]:
    """Internal ids of a batch: ``user`` [B] and, where the batch has them, ``positive`` and ``negative`` items."""
    fields = interaction.columns
    user = interaction[model.USER_ID]
    if model.ITEM_ID not in fields:
        return {"user": user}
    item = interaction[model.ITEM_ID]
    if model.NEG_ITEM_ID in fields:
        return {"user": user, "positive": item, "negative": interaction[model.NEG_ITEM_ID]}
    label = getattr(model, "LABEL", None)
    if label is None or label not in fields:
        return {"user": user, "positive": item}
    liked = interaction[label] > 0.5
    return {"user": user[liked], "positive": item[liked], "negative": item[~liked]}


class GraphAdapter(Adapter):
    """Recommenders whose ``forward`` returns the tables of all users [n_users, d] and all items [n_items, d]."""

    def tables(self, model: nn.Module, calls: list[Call]) -> tuple[torch.Tensor, torch.Tensor]:
        """The two tables, from the first call of ``forward`` in the step."""
        users, items = calls[0].output[:2]
        return users, items

    def lookups(self, model, calls):
        users, items = self.tables(model, calls)
        return (lambda ids: users[ids]), (lambda ids: items[ids])


class EmbeddingAdapter(Adapter):
    """Recommenders whose representations are their embeddings: no graph, nothing to reconstruct a masked node from."""

    masking = "its representations are its embeddings, so a masked node keeps nothing to reconstruct its profile from"

    def lookups(self, model, calls):
        return getattr(model, self.user_embedding), getattr(model, self.item_embedding)


ADAPTERS: dict[str, Adapter] = {"LightGCN": GraphAdapter(), "BPR": EmbeddingAdapter()}


def register_adapter(backbone: str, adapter: Adapter) -> None:
    """Make ``BACKBONE_RLMRec`` available for a recommender of RecBole, of this package or of your own.

    Raises
    ------
    ModelError
        The object is no Adapter.
    """
    if not isinstance(adapter, Adapter):
        raise ModelError(
            f"The adapter of {backbone} is {type(adapter).__name__}; derive it from recbole_rlmrec.Adapter and pass an "
            "instance."
        )
    ADAPTERS[backbone] = adapter


def get_adapter(backbone: str) -> Adapter:
    """The adapter of a recommender.

    Raises
    ------
    ModelError
        The recommender has none.
    """
    if backbone not in ADAPTERS:
        raise ModelError(
            f"{backbone} cannot be aligned: no adapter reaches its user and item representations. Models that can: "
            f"{', '.join(sorted(ADAPTERS))}. For a model of your own call recbole_rlmrec.register_adapter."
        )
    return ADAPTERS[backbone]
