r"""
SimGCL
################################################

Reference:
    Junliang Yu et al. "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation."
    in SIGIR 2022.
"""

import torch
import torch.nn.functional as F

from recbole_rlmrec.model.graph import combine_layers
from recbole_rlmrec.model.graph_recommender import GraphRecommender, contrast_with_all, with_repeats
from recbole_rlmrec.model.options import choice, number


class SimGCL(GraphRecommender):
    r"""SimGCL contrasts two views whose layers are perturbed by noise.

    .. math:: E_{l+1} = \hat{A} E_l + \epsilon \, \mathrm{sign}(\hat{A} E_l) \odot \frac{\delta}{\|\delta\|},
        \quad \delta \sim U[0, 1)^d

    The noisy output feeds the next layer; layer 0 is part of the sum. Users and positive items are contrasted with all
    users and all items.
    """

    loss_names = ("bpr", "reg", "contrast")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.eps = number(config, "eps", 0.0, "a number of at least 0")
        self.ssl_weight = number(config, "ssl_weight", 0.0, "a number of at least 0")
        self.ssl_tau = number(config, "ssl_tau", 1e-6, "a number above 0")
        self.layer_combination = choice(config, "layer_combination", ("mean", "sum"))

    def draw_noise(self, x: torch.Tensor) -> torch.Tensor:
        """Uniform noise in the shape of the nodes' features [n, d], before it is normalised."""
        return torch.rand_like(x)

    def forward(self, perturbed: bool = False):
        layers = [self.initial_embeddings()]
        for _ in range(self.n_layers):
            x = self.graph.propagate(layers[-1])
            if perturbed:
                x = x + self.eps * x.detach().sign() * F.normalize(self.draw_noise(x.detach()), dim=1)
            layers.append(x)
        return self.split(combine_layers(layers, self.layer_combination))

    def calculate_loss(self, interaction):
        self.forget_tables()
        user, positive, negative = self.batch(interaction)
        users, items = self.forward()
        first, second = self.forward(perturbed=True), self.forward(perturbed=True)
        contrast = sum(
            contrast_with_all(one, other, with_repeats(ids), self.ssl_tau)
            for one, other, ids in zip(first, second, (user, positive))
        )
        bpr = self.pair_loss(users, items, user, positive, negative)
        return bpr, self.regularisation(), self.ssl_weight / len(user) * contrast
