"""Adapters of RecBole's autoencoders: the user's representation is the latent code.

Their batches hold users only, padding included, so items are not aligned; a variational code is aligned by its mean.
"""

from __future__ import annotations

import torch
from torch import nn

from recbole_rlmrec.model.adapters.base import BatchAdapter


class MultiVAEAdapter(BatchAdapter):
    """MultiVAE: ``forward`` returns scores, the code's mean and its log-variance."""

    def dim(self, model):
        return model.lat_dim // 2

    def rows(self, model, interaction, calls):
        return calls[0].output[1]


class MultiDAEAdapter(BatchAdapter):
    """MultiDAE: the code is the encoder's output."""

    observes = "encoder"

    def dim(self, model):
        return model.lat_dim

    def rows(self, model, interaction, calls):
        return calls[0].output


class RecVAEAdapter(BatchAdapter):
    """RecVAE: as MultiVAE; its trainer adds an epoch's losses up as one number, so alignment is added into the loss."""

    place = "sum"
    loss_names = ("recommendation_and_alignment",)

    def dim(self, model):
        return model.latent_dim

    def rows(self, model, interaction, calls):
        return calls[0].output[1]


class MacridVAEAdapter(BatchAdapter):
    """MacridVAE: the concatenation of the codes of its ``kfac`` concepts."""

    def dim(self, model):
        return model.kfac * model.embedding_size

    def rows(self, model, interaction, calls):
        return torch.cat(calls[0].output[1], dim=1)


class CDAEAdapter(BatchAdapter):
    """CDAE: the hidden layer, which the output layer receives; the loss is a sum."""

    observes = "out_layer"
    loss = "sum"

    def dim(self, model):
        return model.embedding_size

    def rows(self, model, interaction, calls):
        return calls[0].args[0]


class DiffRecAdapter(BatchAdapter):
    """DiffRec: the last hidden layer of the network that denoises a history, at the step drawn for the user."""

    def dim(self, model):
        return self.observed(model)[0].in_features

    def observed(self, model):
        return [layer for layer in model.mlp.modules() if isinstance(layer, nn.Linear)][-1:]

    def rows(self, model, interaction, calls):
        return calls[0].args[0]


class LDiffRecAdapter(BatchAdapter):
    """L-DiffRec: the code that its autoencoder makes of a history, before diffusion; one part per item cluster."""

    def dim(self, model):
        return model.latent_size

    def observed(self, model):
        encoder = model.autoencoder.encoder
        return list(encoder) if model.n_cate > 1 else [encoder]

    def rows(self, model, interaction, calls):
        return torch.cat([call.output.chunk(2, dim=1)[0] for call in calls], dim=1)
