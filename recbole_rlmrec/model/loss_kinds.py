"""Whether a recommender's losses are means or sums over the batch, and what in a sum does not belong to the batch.

Several processes add up what each computes of its rows; they have to know how.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

MEAN, SUM, PART = "mean", "sum", "part"
"""A mean or a sum over a process's rows; what a process adds to the loss of the whole batch."""

_KINDS: dict[str, tuple[str, ...]] = {
    "SGL": (SUM,),
    "NCL": (MEAN, SUM, SUM),
    "ENMF": (SUM,),
    "ConvNCF": (SUM,),
    "CDAE": (SUM,),
}
"""By the class of RecBole; the losses of all others are means."""


def _norms(model) -> torch.Tensor:
    return model.reg_loss()


def _cdae(model) -> torch.Tensor:
    weights = model.h_user.weight, model.h_item.weight
    return sum(model.reg_weight_1 * weight.norm(p=1) + model.reg_weight_2 * weight.norm() for weight in weights)


_BESIDE: dict[str, Callable] = {"ENMF": _norms, "ConvNCF": _norms, "CDAE": _cdae}
"""The part of a sum that is there once in each step, whatever the batch."""


def loss_kinds(model, number: int) -> tuple[str, ...]:
    """Kinds of the losses that a recommender returns.

    Parameters
    ----------
    model : torch.nn.Module
        ``loss_kinds`` where its class has it; else the table's by the classes that it derives from; else what its adapter
        says; else means.
    number : int
        How many it returns; the last kind holds for all further ones. An alignment loss is a part.
    """
    place = getattr(model, "alignment_place", lambda number: None)(number)
    own, kinds = number - (place is not None), _kinds(model)
    kinds = (*kinds, *kinds[-1:] * own)[:own]
    return kinds if place is None else (*kinds[:place], PART, *kinds[place:])


def is_mean(model) -> bool:
    """Whether a recommender's first loss is a mean."""
    return _kinds(model)[0] == MEAN


def _kinds(model) -> tuple[str, ...]:
    declared = getattr(model, "loss_kinds", None) or _of_class(_KINDS, model)
    return declared or (getattr(getattr(model, "adapter", None), "loss", MEAN),)


def beside_batch(model) -> torch.Tensor | float:
    """What the first loss of a recommender, a sum, adds that does not belong to the batch."""
    beside = None if getattr(model, "loss_kinds", None) else _of_class(_BESIDE, model)
    return 0.0 if beside is None else beside(model)


def _of_class(table: dict, model):
    return next((table[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in table), None)
