r"""
LightGCN_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Xiangnan He et al. "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation." in SIGIR 2020.
"""

import torch
from recbole.model.general_recommender.lightgcn import LightGCN

from recbole_rlmrec.model.graph import bipartite_adjacency
from recbole_rlmrec.model.graph_recommender import squared_norm
from recbole_rlmrec.model.options import choice, count, number, share
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class PaperLightGCN(LightGCN):
    """RecBole's LightGCN with the options of the paper that it lacks; the defaults are RecBole's behaviour.

    ``edge_keep_rate`` < 1 keeps that share of the adjacency's entries in each training step, ``layer_combination: sum``
    adds the layers up, ``reg_scope: all`` regularises the squares of all trainable parameters.
    """

    loss_names = ("bpr", "reg")

    def __init__(self, config, dataset):
        self.edge_keep_rate = share(config, "edge_keep_rate", upper_included=True)
        self.layer_combination = choice(config, "layer_combination", ("mean", "sum"))
        self.reg_scope = choice(config, "reg_scope", ("batch", "all"))
        count(config, "embedding_size")
        count(config, "n_layers")
        number(config, "reg_weight", 0.0, "a number of at least 0")
        super().__init__(config, dataset)

    def get_norm_adj_mat(self):
        users, items = self.interaction_matrix.coords
        return bipartite_adjacency(users, items, self.n_users, self.n_items)

    def forward(self):
        graph = self.norm_adj_matrix
        if self.training and self.edge_keep_rate < 1:
            graph = graph.dropped(self.edge_keep_rate)
        combined = graph.combined(self.get_ego_embeddings(), self.n_layers, self.layer_combination)
        return torch.split(combined, [self.n_users, self.n_items])

    def calculate_loss(self, interaction):
        self.restore_user_e, self.restore_item_e = None, None
        user, positive, negative = (interaction[field] for field in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        users, items = self.forward()
        anchor = users[user]
        bpr = self.mf_loss((anchor * items[positive]).sum(dim=1), (anchor * items[negative]).sum(dim=1))
        return bpr, self.reg_weight * self._regularisation(user, positive, negative)

    def _regularisation(self, user, positive, negative):
        if self.reg_scope == "all":
            return squared_norm(self.parameters())
        embeddings = self.user_embedding(user), self.item_embedding(positive), self.item_embedding(negative)
        return self.reg_loss(*embeddings, require_pow=self.require_pow).squeeze()

    def predict(self, interaction):
        if self.restore_user_e is None or self.restore_item_e is None:
            self.restore_user_e, self.restore_item_e = self.forward()
        user, item = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return (self.restore_user_e[user] * self.restore_item_e[item]).sum(dim=1)


class LightGCN_RLMRec(RLMRecMixin, PaperLightGCN):
    """LightGCN aligned with the profiles of users and items."""

    backbone = "LightGCN"
