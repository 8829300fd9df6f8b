"""What metrics read, collected at size: one ranking of each batch, hits looked up, pieces put together once."""

from __future__ import annotations

import math

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.metrics import AveragePopularity, TailPercentage

from recbole_rlmrec.model.device import on_gpu
from recbole_rlmrec.plugin.sampler import UserItems

NARROWEST = 16  # items that stand for one another; with fewer there is nothing to win


class FastCollector(Collector):
    """RecBole's collector that ranks once per batch and looks hits up instead of building a users x items matrix."""

    def __init__(self, config):
        super().__init__(config)
        self.data_struct = Pieces()
        self._collects_items = self.register.need("rec.items")
        self._collects_hits = self.register.need("rec.topk")
        setattr(self.register, "rec.items", False)
        setattr(self.register, "rec.topk", False)

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i):
        """Collect what the metrics need of a batch.

        Parameters
        ----------
        scores_tensor : FloatTensor [users, items], or [pairs] for value metrics
        interaction : Interaction
        positive_u, positive_i : LongTensor [p] or None
            Row of ``scores_tensor`` and item of each positive.
        """
        if self._collects_items or self._collects_hits:
            top = top_items(scores_tensor, max(self.topk))
            if self._collects_items:
                self.data_struct.update_tensor("rec.items", top)
            if self._collects_hits:
                hits = _hits(top, scores_tensor.shape, positive_u, positive_i)
                self.data_struct.update_tensor("rec.topk", hits)
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)

    def get_data_struct(self):
        self.data_struct = self.data_struct.whole()
        struct = super().get_data_struct()
        self.data_struct = Pieces(self.data_struct)
        return struct


class Pieces(DataStruct):
    """RecBole's store, in which what batches yield stays in pieces: theirs copies all that is there after each batch.

    Parameters
    ----------
    begun : DataStruct, optional
        What is there already.
    """

    def __init__(self, begun: DataStruct | None = None):
        super().__init__()
        self._data_dict = dict(begun._data_dict) if begun else {}
        self._pieces: dict[str, list[torch.Tensor]] = {}

    def update_tensor(self, name: str, value: torch.Tensor):
        """Put a batch's rows behind those that are there."""
        self._pieces.setdefault(name, []).append(value.clone().detach())

    def whole(self) -> DataStruct:
        """RecBole's store with all that is there."""
        struct = DataStruct()
        struct._data_dict = self._data_dict | {name: torch.cat(pieces) for name, pieces in self._pieces.items()}
        return struct


def _hits(top, shape, positive_u, positive_i):
    """RecBole's ``rec.topk``: 1 where a ranked item is positive; last column the number of positives of the user."""
    n_users, n_items = shape
    positives = UserItems.of_pairs(positive_u.to(top.device), positive_i.to(top.device), n_users, n_items)
    first = torch.arange(n_users, device=top.device).unsqueeze(1) * n_items
    return torch.cat((positives.contains(top + first).long(), positives.counts.unsqueeze(1)), dim=1)


def top_items(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Columns of the ``k`` highest scores of each row, highest first: those of ``torch.topk``, equal scores included.

    With many columns on a CPU only the groups of neighbouring columns are looked into that have the k + 1 highest maxima. Where
    the k + 1 highest scores in them all differ, there is one right answer; other rows are left to ``torch.topk``.

    Parameters
    ----------
    scores : torch.Tensor
        [r, n]
    k : int
        At most n.

    Returns
    -------
    torch.LongTensor
        [r, k]
    """
    n_items = scores.shape[1]
    width = math.isqrt(n_items // (k + 1))
    if on_gpu(scores) or width < NARROWEST:
        return scores.topk(k).indices
    grouped = n_items // width * width
    maxima = scores[:, :grouped].unflatten(1, (-1, width)).amax(dim=2)
    groups = maxima.topk(k + 1, sorted=False).indices.unsqueeze(2)
    columns = (groups * width + torch.arange(width)).flatten(1)
    rest = torch.arange(grouped, n_items).expand(len(scores), -1)
    columns = torch.cat([columns, rest], dim=1)
    best = scores.gather(1, columns).topk(k + 1)
    top = columns.gather(1, best.indices[:, :k])
    unclear = ~(best.values[:, :-1] > best.values[:, 1:]).all(dim=1)
    if unclear.any():
        top[unclear] = scores[unclear].topk(k).indices
    return top


# --- metrics with a Python loop over every place of every list ------------------------------------------------------------


def vectorise(evaluator, config) -> None:
    """Let RecBole's evaluator compute AveragePopularity and TailPercentage without loops; the values are the same."""
    ours = {AveragePopularity: _AveragePopularity, TailPercentage: _TailPercentage}
    for name, metric in evaluator.metric_class.items():
        if type(metric) in ours:
            evaluator.metric_class[name] = ours[type(metric)](config)


class _AveragePopularity(AveragePopularity):
    def get_pop(self, item_matrix, item_count):
        return _lookup(item_matrix, item_count, list(item_count.values()))


class _TailPercentage(TailPercentage):
    def get_tail(self, item_matrix, count_items):
        if self.tail > 1:
            tail = [item for item, count in count_items.items() if count <= self.tail]
        else:
            by_count = sorted(count_items, key=lambda item: (count_items[item], item))
            tail = by_count[: max(int(len(by_count) * self.tail), 1)]
        return _lookup(item_matrix, tail, 1)


def _lookup(item_matrix, items, values) -> np.ndarray:
    """The items' values in the places of the items [users, k], 0 for others."""
    items = np.fromiter(items, np.int64)
    table = np.zeros(max(item_matrix.max(initial=0), items.max(initial=0)) + 1, item_matrix.dtype)
    table[items] = values
    return table[item_matrix]
