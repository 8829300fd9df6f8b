r"""The softmax loss over items, in place of a pair-wise recommender's BPR loss (sampled softmax, SSM, InfoNCE on interactions).

Reference:
    Jiancan Wu et al. "On the Effectiveness of Sampled Softmax Loss for Item Recommendation." in TOIS 2024.
    Xinyang Yi et al. "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations." in RecSys 2019 (logQ).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.alignment.anchors import draw
from recbole_rlmrec.model.alignment.contrastive import ABSENT
from recbole_rlmrec.model.alignment.infonce import block_logsumexp, logsumexp_total, normalize_rows
from recbole_rlmrec.model.device import at_least_float32, no_autocast, on_gpu, to_device
from recbole_rlmrec.model.options import choice, count, flag, number

Lookup = Callable[[torch.Tensor], torch.Tensor]
LOSSES = ("bpr", "softmax")


@dataclass(frozen=True)
class SoftmaxSettings:
    """The options of the softmax loss, checked.

    Parameters
    ----------
    temperature : float
        ``softmax_temperature``, tau.
    negatives : str or int
        ``softmax_negatives``: ``batch`` (the positive items of the batch), ``all`` items, or how many to draw each step.
    logq : bool
        ``softmax_logq``: whether the logits of batch negatives are corrected for the items' popularity.
    repeats : int
        How often RecBole's loader repeats an interaction in a batch: ``sample_num`` of ``train_neg_sample_args``, which
        says how many negatives BPR has.
    """

    temperature: float
    negatives: str | int
    logq: bool
    repeats: int = 1

    @classmethod
    def from_config(cls, config) -> SoftmaxSettings | None:
        """Read and check the options of a run; None where ``loss`` is ``bpr``.

        Raises
        ------
        ConfigError
            An option is out of range.
        """
        bpr = config["loss"] in (None, "") or choice(config, "loss", LOSSES) == "bpr"
        return None if bpr else cls.read(config)

    @classmethod
    def read(cls, config) -> SoftmaxSettings:
        """Read and check the options, whatever ``loss`` is.

        Raises
        ------
        ConfigError
            An option is out of range.
        """
        negatives = config["softmax_negatives"]
        if negatives not in ("batch", "all"):
            negatives = count(config, "softmax_negatives", "`batch`, `all` or a whole number of at least 1")
        temperature = number(config, "softmax_temperature", 1e-6, "a number above 0, for example 0.15")
        sampling = config["train_neg_sample_args"] if "train_neg_sample_args" in config else None
        repeats = sampling.get("sample_num") if isinstance(sampling, dict) else 1
        return cls(temperature, negatives, flag(config, "softmax_logq"), repeats if isinstance(repeats, int) else 1)


class SoftmaxLoss:
    r"""Mean over the batch of the cross-entropy of each positive item among the candidates of its step.

    .. math::
        L = \frac{1}{B} \sum_{(u, i)} \Big[
            \log \Big( \exp s_{ui} + \sum_{j \in C, j \ne i} n_j \exp s_{uj} \Big) - s_{ui} \Big],
        \quad s_{ui} = \frac{\cos(e_u, e_i)}{\tau}

    The candidates C are all items, or as many as asked for, drawn uniformly and without replacement each step for the
    whole batch (n = 1), or the batch's positive items, of which n_j is the number of occurrences, repeats by the loader
    not counted. A candidate that is the
    row's own positive counts once. With ``logq``, n_j of a batch's item is divided by its expected number of occurrences,
    B times its share of the training interactions, so that the sum estimates that over all items; other candidates need
    no correction.

    Parameters
    ----------
    settings : SoftmaxSettings
    popularity : torch.Tensor
        Training interactions of each item [n_items], row 0 the padding; on the model's device.
    """

    def __init__(self, settings: SoftmaxSettings, popularity: torch.Tensor):
        self.settings = settings
        self.n_items = len(popularity)
        shares = popularity.to(torch.get_default_dtype()).clamp_min(1)
        self.log_share = (shares / popularity.sum().clamp_min(1)).log()

    def __call__(self, user: Lookup, item: Lookup, users: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        """Loss of a batch, a scalar; of several processes each gives the mean over its rows.

        Parameters
        ----------
        user, item : callable
            Internal ids [k] -> representations [k, d].
        users, positives : torch.LongTensor
            Internal ids [B].
        """
        users, positives = parallel.counted(users), parallel.counted(positives)
        with no_autocast(users.device):
            if self.settings.negatives == "batch":
                return self._among_batch(user, item, users, positives) / max(len(users), 1)
            return self._among_drawn(user, item, users, positives) / max(len(users), 1)

    def _among_batch(self, user, item, users, positives):
        whole, own = parallel.gather_own(positives)
        batch = _batch_items(whole, self.n_items)
        anchors, columns, places = _unit(user(users)), _unit(item(batch.ids)), batch.places[own]
        positive = self._positive(anchors, columns[places])
        bias = batch.log_counts
        if self.settings.logq:
            bias = bias - self.log_share[batch.ids] - math.log(max(len(whole), 1))
        else:
            bias = bias - math.log(self.settings.repeats)
        shift = -bias[places]
        ones = torch.ones_like(positive)
        total = logsumexp_total(anchors, columns, ones, self.settings.temperature, bias, None, places, shift)
        return total - positive.sum()

    def _among_drawn(self, user, item, users, positives):
        drawn = torch.arange(1, self.n_items, device=users.device)
        everything = self.settings.negatives == "all" or self.settings.negatives >= len(drawn)
        if not everything:
            drawn = to_device(draw(len(drawn), self.settings.negatives), users.device) + 1
        users, rows, counts = _distinct(users)
        anchors, columns = _unit(user(users)), _unit(item(drawn))
        if everything:
            positive = self._positive(anchors[rows], columns[positives - 1])
            return logsumexp_total(anchors, columns, counts, self.settings.temperature) - positive.sum()
        positive = self._positive(anchors[rows], _unit(item(positives)))
        lse = block_logsumexp(anchors, columns, self.settings.temperature)[rows]
        nearest = torch.searchsorted(drawn, positives).clamp_max(len(drawn) - 1)
        return (torch.where(drawn[nearest] == positives, lse, torch.logaddexp(lse, positive)) - positive).sum()

    def _positive(self, anchors, own):
        return (anchors * own).sum(dim=1) / self.settings.temperature


class _Batch(NamedTuple):
    """Items of a batch [k], the logarithm of how often each occurs [k], and where each row's item stands among them [B]."""

    ids: torch.Tensor
    log_counts: torch.Tensor
    places: torch.Tensor


