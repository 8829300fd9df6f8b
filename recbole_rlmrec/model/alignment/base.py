"""What alignment losses share: options, schedule, sides, the semantic tables and the projection network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from recbole_rlmrec.errors import ConfigError, ModelError
from recbole_rlmrec.model.device import on_gpu
from recbole_rlmrec.model.options import Option

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
SIDES = ("user", "item")
# For narrow numbers a CPU keeps a kernel for every shape that it meets, some hundred MiB where each step has another.
ROWS = 256


def weight_option(default: float) -> Option:
    """``align_weight`` with the default of an alignment."""
    return Option("align_weight", default, "weight of the alignment loss", least=0.0)


def temperature_option(default: float) -> Option:
    """``align_temperature`` with the default of an alignment."""
    return Option("align_temperature", default, "temperature of the softmax over negatives", least=1e-6)


def schedule_option(default: str) -> Option:
    """``align_schedule`` with the default of an alignment."""
    text = "align_weight over the epochs: as it is, growing up to it from the first epoch, or falling from it to 0"
    return Option("align_schedule", default, text, kind=str, words=("constant", "warmup", "decay"))


BLOCK = Option(
    "align_block", None, "number of similarity logits that may exist at a time; empty: what is fast", kind=int, least=1
)


@dataclass(frozen=True)
class AlignmentSettings:
    """Which alignment a run has, and the options that it declares.

    ``settings["align_weight"]`` is an option's checked value.

    Parameters
    ----------
    kind : str
        ``alignment``: ``con``, ``gen``, ``darec``, ``distance``, a registered one, or ``none``.
    values : dict
        Values by the names of the options.
    """

    kind: str
    values: dict

    def __getitem__(self, name: str):
        return self.values[name]


@dataclass(frozen=True)
class Term:
    """One side of a batch that is aligned: users, positive items or negative items.

    Parameters
    ----------
    side : {"user", "item"}
    ids : torch.LongTensor
        Internal ids [b], repeats and padding allowed.
    lookup : callable, optional
        ids [k] -> representations [k, d]. Given where a representation depends on the id alone.
    rows : torch.Tensor, optional
        Representations [b, d] in the order of ``ids``, where there is no ``lookup``.
    """

    side: str
    ids: torch.Tensor
    lookup: Callable[[torch.Tensor], torch.Tensor] | None = None
    rows: torch.Tensor | None = None


@dataclass(frozen=True)
class Mask:
    """Nodes whose initial embedding the mask token replaces in a step: internal ids of users [m_u] and items [m_i]."""

    user: torch.Tensor
    item: torch.Tensor


@dataclass(frozen=True)
class Step:
    """What a recommender's training step offers to an alignment.

    Parameters
    ----------
    terms : list of Term
        The sides of the batch.
    user, item : callable or None
        Internal ids [k] -> representations [k, d], where the recommender has them for every id.
    batch_size : int
        B, the number of training triples (or users, for recommenders trained by user) in the batch.
    mask : Mask or None
        What :meth:`Alignment.begin` returned for this step.
    """

    terms: list[Term]
    user: Callable[[torch.Tensor], torch.Tensor] | None
    item: Callable[[torch.Tensor], torch.Tensor] | None
    batch_size: int
    mask: Mask | None = None


class Alignment(nn.Module):
    """Base of the alignment losses; subclasses implement :meth:`loss` and, if they mask nodes, :meth:`begin`.

    Parameters
    ----------
    semantic : recbole_rlmrec.semantic.table.Semantic
        Frozen semantic embeddings of users and items.
    settings : AlignmentSettings
    dim : int
        Size d of the recommender's representations.
    initial_dim : int
        Size of its initial embeddings.

    Attributes
    ----------
    options : tuple of Option
        Class attribute: options that it adds to those of its bases, or whose default it changes. Their values are in
        ``self.settings``; nothing else has to know of them.
    masks : bool
        Class attribute: whether the alignment masks initial embeddings.
    sides : tuple of str
        ``user`` and ``item``, or what ``align_sides`` leaves of them.
    """

    options: tuple[Option, ...] = (
        weight_option(0.01),
        Option("align_sides", "both", "whose representations are aligned", kind=str, words=("both", *SIDES)),
        schedule_option("constant"),
        Option("align_schedule_epochs", 3, "number of epochs that warmup or decay takes", kind=int, least=1),
        Option("align_dtype", "float32", "type of the projection's matrix products", kind=str, words=tuple(DTYPES)),
    )
    masks = False

    def __init__(self, semantic, settings: AlignmentSettings, dim: int, initial_dim: int):
        super().__init__()
        self.semantic = semantic
        self.settings = settings
        self.sides = SIDES if settings["align_sides"] == "both" else (settings["align_sides"],)
        if not any(getattr(semantic, side).count for side in self.sides):
            raise ConfigError(
                f"align_sides is {self.sides[0]!r}, but no {self.sides[0]} has a profile; set align_sides to both."
            )
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch, counted from 0: sets the share of ``align_weight`` that ``align_schedule`` gives it."""
        schedule, length = self.settings["align_schedule"], self.settings["align_schedule_epochs"]
        self.share = {
            "constant": 1.0,
            "warmup": min((epoch + 1) / length, 1.0),
            "decay": max(1 - epoch / length, 0.0),
        }[schedule]

    def begin(self) -> Mask | None:
        """Called before the recommender's forward pass of a training step; returns what to mask, if anything."""
        return None

    def forward(self, step: Step) -> torch.Tensor:
        """Weighted alignment loss of a step, a scalar, on the scale of a mean over the batch; a schedule's 0 costs nothing.

        Raises
        ------
        ModelError
            The recommender represents none of the sides that ``align_sides`` names.
        """
        if not self.share:
            return self.zero()
        terms = [term for term in step.terms if term.side in self.sides]
        if step.terms and not terms:
            there = " and ".join(sorted({f"{term.side}s" for term in step.terms}))
            raise ModelError(
                f"align_sides is {self.settings['align_sides']!r}, but the recommender's batches hold {there} alone; "
                "set align_sides to both."
            )
        return self.settings["align_weight"] * self.share * self.loss(replace(step, terms=terms))

    def loss(self, step: Step) -> torch.Tensor:
        """Alignment loss of a step without its weight, a scalar, on the scale of a mean over the batch."""
        raise NotImplementedError

    def zero(self) -> torch.Tensor:
        """A loss of nothing, which gives every parameter of the alignment a gradient of zeros."""
        start = torch.zeros((), device=self.semantic.user.covered.device)
        return sum((0.0 * parameter.sum() for parameter in self.parameters()), start)

    def projected(self, network: nn.Module, table, ids: torch.Tensor) -> torch.Tensor:
        """Profiles of ids that have one, projected, [k, network's width]: :meth:`project` of the table's rows."""
        padded = ids
        if DTYPES[self.settings["align_dtype"]] is not None and not on_gpu(ids) and len(ids):
            padded = torch.cat([ids, ids[:1].expand(-len(ids) % ROWS)])
        return self.project(network, table.rows(padded))[: len(ids)]

    def project(self, network: nn.Module, x: torch.Tensor, narrow: bool = False) -> torch.Tensor:
        """Apply a projection network in ``align_dtype``; the result is of that type if ``narrow``, else of its weights'."""
        x = x.to(network[0].weight.dtype)
        dtype = DTYPES[self.settings["align_dtype"]]
        if dtype is None:
            return network(x)
        with torch.autocast(device_type=x.device.type, dtype=dtype):
            projected = network(x)
        return projected if narrow else projected.to(x.dtype)


