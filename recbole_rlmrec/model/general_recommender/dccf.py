r"""
DCCF
################################################

Reference:
    Xubin Ren et al. "Disentangled Contrastive Collaborative Filtering." in SIGIR 2023.
"""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.alignment.infonce import normalize_rows
from recbole_rlmrec.model.graph import combine_layers
from recbole_rlmrec.model.graph_recommender import GraphRecommender, contrast_among, each_once
from recbole_rlmrec.model.options import count, number


class DCCF(GraphRecommender):
    r"""DCCF adds intents and two adaptive masks of the edges to every layer.

    From a layer's input H it computes :math:`g = \hat{A} H`, intents :math:`t = \mathrm{softmax}(H K) K^T` (K one for
    users, one for items) and two aggregations of H over the edges (i, j) whose weights are
    :math:`(\cos(x_i, x_j) + 1) / 2`, for x = g and x = t, divided by their sum over j. The next layer's input is the sum
    of the four and H. Users and items of the batch are contrasted: g with each of the other three.
    """

    loss_names = ("bpr", "reg", "contrast")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.ssl_weight = number(config, "ssl_weight", 0.0, "a number of at least 0")
        self.ssl_tau = number(config, "ssl_tau", 1e-6, "a number above 0")
        n_intents = count(config, "n_intents")
        self.user_intent = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.embedding_size, n_intents)))
        self.item_intent = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.embedding_size, n_intents)))

    def forward(self):
        """Tables of users and items, and per layer the four views [n, d] of all nodes."""
        x = self.initial_embeddings()
        layers, views = [x], []
        for _ in range(self.n_layers):
            g, t = self.graph.propagate(x), self._intents(x)
            views.append((g, t, self._masked_mean(g, x), self._masked_mean(t, x)))
            x = sum(views[-1]) + x
            layers.append(x)
        return *self.split(combine_layers(layers, "sum")), views

    def _intents(self, x):
        sides = zip(self.split(x), (self.user_intent, self.item_intent))
        return torch.cat([torch.softmax(side @ intent, dim=1) @ intent.T for side, intent in sides])

    def _masked_mean(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Mean of the neighbours' features [n, d], weighted by how similar x [n, d] is at both ends of the edge."""
        unit = F.normalize(x, dim=1)
        weights = (self.graph.dots(unit, unit) + 1) / 2
        total = self.graph.row_sums(weights)
        return self.graph.weigh(weights, features) * torch.where(total != 0, total, torch.inf).reciprocal()

    def calculate_loss(self, interaction):
        self.forget_tables()
        user, positive, negative = self.batch(interaction)
        users, items, views = self.forward()
        nodes = each_once(user, self.n_users), each_once(positive, self.n_items)
        contrast = sum(self._contrast(layer, side) for layer in views for side in zip(nodes, (0, self.n_users)))
        bpr = self.pair_loss(users, items, user, positive, negative)
        contrast = parallel.as_part_of_loss(self.ssl_weight / nodes[0].weight.sum() * contrast)
        return bpr, self.regularisation(), contrast

    def _contrast(self, layer, side):
        nodes, offset = side
        first, *others = (normalize_rows(view[nodes.ids + offset]) for view in layer)
        return sum(contrast_among(first, other, nodes, self.ssl_tau) for other in others)
