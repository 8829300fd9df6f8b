"""RLMRec-Gen: generative alignment (paper, section 3.4, equations 10 and 11)."""

from __future__ import annotations

import torch
from torch import nn

from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.alignment.anchors import ANCHORS, draw
from recbole_rlmrec.model.alignment.base import (
    BLOCK,
    Alignment,
    Mask,
    Step,
    projection,
    temperature_option,
    weight_option,
)
from recbole_rlmrec.model.alignment.infonce import reconstruction_total
from recbole_rlmrec.model.device import to_device
from recbole_rlmrec.model.options import Option


class Generative(Alignment):
    r"""Mask some nodes and let the recommender reconstruct their profiles from the rest of the graph.

    .. math::
        L = \frac{w}{|M|} \sum_{i \in M} -\log \Big( \frac{\exp(\cos(q_i, s_i)/\tau)}
            {\sum_{j \in M} \exp(\cos(q_i, s_j)/\tau) + \epsilon} + \epsilon \Big), \quad q = \sigma_{up}(e)

    with epsilon = 1e-8 as in the released implementation. Users and items are each other's negatives.

    ``align_anchors: n`` takes the mean over n nodes i of M, drawn in each step; the sum over j stays that over M, and all of M
    are masked. The expectation over the draw is the loss above, and so is that of its gradient.
    """

    options = (
        weight_option(0.1),
        temperature_option(0.5),
        Option("mask_ratio", 0.15, "share of the nodes with a profile that are masked each step", above=0, below=1),
        ANCHORS,
        BLOCK,
    )
    masks = spreads = True

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        self.up = projection(dim, semantic.dim)
        self.mask_token = nn.Parameter(torch.zeros(initial_dim))

    def begin(self) -> Mask:
        """Draw max(int(count * mask_ratio), 1) of the ``count`` nodes with a profile, without replacement.

        Drawn on the CPU, where the numbers of users and items among them are known without waiting for a GPU.
        """
        user, item = (getattr(self.semantic, side).ids[: None if side in self.sides else 0] for side in ("user", "item"))
        count = len(user) + len(item)
        drawn = torch.randperm(count)[: max(int(count * self.settings["mask_ratio"]), 1)]
        of_users = drawn < len(user)
        users, items = drawn[of_users], drawn[~of_users] - len(user)
        return Mask(user[to_device(users, user.device)], item[to_device(items, item.device)])

    def loss(self, step: Step) -> torch.Tensor:
        mask = step.mask
        if not len(mask.user) + len(mask.item):
            return self.zero()
        anchors, others = _split(mask, self.settings["align_anchors"])
        n_users, count = len(anchors.user), len(anchors.user) + len(anchors.item)
        own = parallel.share(count)
        items = slice(max(own.start - n_users, 0), max(own.stop - n_users, 0))
        nodes = torch.cat([step.user(anchors.user[own]), step.item(anchors.item[items])])
        profiles = torch.cat([rows for part in (anchors, others) for rows in self._profiles(part)])
        query = self.project(self.up, nodes, narrow=True)
        block = self.settings["align_block"]
        temperature = self.settings["align_temperature"]
        return reconstruction_total(query, profiles, temperature, block=block, first=own.start) / count

    def _profiles(self, nodes: Mask) -> list[torch.Tensor]:
        sides = (self.semantic.user, nodes.user), (self.semantic.item, nodes.item)
        return [table.rows(ids) for table, ids in sides]


def _split(mask: Mask, number: int | str) -> tuple[Mask, Mask]:
    """``number`` of the masked nodes, every choice equally likely, and the others."""
    n_users, count = len(mask.user), len(mask.user) + len(mask.item)
    if number == "all" or number >= count:
        return mask, Mask(mask.user[:0], mask.item[:0])
    is_anchor = torch.zeros(count, dtype=torch.bool).index_fill_(0, draw(count, number), True)
    parts = []
    for chosen in (is_anchor, ~is_anchor):
        users, items = chosen[:n_users].nonzero().squeeze(1), chosen[n_users:].nonzero().squeeze(1)
        parts.append(Mask(mask.user[to_device(users, mask.user.device)], mask.item[to_device(items, mask.item.device)]))
    return tuple(parts)
