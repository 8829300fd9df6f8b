"""What an adapter is, and the three kinds that most recommenders need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model.alignment.base import Mask, Term

Lookup = Callable[[torch.Tensor], torch.Tensor]


class Call(NamedTuple):
    """One observed call of a recommender's forward method, or of the sub-module that an adapter observes."""

    args: tuple
    output: Any
    module: nn.Module | None = None


OWN_LOSS = "it takes the place of a BPR loss, and the recommender's loss is another"


class Adapter:
    """How one kind of recommender is aligned. Attributes and methods are overridden where a recommender differs.

    Attributes
    ----------
    loss : {"mean", "sum"}
        Whether the recommender's loss is a mean or a sum over the batch; a sum multiplies the alignment loss by B.
    loss_names : tuple of str
        Names of the losses that the recommender returns, where it does not name them itself.
    observes : str, tuple of str or None
        Names of the sub-modules whose calls hold the representations; None for the recommender's own ``forward``.
    sees_forward : bool
        Whether calls of ``forward`` are collected beside those of the sub-modules.
    user_embedding, item_embedding : str
        Names of the initial embeddings, ``torch.nn.Embedding`` modules of the recommender; ``module.name`` where they
        lie deeper. Empty for a side that has none.
    masking : str
        Empty where ``alignment: gen`` works; else the reason why it does not.
    softmax : str
        Empty where ``loss: softmax`` may take the place of a BPR loss; else what there is in its place.
    place : {"last", "before_last", "sum"}
        Where the alignment loss goes among several losses of the recommender.
    reads_rows : bool
        Whether a training step reads the two embeddings by id alone, so that ``learner: sparse_adam`` may update the
        batch's rows alone.
    reads_outside : bool
        Whether the initial embeddings are representations too, which losses and scores read outside of ``forward``.
    blocks : bool
        Whether ``fast_loader: True`` ranks all items for a block of sequences at a time.
    more_rows : int
        Number of rows of the item embedding behind those of the items: a mask token of the recommender's own.
    text_input : bool
        Whether ``NAME_Semantic`` can give its initial embeddings the texts.
    scores_texts : bool
        Whether ``NAME_Semantic`` then scores an item by its text, so that it can rank items that training never saw.
    added : int
        By how much a mixin widens the initial embeddings; set on a model's own copy.
    """

    loss = "mean"
    loss_names: tuple[str, ...] = ("recommendation",)
    observes: str | tuple[str, ...] | None = None
    sees_forward = False
    user_embedding = "user_embedding"
    item_embedding = "item_embedding"
    masking = ""
    softmax = ""
    place = "last"
    reads_rows = False
    reads_outside = False
    blocks = False
    more_rows = 0
    text_input = True
    scores_texts = True
    added = 0

    def check_data(self, config, dataset) -> None:
        """Called before the recommender is made: whether the data set holds what it reads beside interactions.

        Raises
        ------
        ConfigError
            Something is missing; the message says what and how it is loaded.
        """

    def input_names(self, model: nn.Module) -> tuple[tuple[str, str], ...]:
        """Names of the initial embeddings of users and of items, in pairs of one size.

        Raises
        ------
        ModelError
            There are no such embeddings, or those of a pair have two sizes.
        """
        self.initial_dim(model)
        return ((self.user_embedding, self.item_embedding),)

    def initial_dim(self, model: nn.Module) -> int:
        """Size of the initial embeddings.

        Raises
        ------
        ModelError
            ``user_embedding`` and ``item_embedding`` do not name embeddings of one size.
        """
        names = [name for name in (self.user_embedding, self.item_embedding) if name]
        sizes = [self._embedding(model, name).embedding_dim for name in names]
        if sizes[0] != sizes[-1]:
            raise ModelError(
                f"The initial embeddings of {type(model).__name__} have sizes {sizes[0]} and {sizes[1]}, "
                f"one mask token cannot stand for both; override dim, initial_dim and masked of {type(self).__name__}."
            )
        return sizes[0]

    def dim(self, model: nn.Module) -> int:
        """Size d of the representations."""
        return self.initial_dim(model) + self.added

    def observed(self, model: nn.Module) -> list[nn.Module]:
        """The sub-modules whose calls are observed in a step; none means the recommender's own ``forward``."""
        names = (self.observes,) if isinstance(self.observes, str) else self.observes or ()
        return [model.get_submodule(name) for name in names]

    @contextmanager
    def masked(self, model: nn.Module, mask: Mask, token: torch.Tensor) -> Iterator[None]:
        """Show the recommender ``token`` [initial_dim] in place of the initial embeddings of the masked nodes."""
        raw = []
        for name, ids in ((self.user_embedding, mask.user), (self.item_embedding, mask.item)):
            if not name:
                continue
            path, _, last = name.rpartition(".")
            modules = model.get_submodule(path)._modules
            raw.append((modules, last, modules[last]))
            modules[last] = _MaskedEmbedding(modules[last], ids, token)
        try:
            yield
        finally:
            for modules, last, embedding in raw:
                modules[last] = embedding

    def _embedding(self, model: nn.Module, name: str) -> nn.Embedding:
        try:
            module = model.get_submodule(name)
        except AttributeError:
            module = None
        if not isinstance(module, nn.Embedding):
            raise ModelError(
                f"{type(model).__name__} has no torch.nn.Embedding named {name!r}; set user_embedding and "
                f"item_embedding of {type(self).__name__} or override its dim, initial_dim and masked."
            )
        return module

    def lookups(self, model: nn.Module, calls: list[Call]) -> tuple[Lookup | None, Lookup | None]:
        """Functions from internal ids [k] to representations [k, d], for users and for items."""
        raise NotImplementedError

    def terms(self, model: nn.Module, interaction, calls: list[Call]) -> tuple[list[Term], int]:
        """The sides of the batch to align and the batch's size B.

        The batch is pair-wise (user, positive, negative item), point-wise (user, item, label) or made of users alone.

        Raises
        ------
        ModelError
            What :meth:`lookups` or :meth:`dim` says does not fit the recommender.
        """
        ids = batch_ids(model, interaction)
        user, item = self.checked_lookups(model, calls)
        users = [Term("user", ids["user"], user)] if user else []
        return [*users, *item_terms(ids, item)], len(ids["user"])

    def masked_nodes(
        self, model: nn.Module, interaction, calls: list[Call], mask: Mask
    ) -> tuple[Mask, Lookup | None, Lookup | None]:
        """Which of the masked nodes the step represents, and functions from their ids to representations, by side."""
        return mask, *self.checked_lookups(model, calls)

    def reconstructs(self, masked: Sequence[str]) -> Sequence[str]:
        """Which sides ``alignment: gen`` has representations of where it masks nodes of the sides ``masked`` alone."""
        return masked

    def checked_lookups(self, model: nn.Module, calls: list[Call]) -> tuple[Lookup | None, Lookup | None]:
        """What :meth:`lookups` returns, with the shape of each result checked."""
        user, item = self.lookups(model, calls)
        return self._checked(model, user), self._checked(model, item)

    def _checked(self, model: nn.Module, lookup: Lookup | None) -> Lookup | None:
        if lookup is None:
            return None

        def look(ids: torch.Tensor) -> torch.Tensor:
            rows = lookup(ids)
            self._check(model, rows, len(ids))
            return rows

        return look

    def _check(self, model: nn.Module, rows: torch.Tensor, count: int) -> None:
        expected, found = (count, self.dim(model)), tuple(getattr(rows, "shape", ()))
        if found != expected:
            raise ModelError(
                f"{type(self).__name__}, the adapter of {type(model).__name__}, gives representations of shape {found} "
                f"for {count} ids, not {expected}; correct its dim or what it looks up."
            )


