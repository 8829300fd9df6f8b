r"""
SGL_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Jiancan Wu et al. "SGL: Self-supervised Graph Learning for Recommendation" in SIGIR 2021.
"""

import torch
from recbole.model.general_recommender.sgl import SGL

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.graph import bipartite_adjacency
from recbole_rlmrec.model.graph_recommender import PairwiseLoss, contrast_with_all, squared_norm, with_repeats
from recbole_rlmrec.model.options import choice, count, number, share
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class PaperSGL(SGL):
    """RecBole's SGL, trained as the paper trains it.

    Two views are drawn in every step, each direction of an edge on its own and not renormalised; losses are means over
    the batch; negative items are contrasted too; the regulariser is over all trainable parameters.
    """

    loss_names = ("bpr", "reg", "contrast")
    loss_kinds = ("mean",)

    def __init__(self, config, dataset):
        if str(config["type"]).upper() != "ED":
            raise ConfigError(f"type is {config['type']!r}; set it to ED: SGL_RLMRec draws its views by edge dropout.")
        self.keep_rate = 1.0 - share(config, "drop_ratio")
        self.layer_combination = choice(config, "layer_combination", ("mean", "sum"))
        count(config, "n_layers")
        number(config, "reg_weight", 0.0, "a number of at least 0")
        number(config, "ssl_weight", 0.0, "a number of at least 0")
        number(config, "ssl_tau", 1e-6, "a number above 0")
        super().__init__(config, dataset)
        self.pair_loss = PairwiseLoss()

    def create_adjust_matrix(self, is_sub: bool):
        return bipartite_adjacency(self._user.numpy(), self._item.numpy(), self.n_users, self.n_items)

    def csr2tensor(self, matrix):
        return matrix.to(self.device)

    def graph_construction(self):
        """RecBole draws views when an epoch starts; here every step draws its own."""

    def forward(self, graph):
        initial = torch.cat([self.user_embedding.weight, self.item_embedding.weight])
        return torch.split(graph.combined(initial, self.n_layers, self.layer_combination), [self.n_users, self.n_items])

    def calculate_loss(self, interaction):
        self.restore_user_e, self.restore_item_e = None, None
        user, positive, negative = (interaction[field] for field in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        users, items = self.forward(self.train_graph)
        views = [self.forward(self.train_graph.dropped(self.keep_rate)) for _ in range(2)]
        contrast = sum(
            contrast_with_all(one, other, with_repeats(ids), self.ssl_tau)
            for one, other, ids in zip(*views, (user, torch.cat([positive, negative])))
        )
        bpr = self.pair_loss(users, items, user, positive, negative)
        return bpr, self.reg_weight * squared_norm(self.parameters()), self.ssl_weight / len(user) * contrast


class SGL_RLMRec(RLMRecMixin, PaperSGL):
    """SGL aligned with the profiles of users and items; alignment acts on the main view."""

    backbone = "SGL"
