"""RLMRec-Con: contrastive alignment (paper, section 3.3, equations 8 and 9)."""

from __future__ import annotations

import torch

from recbole_rlmrec.model.alignment.anchors import ANCHORS, draw, group
from recbole_rlmrec.model.alignment.base import (
    BLOCK,
    PROJECTION,
    Alignment,
    Step,
    schedule_option,
    target_projection,
    temperature_option,
    weight_option,
)
from recbole_rlmrec.model.alignment.infonce import block_logsumexp, logsumexp_total, normalize_rows
from recbole_rlmrec.model.device import on_gpu, to_device
from recbole_rlmrec.model.options import Option

ABSENT = -1e30  # the logarithm of a count of zero, finite


class Contrastive(Alignment):
    r"""Pull each representation towards the projected profile of the same user or item, away from those of others.

    .. math::
        L = \frac{w}{B} \sum_{t} \sum_{i} \Big[ -\frac{\cos(e_i, p_i)}{\tau}
            + \log \sum_{c \in C_t} \exp \frac{\cos(e_i, c)}{\tau} \Big], \quad p = \sigma_{down}(s)

    over the terms t: users, positive items, negative items. Repeats in a batch are multiplicities: the loss over unique
    ids, weighted by their counts, with log-counts added to the candidates' logits, equals the loss with repeats. Rows
    without a profile are neither anchors nor candidates.

    ``align_anchors: n`` sums over n of a term's unique ids i, drawn in each step and weighted for the others; the candidates
    stay. The expectation over the draw is the loss above, and so is that of its gradient.

    The gradient of a cosine grows as representations get shorter, that of BPR shrinks with them: at initialisation, where
    they are short, a weight of 0.01 (the paper's for most cells) outweighs BPR and spreads users and items over all
    directions before popular items have found theirs. Hence a smaller default that grows over the first epochs.
    """

    options = (
        weight_option(0.001),
        temperature_option(0.2),
        schedule_option("warmup"),
        Option(
            "align_negatives",
            "batch",
            "negatives: the batch (the paper), all users (the released code), or how many to draw each step",
            kind=int,
            words=("batch", "all"),
            least=1,
        ),
        ANCHORS,
        PROJECTION,
        BLOCK,
    )
    spreads = True

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        self.down = target_projection(settings, semantic.dim, dim)

    def loss(self, step: Step) -> torch.Tensor:
        total = torch.zeros((), device=self.semantic.user.covered.device)
        for side in ("user", "item"):
            terms = [term for term in step.terms if term.side == side]
            if terms and getattr(self.semantic, side).count:
                total = total + self._side(side, terms)
        return total / step.batch_size

    def _side(self, side, terms):
        table = getattr(self.semantic, side)
        groups = [group(term, table) for term in terms]
        anchored = [covered.drawn(self.settings["align_anchors"]) for covered in groups]
        candidates = self._candidates(side, table)
        ids = [covered.ids for covered in groups] if candidates is None else [covered.ids for covered, _ in anchored]
        everyone = candidates is not None and len(candidates) == table.count
        if everyone:
            ids, places = table.ids, [torch.searchsorted(table.ids, one) for one in ids]
        else:
            ids, places = _union(ids if candidates is None else [*ids, candidates])
        projected = normalize_rows(self.projected(self.down, table, ids))
        temperature, total = self.settings["align_temperature"], 0.0
        for term, batch, (covered, chosen), place in zip(terms, groups, anchored, places):
            anchors, counts = normalize_rows(covered.representations(term).to(projected.dtype)), covered.part(covered.counts)
            columns = projected[place] if candidates is None else None
            own = projected[covered.part(place)] if columns is None else covered.part(columns[chosen])
            positive = (anchors * own).sum(dim=1) / temperature
            total = total - counts @ positive
            if columns is not None and term.lookup is None and not on_gpu(ids):  # repeats of a user, as counts
                repeats = torch.bincount(place, minlength=len(projected)).to(projected.dtype)
                total = total + self._total(anchors, projected, counts, repeats.log().clamp_min(ABSENT))
            elif columns is not None:
                total = total + self._total(anchors, columns, counts, batch.counts.log().clamp_min(ABSENT))
            elif everyone:
                total = total + self._total(anchors, projected, counts)
            else:  # the own profile counts once, drawn or not
                lse = block_logsumexp(anchors, projected[places[-1]], temperature, block=self.settings["align_block"])
                ids = covered.part(covered.ids)
                nearest = torch.searchsorted(candidates, ids).clamp_max(len(candidates) - 1)
                drawn = candidates[nearest] == ids
                total = total + counts @ torch.where(drawn, lse, torch.logaddexp(lse, positive))
        return total

    def _total(self, anchors, columns, counts, bias=None):
        if not len(anchors):
            return 0.0
        temperature, block = self.settings["align_temperature"], self.settings["align_block"]
        return logsumexp_total(anchors, columns, counts, temperature, bias, block)

    def _candidates(self, side, table) -> torch.Tensor | None:
        negatives = self.settings["align_negatives"]
        if negatives == "all":
            return table.ids if side == "user" else None
        if isinstance(negatives, int):
            return table.ids[to_device(draw(table.count, negatives), table.ids.device)]
        return None


def _union(groups: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """All ids of several groups, each once (on a GPU with repeats), and where each group's ids stand among them."""
    ids, sizes = torch.cat(groups), [len(group) for group in groups]
    if on_gpu(ids):
        return ids, list(torch.arange(len(ids), device=ids.device).split(sizes))
    ids, places = ids.unique(return_inverse=True)
    return ids, list(places.split(sizes))