class _MaskedEmbedding(nn.Module):
    """An embedding whose masked rows are the mask token; looking up its padding row trains nothing, as ever."""

    def __init__(self, embedding: nn.Embedding, ids: torch.Tensor, token: torch.Tensor):
        super().__init__()
        self._parts = embedding, token_rows(embedding.num_embeddings, ids), token

    @property
    def weight(self) -> torch.Tensor:
        embedding, masked, token = self._parts
        return torch.where(masked, token, embedding.weight)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self.weight, self._parts[0].padding_idx)


def token_rows(count: int, ids: torch.Tensor) -> torch.Tensor:
    """Which of ``count`` rows a mask token replaces, bool [count, 1]."""
    rows = torch.zeros(count, 1, dtype=torch.bool, device=ids.device)
    rows[ids] = True
    return rows


def liked(model: nn.Module, interaction) -> torch.Tensor | slice:
    """Which rows of a batch are interactions: those labelled so in a point-wise batch, else all."""
    label = getattr(model, "LABEL", None)
    if label is None or label not in interaction.columns:
        return slice(None)
    return interaction[label] > 0.5


def batch_ids(model: nn.Module, interaction) -> dict[str, torch.Tensor]:
    """Internal ids of a batch: ``user`` [B] and, where the batch has them, ``positive`` and ``negative`` items."""
    fields = interaction.columns
    user = interaction[model.USER_ID]
    if model.ITEM_ID not in fields:
        return {"user": user}
    item = interaction[model.ITEM_ID]
    if model.NEG_ITEM_ID in fields:
        return {"user": user, "positive": item, "negative": interaction[model.NEG_ITEM_ID]}
    rows = liked(model, interaction)
    ids = {"user": user[rows], "positive": item[rows]}
    return ids if isinstance(rows, slice) else {**ids, "negative": item[~rows]}


