"""Adapters of RecBole's recommenders that factorise the interaction matrix or learn item similarities."""

from __future__ import annotations

import torch

from recbole_rlmrec.model.adapters.base import OWN_LOSS, BatchAdapter, EmbeddingAdapter, liked
from recbole_rlmrec.model.alignment.base import Term


class BPRAdapter(EmbeddingAdapter):
    """BPR reads its embeddings by id alone in training."""

    reads_rows = True


class OwnLossAdapter(EmbeddingAdapter):
    """Embeddings trained with a loss that is no BPR loss: LINE, NNCF."""

    softmax = OWN_LOSS


class SummedLossAdapter(OwnLossAdapter):
    """Embeddings trained with a loss that is a sum over the batch: ENMF, ConvNCF."""

    loss = "sum"


class NeuMFAdapter(OwnLossAdapter):
    """NeuMF: a representation is the embedding of its factorisation beside that of its MLP, where both are trained."""

    def dim(self, model):
        return sum(table.embedding_dim for table in self._tables(model, "user"))

    def input_names(self, model):
        return tuple((f"user_{part}_embedding", f"item_{part}_embedding") for part in self._parts(model))

    def lookups(self, model, calls):
        return self._lookup(model, "user"), self._lookup(model, "item")

    def _lookup(self, model, side):
        tables = self._tables(model, side)
        return lambda ids: torch.cat([table(ids) for table in tables], dim=1)

    def _tables(self, model, side):
        return [getattr(model, f"{side}_{part}_embedding") for part in self._parts(model)]

    def _parts(self, model):
        return [part for part, trained in (("mf", model.mf_train), ("mlp", model.mlp_train)) if trained]


class SimpleXAdapter(BatchAdapter):
    """SimpleX: a user is the mixture of embedding and history, after dropout, that the loss compares with items.

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


class DMFAdapter(BatchAdapter):
    """DMF: the outputs of its two towers, which encode a user's and an item's row of the interaction matrix."""

    observes = ("user_fc_layers", "item_fc_layers")
    masking = "users and items are encoded from rows of the interaction matrix, with no initial embedding to mask"

    def dim(self, model):
        return model.user_hidden_size_list[-1]

    def rows(self, model, interaction, calls):
        return calls[0].output

    def item_terms(self, model, interaction, ids, calls):
        items, rows = calls[1].output, liked(model, interaction)
        return [Term("item", ids["positive"], rows=items[rows]), Term("item", ids["negative"], rows=items[~rows])]


class FISMAdapter(BatchAdapter):
    """FISM: a user is the scaled sum of the history's source embeddings, whose product with an item is the score."""

    observes = "item_src_embedding"
    item_embedding = "item_dst_embedding"

    def dim(self, model):
        return model.embedding_size

    def rows(self, model, interaction, calls):
        user = interaction[model.USER_ID]
        scale = model.history_lens[user].clamp_min(1).float().pow(-model.alpha)
        total = (calls[0].output * model.mask_mat[user].unsqueeze(2)).sum(dim=1)
        return total * scale.unsqueeze(1)