def projection(n_in: int, n_out: int) -> nn.Sequential:
    """Two-layer projection between the collaborative and the semantic space (paper, section 3.3).

    Linear(n_in, (n_in + n_out) // 2), LeakyReLU, Linear(.., n_out); weights Xavier-uniform, biases as torch makes them.
    """
    hidden = (n_in + n_out) // 2
    layers = nn.Sequential(nn.Linear(n_in, hidden), nn.LeakyReLU(), nn.Linear(hidden, n_out))
    for layer in (layers[0], layers[2]):
        nn.init.xavier_uniform_(layer.weight)
    return layers


class Group(NamedTuple):
    """Covered ids of a term [k], how often each occurs [k], and the position of each in the term's ids [k] or None."""

    ids: torch.Tensor
    counts: torch.Tensor
    positions: torch.Tensor | None

    def representations(self, term: Term) -> torch.Tensor:
        """The recommender's representations [k, d] of the group, which was made of ``term``."""
        return term.lookup(self.ids) if term.lookup else term.rows[self.positions]


def group(term: Term, table) -> Group:
    """Unique covered ids of a term with their counts.

    On a GPU, where the size of a result that depends on the data forces a synchronisation, ids stay as they are: each
    counts once, or not at all (with a covered id in its place) where it has no profile.
    """
    ids = term.ids
    covered = table.covered[ids]
    if on_gpu(ids):
        positions = torch.arange(len(ids), device=ids.device)
        return Group(torch.where(covered, ids, table.ids[0]), covered.to(torch.get_default_dtype()), positions)
    if term.lookup is None:
        positions = covered.nonzero().squeeze(1)
        return Group(ids[positions], torch.ones(len(positions)), positions)
    unique, counts = ids[covered].unique(return_counts=True)
    return Group(unique, counts.to(torch.get_default_dtype()), None)
