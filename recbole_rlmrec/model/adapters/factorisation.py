"""Adapters of RecBole's recommenders that factorise the interaction matrix or learn item similarities."""

from __future__ import annotations

import torch

from recbole_rlmrec.model.adapters.base import BatchAdapter, EmbeddingAdapter


class SummedLossAdapter(EmbeddingAdapter):
    """Embeddings trained with a loss that is a sum over the batch: ENMF, ConvNCF."""

    loss = "sum"


class NeuMFAdapter(EmbeddingAdapter):
    """NeuMF: a representation is the embedding of its matrix factorisation beside that of its MLP, where both are trained."""

    def dim(self, model):
        return sum(table.embedding_dim for table in self._tables(model, "user"))

    def lookups(self, model, calls):
        return (self._lookup(model, side) for side in ("user", "item"))

    def _lookup(self, model, side):
        tables = self._tables(model, side)
        return lambda ids: torch.cat([table(ids) for table in tables], dim=1)

    def _tables(self, model, side):
        parts = [part for part, trained in (("mf", model.mf_train), ("mlp", model.mlp_train)) if trained]
        return [getattr(model, f"{side}_{part}_embedding") for part in parts]


class SimpleXAdapter(BatchAdapter):
    """SimpleX: a user is the mixture of the embedding and the history, after dropout, that the loss compares with items.

    With several negatives for each positive, the first of them is aligned.
    """

    observes = "dropout"
    item_embedding = "item_emb"

    def dim(self, model):
        return model.embedding_size

    def rows(self, model, interaction, calls):
        return calls[0].output

    def terms(self, model, interaction, calls):
        return super().terms(model, interaction[: len(calls[0].output)], calls)


class FISMAdapter(BatchAdapter):
    """FISM: a user is the scaled sum of the history's source embeddings, of which a score is the product with an item."""

    observes = "item_src_embedding"
    item_embedding = "item_dst_embedding"

    def dim(self, model):
        return model.embedding_size

    def rows(self, model, interaction, calls):
        user = interaction[model.USER_ID]
        scale = model.history_lens[user].clamp_min(1).float().pow(-model.alpha)
        total = (calls[0].output * model.mask_mat[user].unsqueeze(2)).sum(dim=1)
        return total * scale.unsqueeze(1)
