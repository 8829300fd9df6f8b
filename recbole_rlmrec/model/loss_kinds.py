"""Whether a recommender's losses are means or sums, over what, and what in them does not belong to the rows of a batch.

Several processes add up what each computes of its rows; they have to know how. For some recommenders the sum is not what one
process computes: :func:`unequal` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

MEAN, SUM, PART = "mean", "sum", "part"
"""A mean or a sum over a process's rows; what a process adds to the loss of the whole batch."""


def _s3rec(model) -> tuple[str, ...]:
    return (SUM,) if model.train_stage == "pretrain" else (MEAN,)


_KINDS: dict[str, tuple[str, ...] | Callable] = {
    "SGL": (SUM,),
    "NCL": (MEAN, SUM, SUM),
    "ENMF": (SUM,),
    "ConvNCF": (SUM,),
    "CDAE": (SUM,),
    "S3Rec": _s3rec,
}
"""By the class of RecBole; the losses of all others are means."""


def _norms(model) -> torch.Tensor:
    return model.reg_loss()


def _cdae(model) -> torch.Tensor:
    weights = model.h_user.weight, model.h_item.weight
    return sum(model.reg_weight_1 * weight.norm(p=1) + model.reg_weight_2 * weight.norm() for weight in weights)


_BESIDE: dict[str, Callable] = {"ENMF": _norms, "ConvNCF": _norms, "CDAE": _cdae}
"""The part of a sum that is there once in each step, whatever the batch."""


class Counted(NamedTuple):
    """What a mean counts that is not over rows.

    Attributes
    ----------
    count : callable
        Recommender and batch -> how many of them a batch has.
    with_one : callable
        Recommender and a batch that has none -> the same batch with one, for a process whose loss counts nothing: a mean of
        nothing is no number.
    """

    count: Callable
    with_one: Callable


def _targets(model, batch) -> int:
    return int((batch[model.MASK_INDEX] > 0).sum())


def _with_target(model, batch):
    taken = batch[torch.arange(len(batch))]
    places = taken[model.MASK_INDEX].clone()
    places[0, 0] = 1
    changed = {model.MASK_INDEX: places}
    if places.shape[1] == 1:  # it would be the row's last one, by which the row is aligned
        changed[model.USER_ID] = taken[model.USER_ID].clone().index_fill_(0, torch.zeros_like(places[0]), 0)
    taken.interaction.update(changed)
    return taken


_COUNTED: dict[str, Counted] = {"BERT4Rec": Counted(_targets, _with_target)}
"""Recommenders whose loss is a mean over something else than rows: over masked positions."""

_NORMS_OF_ROWS = ("FOSSIL", "HGN", "SHAN")
"""Recommenders that add norms of the whole batch's rows by ``torch.norm``."""
_NORMS_OF_TABLES = ("GCSAN",)
"""Recommenders whose ``EmbLoss`` is of whole tables, not of a batch's rows."""

_NOISE = "it draws noise for its rows"
_UNEQUAL: dict[str, str | tuple[str, Callable]] = {
    "MultiVAE": _NOISE,
    "MacridVAE": _NOISE,
    "RecVAE": _NOISE,
    "RaCT": _NOISE,
    "DiffRec": _NOISE,
    "LINE": "it draws users for its rows",
    "FEARec": "it contrasts a process's rows with each other alone, and draws sequences for its rows",
    "DIEN": "it adds a mean over the positions of a process's sequences",
    "RepeatNet": ("with joint_train it multiplies means over a process's rows", lambda model: model.joint_train),
    "S3Rec": ("its pre-training draws masks and segments for its rows", lambda model: model.train_stage == "pretrain"),
}
"""Recommenders of which several processes do not make the step of one, and why; some with the condition for it."""


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
    declared = declared(model) if callable(declared) else declared
    return declared or (getattr(getattr(model, "adapter", None), "loss", MEAN),)


def beside_batch(model) -> torch.Tensor | float:
    """What the first loss of a recommender, a sum, adds that does not belong to the batch."""
    beside = None if getattr(model, "loss_kinds", None) else _of_class(_BESIDE, model)
    return 0.0 if beside is None else beside(model)


def counted_in_mean(model) -> Counted | None:
    """What a recommender's mean counts; None where it counts rows."""
    return _of_class(_COUNTED, model)


def norms_of_rows(model) -> bool:
    """Whether a recommender adds norms of the whole batch's rows by ``torch.norm``."""
    return _is_one(model, _NORMS_OF_ROWS)


def norms_of_tables(model) -> bool:
    """Whether a recommender's ``EmbLoss`` is of whole tables."""
    return _is_one(model, _NORMS_OF_TABLES)


def unequal(model) -> str | None:
    """Why several processes do not make the step of one of a recommender; None where they do, to rounding."""
    found = _of_class(_UNEQUAL, model)
    why, holds = found if isinstance(found, tuple) else (found, lambda model: True)
    reasons = [why] if why and holds(model) else []
    batches = torch.nn.modules.batchnorm._BatchNorm
    if any(isinstance(module, batches) and not isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules()):
        reasons.append("it normalises over a process's rows")
    return ", and ".join(reasons) or None


def _is_one(model, names: tuple[str, ...]) -> bool:
    return any(kind.__name__ in names for kind in type(model).__mro__)


def _of_class(table: dict, model):
    return next((table[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in table), None)
