"""Alignment by distance alone: the simplest baseline beside RLMRec's two."""

from __future__ import annotations

import torch

from recbole_rlmrec.model.alignment.anchors import ANCHORS, group
from recbole_rlmrec.model.alignment.base import PROJECTION, Alignment, Step, target_projection, weight_option
from recbole_rlmrec.model.alignment.infonce import normalize_rows
from recbole_rlmrec.model.options import Option


class Distance(Alignment):
    r"""Pull each representation towards the projected profile of the same user or item; nothing is pushed away.

    .. math::
        L = \frac{w}{B} \sum_{t} \sum_{i} \delta(e_i, p_i), \quad p = \sigma_{down}(s)

    over the terms t as in con, with :math:`\delta = 1 - \cos` or the mean squared difference of the coordinates. Nothing
    keeps the projection from mapping all profiles to one point; only the recommender's loss does. ``align_anchors`` as in con.
    """

    options = (
        weight_option(0.01),
        Option("align_distance", "cosine", "1 - cosine, or the mean squared difference", kind=str, words=("cosine", "mse")),
        ANCHORS,
        PROJECTION,
    )

    spreads = True

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        self.down = target_projection(settings, semantic.dim, dim)

    def loss(self, step: Step) -> torch.Tensor:
        total = self.zero()
        for term in step.terms:
            table = getattr(self.semantic, term.side)
            if table.count:
                covered, _ = group(term, table).drawn(self.settings["align_anchors"])
                profiles = covered.part(self.projected(self.down, table, covered.ids))
                distances = self._distances(covered.representations(term).to(profiles.dtype), profiles)
                total = total + covered.part(covered.counts) @ distances
        return total / step.batch_size

    def _distances(self, rows, profiles):
        if self.settings["align_distance"] == "mse":
            return (rows - profiles).square().mean(dim=1)
        return 1 - (normalize_rows(rows) * normalize_rows(profiles)).sum(dim=1)
