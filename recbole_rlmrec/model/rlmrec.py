"""The mixin that adds an alignment loss to a RecBole recommender.

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import torch
from recbole.model.loss import BPRLoss
from torch import nn

from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.adapters import Call, get_adapter
from recbole_rlmrec.model.alignment import ALIGNMENTS, Mask, Step, read_settings
from recbole_rlmrec.model.alignment.infonce import normalize_rows
from recbole_rlmrec.model.blocks import rank_in_blocks
from recbole_rlmrec.model.device import no_autocast
from recbole_rlmrec.model.graph_recommender import PairwiseLoss
from recbole_rlmrec.model.softmax import SoftmaxLoss, SoftmaxSettings, item_popularity
from recbole_rlmrec.semantic.learnt import load_learnt
from recbole_rlmrec.semantic.load import load_semantic


class RLMRecMixin:
    """Backbone loss + alignment loss; stands before the backbone among the base classes.

    ``class LightGCN_RLMRec(RLMRecMixin, LightGCN)`` is LightGCN whose ``calculate_loss`` also returns the alignment
    loss. Representations are taken from the backbone's own forward pass of the step. With ``alignment: none`` nothing
    is added, drawn or loaded. With ``loss: softmax`` the softmax loss stands where the backbone computes its BPR loss,
    and scores are cosines.
    """

    backbone: str

    def __init__(self, config, dataset):
        settings, softmax = read_settings(config), SoftmaxSettings.from_config(config)
        self.adapter = get_adapter(self.backbone)
        self._calls: list[Call] | None = None
        self._mask: Mask | None = None
        self.adapter.check_data(config, dataset)
        super().__init__(config, dataset)
        self.ranks_in_blocks = bool(config["fast_loader"]) and self.adapter.blocks
        self.semantic_provenance = None
        self.softmax_loss = None
        if softmax is not None:
            self._replace_bpr(softmax, dataset)
        if settings.kind == "none":
            return
        alignment = ALIGNMENTS[settings.kind]
        if alignment.masks and self.adapter.masking:
            raise ModelError(
                f"alignment: {settings.kind} does not work for {self.backbone}: {self.adapter.masking}. Use alignment: con."
            )
        semantic = load_learnt(config, dataset) if config["align_with"] else load_semantic(config, dataset)
        self.semantic_provenance = semantic.provenance
        initial_dim = self.adapter.initial_dim(self) if alignment.masks else 0
        self.alignment = alignment(semantic, settings, self.adapter.dim(self), initial_dim).to(self.device)
        masked = [side for side in self.alignment.sides if getattr(semantic, side).count] if alignment.masks else []
        if masked and not self.adapter.reconstructs(masked):
            raise ModelError(
                f"alignment: {settings.kind} has nothing to reconstruct where {masked[0]}s alone are masked: {self.backbone} "
                f"then represents no {masked[0]}; set align_sides to both, with profiles of users and of items."
            )

    @property
    def alignment(self):
        """The run's alignment; None with ``alignment: none``."""
        return self._modules.get("alignment")

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses that ``calculate_loss`` returns, in order."""
        names = tuple(getattr(super(), "loss_names", self.adapter.loss_names))
        if self.softmax_loss is not None:
            names = tuple("softmax" if name == "bpr" else name for name in names)
        if self.alignment is None or self.adapter.place == "sum":
            return names
        return _insert(names, "alignment", self.adapter.place)

    def alignment_place(self, number: int) -> int | None:
        """Where the alignment loss is among the ``number`` losses of ``calculate_loss``; None where it is none of its own."""
        if self.alignment is None or self.adapter.place == "sum":
            return None
        return number - 1 if self.adapter.place == "last" else max(number - 2, 0)

    def forward(self, *args, **kwargs):
        with self._masked():
            output = super().forward(*args, **kwargs)
        if self._calls is not None and (self.adapter.sees_forward or not self.adapter.observed(self)):
            self._calls.append(Call(args, output))
        return output

    def begin_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        if self.alignment is not None:
            self.alignment.begin_epoch(epoch)
        if hasattr(super(), "begin_epoch"):
            super().begin_epoch(epoch)

    def calculate_loss(self, interaction, *args, **kwargs):
        if self.alignment is None and self.softmax_loss is None:
            return super().calculate_loss(interaction, *args, **kwargs)
        self._mask = mask = self.alignment.begin() if self.alignment is not None and self.alignment.share else None
        if self.softmax_loss is not None:
            self.restore_user_e = self.restore_item_e = None
            self._interaction = interaction
        with self._observed() as calls:
            losses = super().calculate_loss(interaction, *args, **kwargs)
        if self.alignment is None:
            return losses
        with no_autocast(self.device):
            aligned = self.alignment(self._step(interaction, calls, mask))
        return self._join(losses, aligned)

    def predict(self, interaction):
        if self.softmax_loss is None:
            return super().predict(interaction)
        users, items = self._unit_tables(interaction)
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction):
        if self.softmax_loss is None:
            return self._rank(super().full_sort_predict, interaction)
        users, items = self._unit_tables(interaction)
        return (users[interaction[self.USER_ID]] @ items.T).view(-1)

    def _rank(self, rank, interaction) -> torch.Tensor:
        if not self.ranks_in_blocks or self.training:
            return rank(interaction)
        return rank_in_blocks(self, interaction, rank, self.adapter.trims, self.adapter.width(self))

    def _replace_bpr(self, settings: SoftmaxSettings, dataset) -> None:
        """Put the softmax loss where the backbone computes its BPR loss, and list the tables that scoring caches."""
        if self.adapter.softmax:
            raise ModelError(f"loss: softmax does not work for {self.backbone}: {self.adapter.softmax}. Leave loss out.")
        names = [name for name, module in self.named_children() if isinstance(module, (BPRLoss, PairwiseLoss))]
        if not names:
            raise ModelError(
                f"loss: softmax does not work for {self.backbone}: it takes the place of the BPR loss, which "
                f"{self.backbone} does not have. Leave loss out."
            )
        self.softmax_loss = SoftmaxLoss(settings, item_popularity(dataset).to(self.device))
        for name in names:
            setattr(self, name, _Computed(self._softmax_of_batch))
        self.restore_user_e = self.restore_item_e = None
        cached = getattr(self, "other_parameter_name", None) or []
        self.other_parameter_name = list(dict.fromkeys([*cached, "restore_user_e", "restore_item_e"]))

    def _softmax_of_batch(self) -> torch.Tensor:
        user, item = self.adapter.checked_lookups(self, self._calls)
        return self.softmax_loss(user, item, self._interaction[self.USER_ID], self._interaction[self.ITEM_ID])

    def _unit_tables(self, interaction) -> tuple[torch.Tensor, torch.Tensor]:
        """Representations of all users and all items, of unit length: their products are cosines."""
        if self.restore_user_e is None or self.restore_item_e is None:
            with self._observed() as calls:
                super().full_sort_predict(interaction[:1])
            lookups, sizes = self.adapter.checked_lookups(self, calls), (self.n_users, self.n_items)
            ids = (torch.arange(size, device=self.device) for size in sizes)
            tables = [normalize_rows(lookup(rows)) for lookup, rows in zip(lookups, ids)]
            self.restore_user_e, self.restore_item_e = tables
        return self.restore_user_e, self.restore_item_e

    def _step(self, interaction, calls: list[Call], mask: Mask | None) -> Step:
        terms, batch_size = self.adapter.terms(self, interaction, calls)
        if parallel.many():
            part = parallel.shard()
            batch_size = sum(parallel.counts_of_all(batch_size if part is None or part.count else 0))
        self._batch_size = batch_size = max(batch_size, 1)
        user = item = None
        if mask is not None:
            mask, user, item = self.adapter.masked_nodes(self, interaction, calls, mask)
        return Step(terms, user, item, batch_size, mask)

    def _join(self, losses, aligned):
        if self.adapter.loss == "sum":
            aligned = aligned * self._batch_size
        losses = losses if isinstance(losses, tuple) else (losses,)
        if self.adapter.place == "sum":
            return sum(losses) + parallel.as_part_of_loss(aligned)
        return _insert(losses, aligned, self.adapter.place)

    @contextmanager
    def _observed(self):
        """Collect the calls that yield representations while the backbone computes its loss."""
        self._calls = calls = []
        modules = self.adapter.observed(self)
        hooks = [module.register_forward_hook(lambda of, *call: calls.append(Call(*call, of))) for module in modules]
        try:
            yield calls
        finally:
            self._calls = self._mask = None
            for hook in hooks:
                hook.remove()

    def _masked(self):
        """Let the backbone read its initial embeddings through the mask of this step."""
        if self._mask is None:
            return nullcontext()
        return self.adapter.masked(self, self._mask, self.alignment.mask_token)


class _Computed(nn.Module):
    """Stands in the place of a loss module and computes another loss, whatever it is called with."""

    def __init__(self, compute):
        super().__init__()
        self._compute = compute

    def forward(self, *_):
        return self._compute()


def _insert(values: tuple, value, place: str) -> tuple:
    at = len(values) if place == "last" else max(len(values) - 1, 0)
    return (*values[:at], value, *values[at:])
