"""Means over the items of each user's training interactions, with exact gradients."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch.autograd import Function

from recbole_rlmrec.model.sparse import csr_matmul


class HistoryMean:
    """Mean over each user's training items, of those items alone that count.

    Parameters
    ----------
    dataset : recbole.data.dataset.Dataset
        The training split; repeated interactions count once.
    counts : torch.BoolTensor
        Which items count [n_items].
    """

    def __init__(self, dataset, counts: torch.Tensor):
        users, items = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
        kept = counts.cpu().numpy()[items]
        shape = dataset.user_num, dataset.item_num
        matrix = sp.csr_matrix((np.ones(kept.sum()), (users[kept], items[kept])), shape=shape)
        matrix.sum_duplicates()
        degree = np.diff(matrix.indptr)
        matrix.data = np.repeat(1 / np.maximum(degree, 1), degree)
        self._forward, self._backward = (_csr(part, counts.device) for part in (matrix, matrix.T.tocsr()))
        self.known = torch.from_numpy(degree > 0).to(counts.device)

    def __call__(self, items: torch.Tensor) -> torch.Tensor:
        """Means [n_users, d] of a table of items [n_items, d]; zero for users of whom no item counts."""
        return _Mean.apply(items, self)

    def __deepcopy__(self, memo) -> HistoryMean:
        return self


class _Mean(Function):
    @staticmethod
    def forward(ctx, items, history):
        ctx.history = history
        return csr_matmul(history._forward, items)

    @staticmethod
    def backward(ctx, grad):
        return csr_matmul(ctx.history._backward, grad), None


def _csr(matrix: sp.csr_matrix, device) -> torch.Tensor:
    parts = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)
    crow, col, values = (torch.from_numpy(part).to(device) for part in parts)
    values = values.to(torch.get_default_dtype())
    return torch.sparse_csr_tensor(crow, col, values, size=matrix.shape, check_invariants=False)
