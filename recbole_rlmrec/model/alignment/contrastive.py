"""RLMRec-Con: contrastive alignment (paper, section 3.3, equations 8 and 9)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from recbole_rlmrec.model.alignment.base import Alignment, Step, projection
from recbole_rlmrec.model.alignment.infonce import block_logsumexp, logsumexp_total, normalize_rows
from recbole_rlmrec.model.device import on_gpu, to_device

# For narrow numbers a CPU keeps a kernel for every shape that it meets, some hundred MiB where each step has another.
ROWS = 256
ABSENT = -1e30  # the logarithm of a count of zero, finite


class _Group(NamedTuple):
    """Covered ids of a term [k], how often each occurs [k], and the position of each in the term's ids [k] or None."""

    ids: torch.Tensor
    counts: torch.Tensor
    positions: torch.Tensor | None


class Contrastive(Alignment):
    r"""Pull each representation towards the projected profile of the same user or item, away from those of others.

    .. math::
        L = \frac{w}{B} \sum_{t} \sum_{i} \Big[ -\frac{\cos(e_i, p_i)}{\tau}
            + \log \sum_{c \in C_t} \exp \frac{\cos(e_i, c)}{\tau} \Big], \quad p = \sigma_{down}(s)

    over the terms t: users, positive items, negative items. Repeats in a batch are multiplicities: the loss over unique
    ids, weighted by their counts, with log-counts added to the candidates' logits, equals the loss with repeats. Rows
    without a profile are neither anchors nor candidates.
    """

    weight = 0.01
    temperature = 0.2

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        self.down = projection(semantic.dim, dim)

    def forward(self, step: Step) -> torch.Tensor:
        total = self.down[2].bias.new_zeros(())
        for side in ("user", "item"):
            terms = [term for term in step.terms if term.side == side]
            if terms and getattr(self.semantic, side).count:
                total = total + self._side(side, terms)
        return self.settings.weight / step.batch_size * total

    def _side(self, side, terms):
        table = getattr(self.semantic, side)
        groups = [_group(term, table) for term in terms]
        ids, candidates = [group.ids for group in groups], self._candidates(side, table)
        everyone = candidates is not None and len(candidates) == table.count
        if everyone:
            ids, places = table.ids, [torch.searchsorted(table.ids, one) for one in ids]
        else:
            ids, places = _union(ids if candidates is None else [*ids, candidates])
        projected = normalize_rows(self.project(self.down, table.rows(self._padded(ids))))
        total = 0.0
        for term, group, place in zip(terms, groups, places):
            anchors = term.lookup(group.ids) if term.lookup else term.rows[group.positions]
            anchors, own = normalize_rows(anchors.to(projected.dtype)), projected[place]
            positive = (anchors * own).sum(dim=1) / self.settings.temperature
            total = total - group.counts @ positive
            if candidates is None:
                total = total + self._total(anchors, own, group.counts, group.counts.log().clamp_min(ABSENT))
            elif everyone:
                total = total + self._total(anchors, projected[: len(ids)], group.counts)
            else:  # the own profile counts once, drawn or not
                lse = block_logsumexp(anchors, projected[places[-1]], self.settings.temperature, block=self.settings.block)
                nearest = torch.searchsorted(candidates, group.ids).clamp_max(len(candidates) - 1)
                drawn = candidates[nearest] == group.ids
                total = total + group.counts @ torch.where(drawn, lse, torch.logaddexp(lse, positive))
        return total

    def _padded(self, ids):
        """Ids in multiples of ROWS, the first repeated, where a CPU multiplies narrow numbers."""
        if self.settings.dtype is None or on_gpu(ids) or not len(ids):
            return ids
        return torch.cat([ids, ids[:1].expand(-len(ids) % ROWS)])

    def _total(self, anchors, columns, counts, bias=None):
        if not len(anchors):
            return 0.0
        return logsumexp_total(anchors, columns, counts, self.settings.temperature, bias, self.settings.block)

    def _candidates(self, side, table) -> torch.Tensor | None:
        negatives = self.settings.negatives
        if negatives == "all":
            return table.ids if side == "user" else None
        if isinstance(negatives, int):
            return table.ids[to_device(draw(table.count, negatives), table.ids.device)]
        return None


def draw(count: int, number: int) -> torch.Tensor:
    """``number`` of the positions below ``count``, ascending, every choice equally likely; all where there are fewer."""
    if number >= count:
        return torch.arange(count)
    if 4 * number >= count:
        return torch.randperm(count)[:number].sort().values
    distinct = torch.empty(0, dtype=torch.long)
    while len(distinct) < number:
        distinct = torch.cat([distinct, torch.randint(count, (2 * number,))]).unique()
    return distinct[torch.randperm(len(distinct))[:number].sort().values]


def _group(term, table) -> _Group:
    """Unique covered ids of a term with their counts.

    On a GPU, where the size of a result that depends on the data forces a synchronisation, ids stay as they are: each
    counts once, or not at all (with a covered id in its place) where it has no profile.
    """
    ids = term.ids
    covered = table.covered[ids]
    if on_gpu(ids):
        positions = torch.arange(len(ids), device=ids.device)
        return _Group(torch.where(covered, ids, table.ids[0]), covered.to(torch.get_default_dtype()), positions)
    if term.lookup is None:
        positions = covered.nonzero().squeeze(1)
        return _Group(ids[positions], torch.ones(len(positions)), positions)
    unique, counts = ids[covered].unique(return_counts=True)
    return _Group(unique, counts.to(torch.get_default_dtype()), None)


def _union(groups: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """All ids of several groups, each once (on a GPU with repeats), and where each group's ids stand among them."""
    ids, sizes = torch.cat(groups), [len(group) for group in groups]
    if on_gpu(ids):
        return ids, list(torch.arange(len(ids), device=ids.device).split(sizes))
    ids, places = ids.unique(return_inverse=True)
    return ids, list(places.split(sizes))
