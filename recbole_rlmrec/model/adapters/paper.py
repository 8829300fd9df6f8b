"""Adapters of the paper's backbones, where they differ from LightGCN's."""

from __future__ import annotations

from recbole_rlmrec.model.adapters.base import OWN_LOSS, GraphAdapter


class GCCFAdapter(GraphAdapter):
    """GCCF: representations are the concatenation of the initial embedding and all layers."""

    def dim(self, model):
        return (model.n_layers + 1) * self.initial_dim(model)


class AutoCFAdapter(GraphAdapter):
    """AutoCF: it is trained without negative items, so there are none to align."""

    softmax = OWN_LOSS

    def terms(self, model, interaction, calls):
        terms, batch_size = super().terms(model, interaction, calls)
        return terms[:2], batch_size
