"""Which rows of a batch an alignment works on: those with a profile, each once, and of them the anchors of a step."""

from __future__ import annotations

from typing import NamedTuple

import torch

from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.alignment.base import Term
from recbole_rlmrec.model.device import on_gpu, to_device
from recbole_rlmrec.model.options import Option

ANCHORS = Option(
    "align_anchors",
    "all",
    "rows that a step sums over: all, or how many it draws (of each side of the batch, of the masked nodes)",
    kind=int,
    words=("all",),
    least=1,
)


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


class Group(NamedTuple):
    """Covered ids of a term [k] in the whole batch, and how often each occurs [k].

    This process's anchors are ``ids[own]``; where representations depend on the row, ``positions`` are theirs in the term.
    """

    ids: torch.Tensor
    counts: torch.Tensor
    own: slice
    positions: torch.Tensor | None

    def representations(self, term: Term) -> torch.Tensor:
        """The recommender's representations of this process's anchors; the group was made of ``term``."""
        return term.lookup(self.part(self.ids)) if term.lookup else term.rows[self.positions]

    def part(self, rows: torch.Tensor) -> torch.Tensor:
        """Of a tensor's rows, one for each id, those of this process's anchors."""
        return rows[self.own] if parallel.many() else rows

    def drawn(self, number: int | str) -> tuple[Group, torch.Tensor | slice]:
        r"""``number`` of the ids, and where they are among all; ``all`` or more than there are changes nothing.

        With n of m ids drawn, every choice equally likely, the counts of those become m/n as large. So a sum over the ids
        weighted by their counts keeps its expectation, and so does its gradient:

        .. math:: E \Big[ \frac{m}{n} \sum_{i \in drawn} c_i l_i \Big] = \sum_i c_i l_i
        """
        if number == "all" or number >= len(self.ids):
            return self, slice(None)
        chosen = draw(len(self.ids), number)
        counts, positions = self.counts * (len(self.ids) / number), self.positions
        start, stop = self.own.start, self.own.stop
        if positions is None:
            own = parallel.share(number)
        else:
            own = slice(int((chosen < start).sum()), int((chosen < stop).sum()))
            positions = positions[to_device(chosen[own] - start, positions.device)]
        chosen = to_device(chosen, self.ids.device)
        return Group(self.ids[chosen], counts[chosen], own, positions), chosen


def group(term: Term, table) -> Group:
    """Unique covered ids of a term with their counts.

    On a GPU, where the size of a result that depends on the data forces a synchronisation, ids stay as they are: each
    counts once, or not at all (with a covered id in its place) where it has no profile.
    """
    ids, by_id = parallel.counted(term.ids), term.lookup is not None
    if by_id:
        ids = parallel.gather(ids)
    covered = table.covered[ids]
    if by_id and not on_gpu(ids):
        ids, counts = ids[covered].unique(return_counts=True)
        return Group(ids, counts.to(torch.get_default_dtype()), parallel.share(len(ids)), None)
    if on_gpu(ids):
        positions = torch.arange(len(ids), device=ids.device)
        ids, counts = torch.where(covered, ids, table.ids[0]), covered.to(torch.get_default_dtype())
        if by_id:
            return Group(ids, counts, parallel.share(len(ids)), None)
    else:
        positions = covered.nonzero().squeeze(1)
        ids, counts = ids[positions], torch.ones(len(positions))
    whole, own = parallel.gather_own(ids)
    return Group(whole, parallel.gather(counts), own, positions)
