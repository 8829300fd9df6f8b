"""The best columns of large score matrices, without sorting them and, for products of tables, without holding them."""

from __future__ import annotations

import torch

_IN_GROUP = 16
_TILE = 128 * _IN_GROUP


def top_k(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``torch.topk`` of the last dimension of scores [b, n], descending; faster where n is large.

    The best k lie in those k groups of columns whose best are the largest.
    """
    n_groups = scores.shape[1] // _IN_GROUP
    if n_groups <= 4 * k:
        return torch.topk(scores, k, dim=1)
    whole = n_groups * _IN_GROUP
    groups = scores[:, :whole].unflatten(1, (_IN_GROUP, n_groups)).amax(1).topk(k, dim=1, sorted=False).indices
    columns = (groups.unsqueeze(2) + torch.arange(0, whole, n_groups)).flatten(1)
    columns = torch.cat([columns, torch.arange(whole, scores.shape[1]).expand(len(scores), -1)], dim=1)
    found = scores.gather(1, columns).topk(k, dim=1)
    return found.values, columns.gather(1, found.indices)


def top_products(
    users: torch.Tensor, items: torch.Tensor, k: int, hidden: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best of the products of two tables.

    Parameters
    ----------
    users : FloatTensor [b, d]
    items : FloatTensor [n, d]
    k : int
        At most n.
    hidden : LongTensor [m], LongTensor [m]
        Row and column of products that count as -inf.

    Returns
    -------
    scores : FloatTensor [b, k]
        Descending.
    columns : LongTensor [b, k]
    """
    n, rows = len(items), torch.arange(len(users)).unsqueeze(1)
    if n <= max(_TILE, 4 * k * _IN_GROUP):
        scores = users @ items.T
        scores[hidden] = -torch.inf
        return top_k(scores, k)
    order = hidden[1].argsort()
    hidden_rows, hidden_columns = hidden[0][order], hidden[1][order]
    starts = range(0, n, _TILE)
    ends = torch.searchsorted(hidden_columns, torch.tensor([*starts, n])).tolist()
    maxima = users.new_empty(len(users), len(starts), _TILE // _IN_GROUP)
    tile = users.new_empty(len(users), _TILE)
    for number, start in enumerate(starts):
        width = min(_TILE, n - start)
        if width == _TILE:
            torch.mm(users, items[start : start + width].T, out=tile)
        else:
            tile.fill_(-torch.inf)[:, :width] = users @ items[start:].T
        part = slice(ends[number], ends[number + 1])
        tile[hidden_rows[part], hidden_columns[part] - start] = -torch.inf
        maxima[:, number] = tile.unflatten(1, (_IN_GROUP, -1)).amax(1)
    groups = maxima.flatten(1).topk(k, dim=1, sorted=False).indices
    per_tile = _TILE // _IN_GROUP
    first = groups // per_tile * _TILE + groups % per_tile
    columns = (first.unsqueeze(2) + torch.arange(0, _TILE, per_tile)).flatten(1)
    beyond = columns >= n
    columns.clamp_(max=n - 1)
    chosen = items.index_select(0, columns.flatten()).unflatten(0, columns.shape)
    scores = torch.bmm(chosen, users.unsqueeze(2)).squeeze(2)
    scores[beyond] = -torch.inf
    keys = hidden_rows * n + hidden_columns
    scores[torch.isin(rows * n + columns, keys)] = -torch.inf
    found = scores.topk(k, dim=1)
    return found.values, columns.gather(1, found.indices)
