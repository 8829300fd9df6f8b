"""Session graphs of a batch at once, where RecBole builds them in Python loops over sequences and their items."""

from __future__ import annotations

import torch


class SessionGraphs:
    """Stands before SRGNN or GCSAN among the base classes: the same graphs, to the last digit."""

    def _get_slice(self, item_seq):
        nodes, alias = distinct_items(item_seq)
        graphs = session_graphs(alias, item_seq)
        return (alias, graphs, nodes, item_seq.gt(0)) if self.backbone == "SRGNN" else (alias, graphs, nodes)


def distinct_items(sequences: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct items of each sequence, ascending, zeros behind them, and where each item stands among them; both [B, L]."""
    ordered = sequences.sort(dim=1).values.contiguous()
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ranks = new.cumsum(dim=1) - 1
    nodes = torch.zeros_like(ordered).scatter_(1, ranks, ordered)
    return nodes, ranks.gather(1, torch.searchsorted(ordered, sequences.contiguous()))


def session_graphs(alias: torch.Tensor, sequences: torch.Tensor) -> torch.Tensor:
    """Incoming and outgoing transitions between the items of each sequence, normalised by degree, [B, L, 2 L]."""
    count, length = sequences.shape
    there = (sequences[:, 1:] != 0).long().cumprod(dim=1).bool()
    edges = torch.zeros(count, length, length, device=sequences.device)
    row, step = there.nonzero(as_tuple=True)
    edges[row, alias[row, step], alias[row, step + 1]] = 1.0
    into, out = edges.sum(dim=1, keepdim=True), edges.sum(dim=2).unsqueeze(1)
    parts = [edges / into.clamp_min(1.0), edges.transpose(1, 2) / out.clamp_min(1.0)]
    return torch.cat(parts, dim=1).transpose(1, 2)
