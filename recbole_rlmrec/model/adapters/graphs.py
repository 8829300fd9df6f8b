"""Adapters of RecBole's graph recommenders; what LightGCN's forward returns, they return too."""

from __future__ import annotations

from contextlib import contextmanager

import torch

from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model.adapters.base import OWN_LOSS, GraphAdapter, token_rows


class NGCFAdapter(GraphAdapter):
    """NGCF: representations are the concatenation of the initial embedding and all layers."""

    def dim(self, model):
        return sum(model.hidden_size_list)


class SpectralCFAdapter(GraphAdapter):
    """SpectralCF: representations are the concatenation of the initial embedding and all layers."""

    def dim(self, model):
        return model.emb_dim * (model.n_layers + 1)


class NCLAdapter(GraphAdapter):
    """NCL: its trainer leaves out the last loss, the prototypes', in the warm-up; alignment stands before it."""

    place = "before_last"
    loss_names = ("recommendation", "structure_contrast", "prototype_contrast")


class GCMCAdapter(GraphAdapter):
    """GCMC: representations are what the graph encoder returns, before the decoder scores pairs.

    Its node features are one-hot, so the initial embedding of node n is row n of the encoder's first weight matrix.
    """

    observes = "GcEncoder"
    text_input = False
    softmax = OWN_LOSS

    def input_names(self, model):
        raise ModelError(
            f"{type(model).__name__} has no text as input: the initial embeddings of GCMC are rows of a weight matrix. "
            "LightGCN_Semantic, for example, has."
        )

    def initial_dim(self, model):
        return model.GcEncoder.weights_u[0].shape[1]

    def dim(self, model):
        return model.dense_output_dim

    @contextmanager
    def masked(self, model, mask, token):
        modules, weight = model.GcEncoder._modules, model.GcEncoder.weights_u[0]
        rows = token_rows(len(weight), torch.cat([mask.user, mask.item + model.n_users]))
        raw = {name: modules[name] for name in ("weights_u", "weights_v")}
        modules.update(dict.fromkeys(raw, [torch.where(rows, token, weight)]))
        try:
            yield
        finally:
            modules.update(raw)
