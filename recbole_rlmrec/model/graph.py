"""The normalised user-item graph and propagation over it.

Nodes are users first, then items, by RecBole's internal id: node ``u`` is user ``u``, node ``n_users + i`` is item ``i``.
"""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch.autograd import Function


class NormalizedAdjacency:
    r"""Symmetrically normalised adjacency of the bipartite interaction graph, in CSR form.

    .. math:: \hat{A} = D^{-1/2} A D^{-1/2}

    Parameters
    ----------
    matrix : scipy.sparse.csr_matrix
        Symmetric matrix [n, n] whose sparsity pattern is symmetric and whose indices are sorted.

    Attributes
    ----------
    crow, col : torch.LongTensor
        CSR row pointers [n + 1] and column indices [nnz].
    values : torch.Tensor
        Stored entries [nnz], in torch's default floating type.
    transposed : torch.LongTensor
        For each stored entry (r, c) the position of the entry (c, r), [nnz].
    """

    def __init__(self, matrix: sp.csr_matrix):
        entries = sp.csr_matrix((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
        self.n = matrix.shape[0]
        self.crow = torch.from_numpy(matrix.indptr.astype(np.int64))
        self.col = torch.from_numpy(matrix.indices.astype(np.int64))
        self.values = torch.from_numpy(matrix.data).to(torch.get_default_dtype())
        self.transposed = torch.from_numpy(entries.T.tocsr().data.astype(np.int64))

    def to(self, device: torch.device | str) -> NormalizedAdjacency:
        """Move the arrays to a device, in place, and return self (as RecBole's models expect of an adjacency)."""
        for name in ("crow", "col", "values", "transposed"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def __deepcopy__(self, memo):
        return self

    @property
    def nnz(self) -> int:
        """Number of stored entries, both directions of every edge counted."""
        return len(self.col)

    @property
    def row(self) -> torch.Tensor:
        """Row of each stored entry, [nnz]."""
        counts = self.crow[1:] - self.crow[:-1]
        return torch.arange(self.n, device=self.col.device).repeat_interleave(counts, output_size=self.nnz)

    def draw_keep(self, keep_rate: float) -> torch.Tensor:
        """Draw which stored entries survive edge dropout: each direction of an edge on its own, [nnz] bool."""
        return torch.rand(self.nnz, device=self.col.device) < keep_rate

    def dropped(self, keep_rate: float) -> torch.Tensor:
        """Values [nnz] after edge dropout; entries are neither rescaled nor degrees recomputed."""
        return self.values * self.draw_keep(keep_rate)

    def propagate(self, x: torch.Tensor, values: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply the adjacency by node features.

        Parameters
        ----------
        x : torch.Tensor
            Node features [n, d].
        values : torch.Tensor, optional
            Stored entries [nnz] in place of the adjacency's own, for example from :meth:`dropped`. They are constants:
            no gradient flows into them.

        Returns
        -------
        torch.Tensor
            [n, d]; its gradient with respect to ``x`` is the product with the transposed matrix, whose values are the
            stored ones in another order, so that nothing has to be kept or transposed.
        """
        if values is None:
            values = backward_values = self.values
        else:
            backward_values = values[self.transposed] if x.requires_grad else values
        return _SparseProduct.apply(x, self, values, backward_values)

    def matmul(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """CSR product without gradient, [n, n] x [n, d]."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
            matrix = torch.sparse_csr_tensor(
                self.crow, self.col, values.to(x.dtype), size=(self.n, self.n), check_invariants=False
            )
        return matrix @ x


class _SparseProduct(Function):
    @staticmethod
    def forward(ctx, x, adjacency, values, backward_values):
        ctx.adjacency, ctx.backward_values = adjacency, backward_values
        return adjacency.matmul(values, x)

    @staticmethod
    def backward(ctx, grad):
        return ctx.adjacency.matmul(ctx.backward_values, grad.contiguous()), None, None, None


def bipartite_adjacency(
    users: np.ndarray, items: np.ndarray, n_users: int, n_items: int, self_loops: bool = False
) -> NormalizedAdjacency:
    """Build the normalised adjacency of training interactions, without a loop over them.

    Parameters
    ----------
    users, items : array of int
        Internal ids of the interactions, [n_interactions]; repeats count once.
    n_users, n_items : int
        Numbers of internal ids, padding included.
    self_loops : bool
        Normalise A + I in place of A (GCCF's base model).

    Returns
    -------
    NormalizedAdjacency
        Over n_users + n_items nodes; a node without interactions has an empty row (or its loop alone).
    """
    n = n_users + n_items
    users, items = np.asarray(users), np.asarray(items) + n_users
    rows, cols = np.concatenate([users, items]), np.concatenate([items, users])
    if self_loops:
        rows, cols = np.concatenate([rows, np.arange(n)]), np.concatenate([cols, np.arange(n)])
    matrix = sp.csr_matrix((np.ones(len(rows)), (rows, cols)), shape=(n, n))
    matrix.sum_duplicates()
    matrix.sort_indices()
    degree = np.diff(matrix.indptr).astype(np.float64)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(n), where=degree > 0)
    matrix.data = np.repeat(scale, np.diff(matrix.indptr)) * scale[matrix.indices]
    return NormalizedAdjacency(matrix)


def dataset_adjacency(dataset, self_loops: bool = False) -> NormalizedAdjacency:
    """Normalised adjacency of a RecBole training dataset."""
    return bipartite_adjacency(
        dataset.inter_feat[dataset.uid_field].numpy(),
        dataset.inter_feat[dataset.iid_field].numpy(),
        dataset.user_num,
        dataset.item_num,
        self_loops,
    )


def combine_layers(layers: list[torch.Tensor], how: str) -> torch.Tensor:
    """Combine the layers' outputs E_0..E_L, each [n, d]: ``mean`` (RecBole), ``sum`` (the paper) or ``concat`` (GCCF)."""
    if how == "concat":
        return torch.cat(layers, dim=1)
    total = torch.stack(layers).sum(dim=0)
    return total / len(layers) if how == "mean" else total
