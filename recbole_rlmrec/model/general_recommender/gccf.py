r"""
GCCF
################################################

Reference:
    Lei Chen et al. "Revisiting Graph based Collaborative Filtering: A Linear Residual Graph Convolutional Network
    Approach." in AAAI 2020.
"""

from recbole_rlmrec.model.graph import combine_layers
from recbole_rlmrec.model.graph_recommender import GraphRecommender
from recbole_rlmrec.model.options import flag


class GCCF(GraphRecommender):
    r"""GCCF (LR-GCCF) propagates linearly and represents a node by the concatenation of all layers.

    .. math:: E_{l+1} = \tilde{D}^{-1/2} (A + I) \tilde{D}^{-1/2} E_l

    With ``self_loops: False`` the adjacency is A without I, as in the released Con and Gen variants of RLMRec.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset, self_loops=flag(config, "self_loops"))

    def forward(self):
        layers = [self.initial_embeddings()]
        for _ in range(self.n_layers):
            layers.append(self.graph.propagate(layers[-1]))
        return self.split(combine_layers(layers, "concat"))
