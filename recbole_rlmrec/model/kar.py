r"""The mixin that gives a RecBole recommender semantic embeddings as input: KAR, a baseline of the RLMRec paper.

Reference:
    Yunjia Xi et al. "Towards Open-World Recommendation with Knowledge Augmentation from Large Language Models."
    arXiv 2306.10933.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.alignment import ALIGNMENTS
from recbole_rlmrec.model.options import choice, count
from recbole_rlmrec.semantic.load import load_semantic
from recbole_rlmrec.semantic.table import Semantic


class HybridExperts(nn.Module):
    r"""KAR's hybrid-expert adaptor, from the semantic to the collaborative space.

    .. math::
        \hat s = \sum_{j} \alpha_j \, e_j(s), \quad \alpha = \mathrm{softmax}(G s)

    over the experts that users and items share and those of the side alone; each side has a gate G of its own. An expert is
    Linear(d_s, hidden), LeakyReLU, Linear(hidden, d_out).

    Parameters
    ----------
    semantic : Semantic
    n_out : int
        Size d_out of the augmented vectors.
    hidden : int
    shared, dedicated : int
        Numbers of experts: shared by both sides, and of each side alone.
    """

    def __init__(self, semantic: Semantic, n_out: int, hidden: int, shared: int, dedicated: int):
        super().__init__()
        self.semantic, self.n_out = semantic, n_out
        numbers = {"shared": shared, "user": dedicated, "item": dedicated}
        self.experts = nn.ModuleDict(
            {group: nn.ModuleList(_expert(semantic.dim, hidden, n_out) for _ in range(n)) for group, n in numbers.items()}
        )
        self.gates = nn.ModuleDict({side: nn.Linear(semantic.dim, shared + dedicated, bias=False) for side in SIDES})
        for gate in self.gates.values():
            nn.init.xavier_uniform_(gate.weight)

    def forward(self, side: str, rows: torch.Tensor) -> torch.Tensor:
        """Augmented vectors [k, d_out] of semantic embeddings [k, d_s] of users or items."""
        experts = [*self.experts["shared"], *self.experts[side]]
        shares = self.gates[side](rows).softmax(dim=1)
        return sum(share.unsqueeze(1) * expert(rows) for share, expert in zip(shares.unbind(dim=1), experts))

    def table(self, side: str) -> torch.Tensor:
        """Augmented vectors of all internal ids [n, d_out]; zero for those without a profile and for the padding."""
        known = getattr(self.semantic, side)
        weight = self.gates[side].weight
        vectors = weight.new_zeros(known.n, self.n_out)
        if not len(known.ids):
            return vectors
        return vectors.index_copy(0, known.ids, self(side, known.rows(known.ids).to(weight.dtype)))


def _expert(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(n_in, hidden), nn.LeakyReLU(), nn.Linear(hidden, n_out))
    for layer in (layers[0], layers[2]):
        nn.init.xavier_uniform_(layer.weight)
    return layers


class KARMixin:
    """Concatenates its augmented vector to each initial embedding; stands before ``NAME_RLMRec`` among the base classes.

    The backbone's ``forward`` must read ``user_embedding.weight`` and ``item_embedding.weight``, of any width. Its losses stay
    as they are, with the softmax loss on offer. Users and items without a profile get a zero vector. Every step projects the
    embeddings of all users and items that have a profile, once: a graph recommender reads all nodes, so the cost grows with
    them and not with the batch.

    Attributes
    ----------
    kar : HybridExperts
    """

    def __init__(self, config, dataset):
        empty = config["kar_size"] in (None, "")
        sizes = count(config, "embedding_size" if empty else "kar_size"), count(config, "kar_hidden_size")
        numbers = count(config, "kar_shared_experts"), count(config, "kar_experts")
        self._vectors: tuple[torch.Tensor, torch.Tensor] | None = None
        if choice(config, "alignment", (*ALIGNMENTS, "none")) != "none":
            raise ConfigError(f"KAR is not combined with an alignment; leave alignment: {config['alignment']} out.")
        super().__init__(config, dataset)
        self.adapter = copy.copy(self.adapter)
        self.adapter.added = sizes[0]
        if config["semantic_device"]:
            raise ConfigError(f"{config['model']} reads all embeddings in each step; leave semantic_device out.")
        semantic = load_semantic(config, dataset)
        self.semantic_provenance = semantic.provenance
        self.kar = HybridExperts(semantic, *sizes, *numbers).to(self.device)

    def calculate_loss(self, interaction):
        self._vectors = self._project()
        try:
            return super().calculate_loss(interaction)
        finally:
            self._vectors = None

    def forward(self, *args, **kwargs):
        with self._augmented(self._vectors or self._project()):
            return super().forward(*args, **kwargs)

    def _project(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.kar.table("user"), self.kar.table("item")

    @contextmanager
    def _augmented(self, vectors: tuple[torch.Tensor, torch.Tensor]) -> Iterator[None]:
        names = ("user_embedding", "item_embedding")
        raw = {name: self._modules[name] for name in names}
        self._modules.update({name: _Augmented(raw[name], part) for name, part in zip(names, vectors)})
        try:
            yield
        finally:
            self._modules.update(raw)


class _Augmented(nn.Module):
    """An embedding whose rows are continued by vectors [n, d_out]."""

    def __init__(self, embedding: nn.Embedding, vectors: torch.Tensor):
        super().__init__()
        self._parts = embedding, vectors

    @property
    def weight(self) -> torch.Tensor:
        embedding, vectors = self._parts
        return torch.cat([embedding.weight, vectors], dim=1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self.weight)
