"""What the graph recommenders of this package share: embeddings, losses of the paper, scoring from cached tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import nn

from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.alignment.infonce import logsumexp_total, normalize_rows
from recbole_rlmrec.model.device import on_gpu
from recbole_rlmrec.model.graph import dataset_adjacency
from recbole_rlmrec.model.options import count, number


class GraphRecommender(GeneralRecommender):
    """Base of the graph recommenders; subclasses implement ``forward`` and add their own losses.

    ``forward()`` returns the tables of all users [n_users, d] and all items [n_items, d] first. The loss is BPR plus
    ``reg_weight`` times the sum of squares of all trainable parameters.

    Attributes
    ----------
    graph : recbole_rlmrec.model.graph.NormalizedAdjacency
        Of the training interactions.
    loss_names : tuple of str
        Names of the losses that ``calculate_loss`` returns, in order.
    """

    input_type = InputType.PAIRWISE
    loss_names: tuple[str, ...] = ("bpr", "reg")

    def __init__(self, config, dataset, self_loops: bool = False):
        super().__init__(config, dataset)
        self.embedding_size = count(config, "embedding_size")
        self.n_layers = count(config, "n_layers")
        self.reg_weight = number(config, "reg_weight", 0.0, "a number of at least 0")
        self.user_embedding = nn.Embedding(self.n_users, self.embedding_size)
        self.item_embedding = nn.Embedding(self.n_items, self.embedding_size)
        nn.init.xavier_uniform_(self.user_embedding.weight)
        nn.init.xavier_uniform_(self.item_embedding.weight)
        self.graph = dataset_adjacency(dataset, self_loops).to(self.device)
        self.pair_loss = PairwiseLoss()
        self.restore_user_e = self.restore_item_e = None
        self.other_parameter_name = ["restore_user_e", "restore_item_e"]

    def initial_embeddings(self) -> torch.Tensor:
        """E_0, users above items, [n_users + n_items, embedding_size]."""
        return torch.cat([self.user_embedding.weight, self.item_embedding.weight])

    def split(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of users and rows of items out of a table of all nodes."""
        return torch.split(nodes, [self.n_users, self.n_items])

    def batch(self, interaction) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Users, positive items and negative items of a batch, each [B]."""
        return interaction[self.USER_ID], interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID]

    def forget_tables(self) -> None:
        """Drop the tables that scoring caches; called in every training step."""
        self.restore_user_e = self.restore_item_e = None

    def regularisation(self) -> torch.Tensor:
        """The paper's regulariser, over all trainable parameters, those of an alignment included."""
        return self.reg_weight * squared_norm(self.parameters())

    def calculate_loss(self, interaction):
        self.forget_tables()
        users, items = self.forward()[:2]
        return self.pair_loss(users, items, *self.batch(interaction)), self.regularisation()

    def predict(self, interaction):
        users, items = self._tables()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction):
        users, items = self._tables()
        return (users[interaction[self.USER_ID]] @ items.T).view(-1)

    def _tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.restore_user_e is None or self.restore_item_e is None:
            self.restore_user_e, self.restore_item_e = self.forward()[:2]
        return self.restore_user_e, self.restore_item_e


def bpr_loss(users, items, user, positive, negative) -> torch.Tensor:
    """Mean of softplus(score(u, v-) - score(u, v+)) over a batch of ids [B], looked up in the two tables."""
    anchor = users[user]
    return F.softplus((anchor * (items[negative] - items[positive])).sum(dim=1)).mean()


class PairwiseLoss(nn.Module):
    """:func:`bpr_loss` as a module, so that another loss can stand in its place."""

    def forward(self, users, items, user, positive, negative) -> torch.Tensor:
        return bpr_loss(users, items, user, positive, negative)


class Nodes(NamedTuple):
    """Nodes of a batch: internal ids [k], how much each counts [k], and its logarithm or None where all count one."""

    ids: torch.Tensor
    weight: torch.Tensor
    log_weight: torch.Tensor | None = None


def with_repeats(ids: torch.Tensor) -> Nodes:
    """Each id as often as it occurs in the batch."""
    if on_gpu(ids):
        return Nodes(ids, torch.ones(len(ids), device=ids.device))
    unique, counts = ids.unique(return_counts=True)
    return Nodes(unique, counts.to(torch.get_default_dtype()))


def each_once(ids: torch.Tensor, n: int) -> Nodes:
    """Each of the whole batch's ids, all below ``n``, once; where they stay as they are, one that occurs k times counts 1/k."""
    ids = parallel.gather(parallel.counted(ids))
    if on_gpu(ids):
        counts = torch.zeros(n, device=ids.device).index_add_(0, ids, torch.ones(len(ids), device=ids.device))[ids]
        return Nodes(ids, counts.reciprocal(), -counts.log())
    unique = ids.unique()
    return Nodes(unique, torch.ones(len(unique)))


def contrast_with_all(first: torch.Tensor, second: torch.Tensor, nodes: Nodes, temperature: float) -> torch.Tensor:
    """InfoNCE of two views of some nodes against the second view of all nodes but the padding, summed with weights.

    Parameters
    ----------
    first, second : torch.Tensor
        The views' tables of all users or all items [n, d]; row 0 is RecBole's padding.
    nodes : Nodes
        The anchors.
    temperature : float
    """
    anchors, second = normalize_rows(first[nodes.ids]), normalize_rows(second)
    return _info_nce(anchors, second[nodes.ids], second[1:], nodes.weight, temperature)


def contrast_among(first: torch.Tensor, second: torch.Tensor, nodes: Nodes, temperature: float) -> torch.Tensor:
    """InfoNCE of two views of some nodes against the second view of the same nodes, summed with weights.

    Of several processes each sums over a part of the nodes.

    Parameters
    ----------
    first, second : torch.Tensor
        Rows of ``nodes`` in the two views [k, d], normalised.
    nodes : Nodes
        The anchors; as candidates they count with the same weights.
    temperature : float
    """
    anchors, own, weight = (parallel.part(rows) for rows in (first, second, nodes.weight))
    return _info_nce(anchors, own, second, weight, temperature, nodes.log_weight)


def _info_nce(anchors, own, columns, weight, temperature, bias=None):
    positive = weight @ (anchors * own).sum(dim=1) / temperature
    return logsumexp_total(anchors, columns, weight, temperature, bias) - positive


def squared_norm(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Sum of squares of all trainable parameters: the paper's regulariser."""
    return sum(parameter.square().sum() for parameter in parameters if parameter.requires_grad)
