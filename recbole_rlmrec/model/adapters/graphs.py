"""Adapters of RecBole's graph recommenders; what LightGCN's forward returns, they return too."""

from __future__ import annotations

from recbole_rlmrec.model.adapters.base import GraphAdapter


class NGCFAdapter(GraphAdapter):
    """NGCF: representations are the concatenation of the initial embedding and all layers."""

    def dim(self, model):
        return sum(model.hidden_size_list)


class SpectralCFAdapter(GraphAdapter):
    """SpectralCF: representations are the concatenation of the initial embedding and all layers."""

    def dim(self, model):
        return model.emb_dim * (model.n_layers + 1)


class NCLAdapter(GraphAdapter):
    """NCL: its trainer leaves out the last loss, the prototypes', in the warm-up; alignment stands before it and stays."""

    place = "before_last"


class GCMCAdapter(GraphAdapter):
    """GCMC: representations are what the graph encoder returns, before the decoder scores pairs."""

    observes = "GcEncoder"
    masking = "its initial embeddings are rows of a weight matrix that is multiplied by one-hot features"

    def dim(self, model):
        return model.dense_output_dim
