"""DaRec: alignment of what both spaces share, apart from what is specific to each.

Reference:
    Xihong Yang et al. "DaRec: A Disentangled Alignment Framework for Large Language Model and Recommender System." in
    ICDE 2025 (arXiv 2408.08231).
"""

from __future__ import annotations

import torch
from torch import nn

from recbole_rlmrec.model.alignment.anchors import draw
from recbole_rlmrec.model.alignment.base import BLOCK, Alignment, Step, projection, weight_option
from recbole_rlmrec.model.alignment.infonce import block_logsumexp, normalize_rows
from recbole_rlmrec.model.device import to_device
from recbole_rlmrec.model.options import Option

ROUNDS = 10  # of k-means
PARTS = ("shared", "specific")


class DaRec(Alignment):
    r"""Split representations and profiles into shared and specific parts, and align the structure of the shared ones.

    Four networks map the representations C and the profiles L of a step's nodes, users and items together, to a shared and
    a specific part each, of unit length. The loss is w times the sum of

    - orthogonality: the mean squared cosine between a node's shared and specific part, of C and of L;
    - uniformity: :math:`\log` of the mean of :math:`\exp(-2 |x - y|^2)` over all pairs of specific parts, of C and of L;
    - global structure: the mean squared difference of the two cosine similarity matrices of the shared parts;
    - local structure: k-means centres of the shared parts of C and of L, scaled to unit length, are matched, nearest pair
      first; the mean squared distance of matched ones, and what ``darec_push`` makes of the others.

    The paper samples nodes from all, this from those of the batch that have a profile, so that a step reads what the batch
    needs. There is no released implementation; unit length in uniformity and of centres, the sizes, the number of centres
    and the form of the push are not fixed by the paper.
    """

    options = (
        weight_option(0.01),
        Option("darec_size", None, "size of the four parts; empty: that of the representations", kind=int, least=1),
        Option("darec_nodes", 4096, "nodes of a batch that are aligned, drawn where there are more", kind=int, least=1),
        Option("darec_clusters", 4, "number of k-means centres of each space", kind=int, least=1),
        Option(
            "darec_push",
            "hinge",
            "how centres that are not matched part: as far as a squared distance of 1, without end, or not at all",
            kind=str,
            words=("hinge", "distance", "none"),
        ),
        BLOCK,
    )

    def __init__(self, semantic, settings, dim, initial_dim):
        super().__init__(semantic, settings, dim, initial_dim)
        size = settings["darec_size"] or dim
        self.recommender = nn.ModuleDict({part: projection(dim, size) for part in PARTS})
        self.text = nn.ModuleDict({part: projection(semantic.dim, size) for part in PARTS})

    def loss(self, step: Step) -> torch.Tensor:
        nodes, profiles = self._nodes(step)
        if not len(nodes):
            return self.zero()
        spaces = [(self.recommender, nodes), (self.text, profiles)]
        shared, specific = ([normalize_rows(self.project(networks[part], rows)) for networks, rows in spaces] for part in PARTS)
        total = _global_structure(*shared) + self._local_structure(*shared)
        for common, own in zip(shared, specific):
            total = total + (common * own).sum(dim=1).square().mean() + self._uniformity(own)
        return total

    def _nodes(self, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """Representations [m, d] and profiles [m, d_s] of the batch's nodes that have a profile, looked-up ones once."""
        found = [
            _covered([term for term in step.terms if term.side == side], getattr(self.semantic, side)) for side in self.sides
        ]
        sizes = [len(ids) for ids, _ in found]
        drawn = draw(sum(sizes), self.settings["darec_nodes"])
        rows, profiles, start = [], [], 0
        for side, (ids, look), size in zip(self.sides, found, sizes):
            chosen = to_device(drawn[(drawn >= start) & (drawn < start + size)] - start, ids.device)
            start += size
            if len(chosen):
                rows.append(look(chosen))
                profiles.append(getattr(self.semantic, side).rows(ids[chosen]))
        return (torch.cat(rows), torch.cat(profiles)) if rows else (drawn, drawn)

    def _uniformity(self, x):
        squares = x.square().sum(dim=1)
        # |x - y|^2 = |x|^2 + |y|^2 - 2 x y: one more coordinate on either side adds -2 |y|^2, and -2 |x|^2 stands outside.
        anchors, columns = torch.cat([4 * x, torch.ones_like(x[:, :1])], 1), torch.cat([x, -2 * squares.unsqueeze(1)], 1)
        rows = block_logsumexp(anchors, columns, 1.0, self.settings["align_block"]) - 2 * squares
        return rows.logsumexp(dim=0) - 2 * torch.log(squares.new_tensor(float(len(x))))

    def _local_structure(self, ours, theirs):
        start = to_device(draw(len(ours), self.settings["darec_clusters"]), ours.device)
        ours, theirs = (normalize_rows(k_means(rows, rows[start])) for rows in (ours, theirs))
        distances = (ours.unsqueeze(1) - theirs.unsqueeze(0)).square().sum(dim=2)
        matched = match(distances)
        pulled, others = distances[matched].mean(), distances[~matched]
        push = self.settings["darec_push"]
        if push == "none" or not len(others):
            return pulled
        return pulled + ((1 - others).clamp_min(0).mean() if push == "hinge" else -others.mean())


def _covered(terms, table):
    """Ids of one side's terms that have a profile, and the function from positions among them to representations."""
    ids = torch.cat([term.ids for term in terms]) if terms else table.ids[:0]
    positions = table.covered[ids].nonzero().squeeze(1)
    if not terms or not table.count:
        return ids[:0], None
    if terms[0].lookup is not None:
        unique = ids[positions].unique()
        return unique, lambda chosen: terms[0].lookup(unique[chosen])
    rows = torch.cat([term.rows for term in terms])
    return ids[positions], lambda chosen: rows[positions[chosen]]


def _global_structure(ours, theirs):
    """Mean squared difference of two matrices of similarities [m, m], by products of the parts [size, size] alone."""
    within = (ours.T @ ours).square().sum() + (theirs.T @ theirs).square().sum()
    return (within - 2 * (ours.T @ theirs).square().sum()) / len(ours) ** 2


def k_means(rows: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Means of the clusters that k-means finds; gradients pass through the means, not through who belongs where.

    Parameters
    ----------
    rows : torch.Tensor
        [m, d]
    centres : torch.Tensor
        Where the centres start [k, d].

    Returns
    -------
    torch.Tensor
        [at most k, d]: clusters that end up without rows are left out.
    """
    fixed, centres = rows.detach(), centres.detach().clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(fixed, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
        sums, counts = _sums(fixed, nearest, len(centres))
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    sums, counts = _sums(rows, nearest, len(centres))
    filled = counts.squeeze(1) > 0
    return sums[filled] / counts[filled]


def _sums(rows, cluster, k):
    counts = torch.zeros(k, 1, dtype=rows.dtype, device=rows.device).index_add(0, cluster, torch.ones_like(rows[:, :1]))
    return torch.zeros(k, rows.shape[1], dtype=rows.dtype, device=rows.device).index_add(0, cluster, rows), counts


def match(distances: torch.Tensor) -> torch.Tensor:
    """Which rows and columns belong together, the nearest first and each once: bool [a, b]."""
    rest, matched = distances.detach().clone(), torch.zeros_like(distances, dtype=torch.bool)
    for _ in range(min(rest.shape)):
        row, column = divmod(int(rest.argmin()), rest.shape[1])
        matched[row, column] = True
        rest[row], rest[:, column] = float("inf"), float("inf")
    return matched