def _batch_items(ids: torch.Tensor, n_items: int) -> _Batch:
    """The items of a batch, each once; on a GPU, which is not waited for, an item's other occurrences count nothing."""
    if not on_gpu(ids):
        unique, places, counts = ids.unique(return_inverse=True, return_counts=True)
        return _Batch(unique, counts.to(torch.get_default_dtype()).log(), places)
    rows = torch.arange(len(ids), device=ids.device)
    last = torch.zeros(n_items, dtype=torch.long, device=ids.device).scatter_reduce_(0, ids, rows, "amax")
    counts = torch.zeros(n_items, device=ids.device).index_add_(0, ids, torch.ones_like(ids, dtype=torch.get_default_dtype()))
    places = last[ids]
    return _Batch(ids, torch.where(places == rows, counts[ids].log(), ABSENT), places)


def _distinct(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, each once (on a GPU as they are), where each row's id stands among them, and how often each occurs."""
    if on_gpu(ids):
        return ids, torch.arange(len(ids), device=ids.device), torch.ones(len(ids), device=ids.device)
    unique, rows, counts = ids.unique(return_inverse=True, return_counts=True)
    return unique, rows, counts.to(torch.get_default_dtype())


def _unit(x: torch.Tensor) -> torch.Tensor:
    return normalize_rows(at_least_float32(x))


def item_popularity(dataset) -> torch.Tensor:
    """Training interactions of each item by internal id, [n_items]."""
    return torch.bincount(dataset.inter_feat[dataset.iid_field], minlength=dataset.item_num)
