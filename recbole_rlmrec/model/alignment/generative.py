"""RLMRec-Gen: generative alignment (paper, section 3.4, equations 10 and 11)."""

from __future__ import annotations

import torch
from torch import nn

from recbole_rlmrec.model.alignment.base import Alignment, Mask, Step, projection
from recbole_rlmrec.model.alignment.infonce import reconstruction_total
from recbole_rlmrec.model.device import to_device


class Generative(Alignment):
    r"""Mask some nodes and let the recommender reconstruct their profiles from the rest of the graph.

    .. math::
        L = \frac{w}{|M|} \sum_{i \in M} -\log \Big( \frac{\exp(\cos(q_i, s_i)/\tau)}
            {\sum_{j \in M} \exp(\cos(q_i, s_j)/\tau) + \epsilon} + \epsilon \Big), \quad q = \sigma_{up}(e)

    with epsilon = 1e-8 as in the released implementation. Users and items are each other's negatives.
    """

    weight = 0.1
    temperature = 0.5
    masks = True

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        self.up = projection(dim, semantic.dim)
        self.mask_token = nn.Parameter(torch.zeros(initial_dim))

    def begin(self) -> Mask:
        """Draw max(int(count * mask_ratio), 1) of the ``count`` nodes with a profile, without replacement.

        Drawn on the CPU, where the numbers of users and items among them are known without waiting for a GPU.
        """
        user, item = self.semantic.user.ids, self.semantic.item.ids
        count = len(user) + len(item)
        drawn = torch.randperm(count)[: max(int(count * self.settings.mask_ratio), 1)]
        of_users = drawn < len(user)
        users, items = drawn[of_users], drawn[~of_users] - len(user)
        return Mask(user[to_device(users, user.device)], item[to_device(items, item.device)])

    def forward(self, step: Step) -> torch.Tensor:
        mask, settings = step.mask, self.settings
        nodes = torch.cat([step.user(mask.user), step.item(mask.item)])
        profiles = torch.cat([self.semantic.user.rows(mask.user), self.semantic.item.rows(mask.item)])
        query = self.project(self.up, nodes, narrow=True)
        total = reconstruction_total(query, profiles, settings.temperature, block=settings.block)
        return settings.weight / len(nodes) * total
