"""What both alignment losses share: their settings, the semantic tables and the projection network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from recbole_rlmrec.model.options import choice, count, number, share

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class AlignmentSettings:
    """The options of an alignment, checked.

    Parameters
    ----------
    kind : str
        ``alignment``: ``con``, ``gen``, a registered one, or ``none``.
    weight : float
        ``align_weight``, w in the paper; empty means 0.01 (con) or 0.1 (gen).
    temperature : float
        ``align_temperature``, tau; empty means 0.2 (con) or 0.5 (gen).
    negatives : str or int
        ``align_negatives``: ``batch`` (the paper), ``all`` (the released code) or how many to draw each step. Con only.
    mask_ratio : float
        ``mask_ratio``: share of the nodes with a profile that gen masks each step, in (0, 1).
    block : int or None
        ``align_block``: number of logits that may exist at a time; None leaves it to the loss.
    dtype : torch.dtype or None
        ``align_dtype``: ``float32`` or ``bfloat16`` for the matrix products of the projection; None is float32.
    """

    kind: str
    weight: float
    temperature: float
    negatives: str | int
    mask_ratio: float
    block: int | None
    dtype: torch.dtype | None

    @classmethod
    def from_config(cls, config, kinds: dict[str, type[Alignment]]) -> AlignmentSettings:
        """Read and check the options of a run.

        Parameters
        ----------
        config : recbole.config.Config or mapping
        kinds : dict
            Alignment classes by the name that ``alignment`` takes; ``none`` is always allowed.

        Raises
        ------
        ConfigError
            An option is out of range; the message names it and says what is allowed.
        """
        kind = choice(config, "alignment", (*kinds, "none"))
        weight, temperature = (0.0, 1.0) if kind == "none" else (kinds[kind].weight, kinds[kind].temperature)
        negatives = config["align_negatives"]
        if negatives not in ("batch", "all"):
            negatives = count(config, "align_negatives", "`batch`, `all` or a whole number of at least 1")
        return cls(
            kind=kind,
            weight=number(config, "align_weight", 0.0, "a number of at least 0", default=weight),
            temperature=number(config, "align_temperature", 1e-6, "a number above 0", default=temperature),
            negatives=negatives,
            mask_ratio=share(config, "mask_ratio"),
            block=None if config["align_block"] in (None, "") else count(config, "align_block"),
            dtype=DTYPES[choice(config, "align_dtype", tuple(DTYPES))],
        )


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
    """Base of the alignment losses; subclasses implement :meth:`forward` and, if they mask nodes, :meth:`begin`.

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
    weight, temperature : float
        Class attributes: the defaults of ``align_weight`` and ``align_temperature``.
    masks : bool
        Class attribute: whether the alignment masks initial embeddings.
    """

    weight = 0.01
    temperature = 0.2
    masks = False

    def __init__(self, semantic, settings: AlignmentSettings, dim: int, initial_dim: int):
        super().__init__()
        self.semantic = semantic
        self.settings = settings

    def begin(self) -> Mask | None:
        """Called before the recommender's forward pass of a training step; returns what to mask, if anything."""
        return None

    def forward(self, step: Step) -> torch.Tensor:
        """Weighted alignment loss of a step, a scalar, on the scale of a mean over the batch."""
        raise NotImplementedError

    def project(self, network: nn.Module, x: torch.Tensor, narrow: bool = False) -> torch.Tensor:
        """Apply a projection network in ``align_dtype``; the result is of that type if ``narrow``, else of its weights'."""
        x = x.to(network[0].weight.dtype)
        if self.settings.dtype is None:
            return network(x)
        with torch.autocast(device_type=x.device.type, dtype=self.settings.dtype):
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
