"""RLMRec-Gen: generative alignment (paper, section 3.4, equations 10 and 11)."""

from __future__ import annotations

import torch
from torch import nn

from recbole_rlmrec.model import parallel
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
    """

    options = (
        weight_option(0.1),
        temperature_option(0.5),
        Option("mask_ratio", 0.15, "share of the nodes with a profile that are masked each step", above=0, below=1),
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
        n_users, count = len(mask.user), len(mask.user) + len(mask.item)
        if not count:
            return self.zero()
        own = parallel.share(count)
        items = slice(max(own.start - n_users, 0), max(own.stop - n_users, 0))
        nodes = torch.cat([step.user(mask.user[own]), step.item(mask.item[items])])
        profiles = torch.cat([self.semantic.user.rows(mask.user), self.semantic.item.rows(mask.item)])
        query = self.project(self.up, nodes, narrow=True)
        block = self.settings["align_block"]
        temperature = self.settings["align_temperature"]
        return reconstruction_total(query, profiles, temperature, block=block, first=own.start) / count
