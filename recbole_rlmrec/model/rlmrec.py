"""The mixin that adds an alignment loss to a RecBole recommender.

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model.adapters import Call, get_adapter
from recbole_rlmrec.model.alignment import ALIGNMENTS, Mask, Step, read_settings
from recbole_rlmrec.model.device import no_autocast
from recbole_rlmrec.semantic.load import load_semantic


class RLMRecMixin:
    """Backbone loss + alignment loss; stands before the backbone among the base classes.

    ``class LightGCN_RLMRec(RLMRecMixin, LightGCN)`` is LightGCN whose ``calculate_loss`` also returns the alignment
    loss. Representations are taken from the backbone's own forward pass of the step. With ``alignment: none`` nothing
    is added, drawn or loaded.
    """

    backbone: str

    def __init__(self, config, dataset):
        settings = read_settings(config)
        self.adapter = get_adapter(self.backbone)
        self._calls: list[Call] | None = None
        self._mask: Mask | None = None
        super().__init__(config, dataset)
        self.semantic_provenance = None
        self.alignment = None
        if settings.kind == "none":
            return
        alignment = ALIGNMENTS[settings.kind]
        if alignment.masks and self.adapter.masking:
            raise ModelError(
                f"alignment: {settings.kind} does not work for {self.backbone}: {self.adapter.masking}. Use alignment: con."
            )
        semantic = load_semantic(config, dataset)
        self.semantic_provenance = semantic.provenance
        initial_dim = self.adapter.initial_dim(self) if alignment.masks else 0
        self.alignment = alignment(semantic, settings, self.adapter.dim(self), initial_dim).to(self.device)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses that ``calculate_loss`` returns, in order."""
        names = tuple(getattr(super(), "loss_names", self.adapter.loss_names))
        if self.alignment is None or self.adapter.place == "sum":
            return names
        return _insert(names, "alignment", self.adapter.place)

    def forward(self, *args, **kwargs):
        with self._masked():
            output = super().forward(*args, **kwargs)
        if self._calls is not None and not self.adapter.observed(self):
            self._calls.append(Call(args, output))
        return output

    def calculate_loss(self, interaction, *args, **kwargs):
        if self.alignment is None:
            return super().calculate_loss(interaction, *args, **kwargs)
        self._mask = mask = self.alignment.begin()
        with self._observed() as calls:
            losses = super().calculate_loss(interaction, *args, **kwargs)
        with no_autocast(self.device):
            aligned = self.alignment(self._step(interaction, calls, mask))
        return self._join(losses, aligned)

    def _step(self, interaction, calls: list[Call], mask: Mask | None) -> Step:
        terms, batch_size = self.adapter.terms(self, interaction, calls)
        self._batch_size = batch_size
        user, item = self.adapter.checked_lookups(self, calls) if mask is not None else (None, None)
        return Step(terms, user, item, batch_size, mask)

    def _join(self, losses, aligned):
        if self.adapter.loss == "sum":
            aligned = aligned * self._batch_size
        losses = losses if isinstance(losses, tuple) else (losses,)
        if self.adapter.place == "sum":
            return sum(losses) + aligned
        return _insert(losses, aligned, self.adapter.place)

    @contextmanager
    def _observed(self):
        """Collect the calls that yield representations while the backbone computes its loss."""
        self._calls = calls = []
        modules = self.adapter.observed(self)
        hooks = [module.register_forward_hook(lambda _, *call: calls.append(Call(*call))) for module in modules]
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


def _insert(values: tuple, value, place: str) -> tuple:
    at = len(values) if place == "last" else max(len(values) - 1, 0)
    return (*values[:at], value, *values[at:])
