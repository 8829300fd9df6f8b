"""What alignment losses share: options, schedule, sides, the semantic tables and the projection network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from recbole_rlmrec.data.profile import SIDES, aligned_sides
from recbole_rlmrec.errors import ConfigError, ModelError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.device import on_gpu
from recbole_rlmrec.model.options import Option

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
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


PROJECTION = Option(
    "align_projection",
    "mlp",
    "what targets pass before they are compared: two layers or none",
    kind=str,
    words=("mlp", "none"),
)
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

    def of_all_processes(self) -> Step:
        """The step of the whole batch, where each of several processes works on some rows of it."""
        terms = []
        for term in self.terms:
            rows = None if term.rows is None else parallel.gather(parallel.counted(term.rows))
            terms.append(replace(term, ids=parallel.gather(parallel.counted(term.ids)), rows=rows))
        return replace(self, terms=terms)


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
    spreads : bool
        Class attribute: whether :meth:`loss` gives what this process contributes to the loss of the whole batch. Where it does
        not, each of several processes computes the loss of the whole batch.
    sides : tuple of str
        ``user`` and ``item``, or what ``align_sides`` leaves of them.
    """

    options: tuple[Option, ...] = (
        weight_option(0.01),
        Option("align_sides", "both", "whose representations are aligned", kind=str, words=("both", *SIDES)),
        schedule_option("constant"),
        Option("align_schedule_epochs", 3, "number of epochs that warmup or decay takes", kind=int, least=1),
        Option("align_dtype", "float32", "type of the projection's matrix products", kind=str, words=tuple(DTYPES)),
        Option("align_every", 1, "steps of which one computes the loss, with that many times its weight", kind=int, least=1),
    )
    masks = False
    spreads = False

    def __init__(self, semantic, settings: AlignmentSettings, dim: int, initial_dim: int):
        super().__init__()
        self.semantic = semantic
        self.settings = settings
        self.sides = aligned_sides(settings["align_sides"])
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
        self._wait: int | None = None

    def begin(self) -> Mask | None:
        """Called before the recommender's forward pass of a training step; returns what to mask, if anything."""
        return None

    def forward(self, step: Step) -> torch.Tensor:
        """Weighted alignment loss of a step, a scalar, on the scale of a mean over the batch; a schedule's 0 costs nothing.

        With ``align_every: k`` one step of k computes it, k-fold, and the others give 0. Which of the first k steps of an epoch
        begins is drawn, so each step computes it with probability 1/k: for every step the expectation over that draw, of the
        loss and of its gradient, is what k = 1 gives.

        Raises
        ------
        ModelError
            The recommender represents none of the sides that ``align_sides`` names.
        """
        if not self.share:
            return self.zero()
        parallel.same_random_state()  # a recommender that draws noise for its rows has set the processes' states apart
        if not self._due():
            return self.zero()
        terms = [term for term in step.terms if term.side in self.sides]
        if step.terms and not terms:
            there = " and ".join(sorted({f"{term.side}s" for term in step.terms}))
            raise ModelError(
                f"align_sides is {self.settings['align_sides']!r}, but the recommender's batches hold {there} alone; "
                "set align_sides to both."
            )
        weight = self.settings["align_weight"] * self.share * self.settings["align_every"]
        step = replace(step, terms=terms)
        if parallel.many() and not self.spreads:
            size, step = parallel.size(), step.of_all_processes()
            with parallel.alone():
                return weight / size * self.loss(step)
        return weight * self.loss(step)

    def _due(self) -> bool:
        """Whether this step is one of those that compute the loss."""
        every = self.settings["align_every"]
        if every == 1:
            return True
        if self._wait is None:
            self._wait = int(torch.randint(every, ()))
        due, self._wait = not self._wait, (self._wait - 1) % every
        return due

    def loss(self, step: Step) -> torch.Tensor:
        """Alignment loss of a step without its weight, a scalar, on the scale of a mean over the batch.

        Of several processes each works on some rows of the batch, and the sum of what they return is the loss if ``spreads``
        is on; else ``step`` is of the whole batch.
        """
        raise NotImplementedError

    def zero(self) -> torch.Tensor:
        """A loss of nothing, which gives every parameter of the alignment a gradient of zeros."""
        start = torch.zeros((), device=self.semantic.user.covered.device)
        return sum((0.0 * parameter.sum() for parameter in self.parameters()), start)

    def projected(self, network: nn.Module, table, ids: torch.Tensor) -> torch.Tensor:
        """Profiles of ids that have one, projected, [k, network's width]: :meth:`project` of the table's rows.

        Several processes, which all ask for the same ids, project a part each.
        """
        padded = own = parallel.part(ids)
        if DTYPES[self.settings["align_dtype"]] is not None and not on_gpu(ids) and len(own):
            padded = torch.cat([own, own[:1].expand(-len(own) % ROWS)])
        return parallel.gather_shares(self.project(network, table.rows(padded))[: len(own)], len(ids))

    def project(self, network: nn.Module, x: torch.Tensor, narrow: bool = False) -> torch.Tensor:
        """Apply a projection network in ``align_dtype``; the result is of that type if ``narrow``, else of its weights'."""
        if isinstance(network, nn.Identity):
            return x.to(torch.get_default_dtype())
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


def target_projection(settings: AlignmentSettings | Mapping, n_in: int, n_out: int) -> nn.Module:
    """What targets of size ``n_in`` pass before they meet representations of size ``n_out``: ``align_projection``.

    Raises
    ------
    ConfigError
        Nothing stands between them, and their sizes differ.
    """
    if settings["align_projection"] == "mlp":
        return projection(n_in, n_out)
    if n_in != n_out:
        raise ConfigError(
            f"align_projection is 'none', but the targets have {n_in} dimensions and the representations {n_out}; "
            "make the sizes equal or set align_projection to mlp."
        )
    return nn.Identity()