def item_terms(ids: dict[str, torch.Tensor], lookup: Lookup | None) -> list[Term]:
    """The terms of a batch's positive and negative items, looked up by id."""
    return [Term("item", ids[name], lookup) for name in ("positive", "negative") if name in ids and lookup]


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
    reads_outside = True

    def lookups(self, model, calls):
        return self._embedding(model, self.user_embedding), self._embedding(model, self.item_embedding)


class BatchAdapter(Adapter):
    """Recommenders that represent a user only as it occurs in a batch, encoded from the user's history.

    :meth:`rows` is what a subclass adds; items are looked up in ``item_embedding``, where the batch has items.
    """

    text_input = False
    softmax = OWN_LOSS
    masking = (
        "a user is encoded from the history when it occurs in a batch, so masked users have no representation, and "
        "masked items keep nothing to reconstruct their profile from"
    )

    def input_names(self, model):
        raise ModelError(
            f"{type(model).__name__} has no text as input: it encodes a user from the history, with no initial embedding of "
            "users. Recommenders with one, for example LightGCN_Semantic or BPR_Semantic, can."
        )

    def rows(self, model: nn.Module, interaction, calls: list[Call]) -> torch.Tensor:
        """Representations of the batch's users, [rows of the batch, d]."""
        raise NotImplementedError

    def terms(self, model, interaction, calls):
        ids = batch_ids(model, interaction)
        rows = self.rows(model, interaction, calls)[liked(model, interaction)]
        self._check(model, rows, len(ids["user"]))
        terms = [Term("user", ids["user"], rows=rows)]
        if "positive" in ids:
            terms += self.item_terms(model, interaction, ids, calls)
        return terms, len(ids["user"])

    def item_terms(self, model: nn.Module, interaction, ids: dict[str, torch.Tensor], calls: list[Call]) -> list[Term]:
        """Terms of the batch's positive and negative items; ``ids`` as :func:`batch_ids` gives them."""
        return item_terms(ids, self._checked(model, self._embedding(model, self.item_embedding)))
