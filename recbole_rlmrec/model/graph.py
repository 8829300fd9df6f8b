"""The user-item graph in CSR form and products with it, with exact gradients and nothing of size edges x d kept.

Nodes are users first, then items, by RecBole's internal id: node ``u`` is user ``u``, node ``n_users + i`` is item ``i``.
"""

from __future__ import annotations

import copy

import numpy as np
import scipy.sparse as sp
import torch
from torch.autograd import Function

from recbole_rlmrec.model.device import at_least_float32, no_autocast
from recbole_rlmrec.model.sparse import csr_matmul


class Graph:
    """A square sparse matrix over the nodes whose pattern is symmetric: entry (r, c) is stored where (c, r) is.

    Parameters
    ----------
    crow, col : torch.LongTensor
        CSR row pointers [n + 1] and column indices [nnz], sorted within a row.
    values : torch.Tensor
        Stored entries [nnz].
    transposed : torch.LongTensor
        For each stored entry (r, c) the position of the entry (c, r), [nnz].
    symmetric : bool
        Whether the values of (r, c) and (c, r) are always equal.
    """

    def __init__(self, crow, col, values, transposed, symmetric: bool = True):
        self.n = len(crow) - 1
        self.crow, self.col, self.values, self.transposed = crow, col, values, transposed
        self.symmetric = symmetric
        self._narrow = _narrow(crow, len(col)), _narrow(col, len(col))
        self._row = self._transposed_values = None

    def to(self, device: torch.device | str) -> Graph:
        """Move the arrays to a device, in place, and return self (as RecBole's models expect of an adjacency)."""
        for name in ("crow", "col", "values", "transposed"):
            setattr(self, name, getattr(self, name).to(device))
        self._narrow = tuple(index.to(device) for index in self._narrow)
        self._row = self._transposed_values = None
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
        if self._row is None:
            counts = self.crow[1:] - self.crow[:-1]
            self._row = torch.arange(self.n, device=self.col.device).repeat_interleave(counts, output_size=self.nnz)
        return self._row

    @property
    def transposed_values(self) -> torch.Tensor:
        """Stored entries of the transposed matrix, [nnz]."""
        if self.symmetric:
            return self.values
        if self._transposed_values is None:
            self._transposed_values = self.transpose(self.values)
        return self._transposed_values

    def with_values(self, values: torch.Tensor, symmetric: bool = False) -> Graph:
        """The same pattern with other stored entries [nnz]; they are constants, no gradient flows into them."""
        other = copy.copy(self)
        other.values, other.symmetric, other._transposed_values = values, symmetric, None
        return other

    def draw_keep(self, keep_rate: float) -> torch.Tensor:
        """Draw which stored entries survive edge dropout: each direction of an edge on its own, [nnz] bool."""
        return torch.rand(self.nnz, device=self.col.device) < keep_rate

    def dropped(self, keep_rate: float) -> Graph:
        """The graph after edge dropout; entries are neither rescaled nor degrees recomputed."""
        return self.with_values(self.values * self.draw_keep(keep_rate))

    def transpose(self, values: torch.Tensor) -> torch.Tensor:
        """Values [nnz] of the entries (r, c) in the places of the entries (c, r)."""
        return values.index_select(0, self.transposed)

    def propagate(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply the matrix by node features.

        Parameters
        ----------
        x : torch.Tensor
            Node features [n, d].

        Returns
        -------
        torch.Tensor
            [n, d]; its gradient with respect to ``x`` is the product with the transposed matrix, whose values are the
            stored ones in another order, so that nothing has to be kept or transposed.
        """
        return _Propagate.apply(x, self)

    def combined(self, x: torch.Tensor, n_layers: int, how: str) -> torch.Tensor:
        """Sum or mean of x, the product, the product of that, up to ``n_layers``; of the layers two exist at a time.

        Parameters
        ----------
        x : torch.Tensor
            Node features [n, d].
        n_layers : int
        how : {"mean", "sum"}

        Returns
        -------
        torch.Tensor
            [n, d], what :func:`combine_layers` makes of :meth:`propagate`, with its gradient.
        """
        return _Combined.apply(x, self, n_layers, n_layers + 1 if how == "mean" else 1)

    def weigh(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Sum the features of each node's neighbours with weights, with gradients to both.

        Parameters
        ----------
        weights : torch.Tensor
            Weight of each stored entry [nnz], in place of ``values``.
        x : torch.Tensor
            Node features [n, d].

        Returns
        -------
        torch.Tensor
            [n, d], row r is the sum over the entries (r, c) of weight * x[c].
        """
        return _Weigh.apply(weights, x, self)

    def row_sums(self, weights: torch.Tensor) -> torch.Tensor:
        """Sum of the weights [nnz] of each row's entries, [n, 1], with its gradient."""
        return _Weigh.apply(weights, weights.new_ones(self.n, 1), self)

    def dots(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Dot product left[r] . right[c] of every stored entry (r, c), with gradients to both.

        Parameters
        ----------
        left, right : torch.Tensor
            Node features [n, d].

        Returns
        -------
        torch.Tensor
            [nnz]
        """
        return _Dots.apply(left, right, self)

    def matmul(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Product of the pattern filled with ``values`` [nnz] and x [n, d], without gradient."""
        return csr_matmul(self._csr(values.to(at_least_float32(x).dtype)), x)

    def sample(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """The stored entries of left @ right.T, [nnz], without gradient."""
        with no_autocast(left.device):
            left, right = at_least_float32(left).contiguous(), at_least_float32(right).contiguous()
            pattern = self._csr(self.values.to(left.dtype))
            return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()

    def _csr(self, values: torch.Tensor) -> torch.Tensor:
        return torch.sparse_csr_tensor(*self._narrow, values, size=(self.n, self.n), check_invariants=False)


class NormalizedAdjacency(Graph):
    r"""Symmetrically normalised adjacency of the bipartite interaction graph.

    .. math:: \hat{A} = D^{-1/2} A D^{-1/2}

    Parameters
    ----------
    matrix : scipy.sparse.csr_matrix
        Symmetric matrix [n, n] whose indices are sorted.
    """

    def __init__(self, matrix: sp.csr_matrix):
        entries = sp.csr_matrix((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
        super().__init__(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data).to(torch.get_default_dtype()),
            torch.from_numpy(entries.T.tocsr().data.astype(np.int64)),
        )


class _Propagate(Function):
    @staticmethod
    def forward(ctx, x, graph):
        ctx.graph = graph
        return graph.matmul(graph.values, x)

    @staticmethod
    def backward(ctx, grad):
        return ctx.graph.matmul(ctx.graph.transposed_values, grad.contiguous()), None


class _Combined(Function):
    @staticmethod
    def forward(ctx, x, graph, n_layers, divisor):
        ctx.shape = graph, n_layers, divisor
        layer, total = x, at_least_float32(x).clone()
        for _ in range(n_layers):
            layer = graph.matmul(graph.values, layer)
            total += layer
        return total.div_(divisor)

    @staticmethod
    def backward(ctx, grad):
        graph, n_layers, divisor = ctx.shape
        grad = grad / divisor
        total = grad
        for _ in range(n_layers):  # g + A'(g + A'(g + ...))
            total = graph.matmul(graph.transposed_values, total).add_(grad)
        return total, None, None, None


class _Weigh(Function):
    @staticmethod
    def forward(ctx, weights, x, graph):
        ctx.graph = graph
        ctx.save_for_backward(weights, x)
        return graph.matmul(weights, x)

    @staticmethod
    def backward(ctx, grad):
        (weights, x), graph, grad = ctx.saved_tensors, ctx.graph, grad.contiguous()
        grad_weights = graph.sample(grad, x) if ctx.needs_input_grad[0] else None
        grad_x = graph.matmul(graph.transpose(weights), grad) if ctx.needs_input_grad[1] else None
        return grad_weights, grad_x, None


class _Dots(Function):
    @staticmethod
    def forward(ctx, left, right, graph):
        ctx.graph = graph
        ctx.save_for_backward(left, right)
        return graph.sample(left, right)

    @staticmethod
    def backward(ctx, grad):
        (left, right), graph = ctx.saved_tensors, ctx.graph
        grad_left = graph.matmul(grad, right) if ctx.needs_input_grad[0] else None
        grad_right = graph.matmul(graph.transpose(grad), left) if ctx.needs_input_grad[1] else None
        return grad_left, grad_right, None


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


def edge_graph(rows: torch.Tensor, cols: torch.Tensor, n: int) -> Graph:
    """Graph of edges that are given in both directions; repeated edges are merged and every value is 1.

    Parameters
    ----------
    rows, cols : torch.LongTensor
        Nodes of the edges, [k].
    n : int
        Number of nodes.
    """
    keys = torch.unique(rows * n + cols)
    rows = torch.div(keys, n, rounding_mode="floor")
    cols = keys - rows * n
    crow = torch.searchsorted(keys, torch.arange(n + 1, device=keys.device) * n)
    ones = torch.ones(len(keys), device=keys.device)
    return Graph(crow, cols, ones, torch.argsort(cols * n + rows))


def combine_layers(layers: list[torch.Tensor], how: str) -> torch.Tensor:
    """Combine the layers' outputs E_0..E_L, each [n, d]: ``mean`` (RecBole), ``sum`` (the paper) or ``concat`` (GCCF)."""
    if how == "concat":
        return torch.cat(layers, dim=1)
    total = sum(layers[1:], start=layers[0])
    return total / len(layers) if how == "mean" else total


def _narrow(index: torch.Tensor, nnz: int) -> torch.Tensor:
    """Indices as int32 where they fit, which sparse products take as they are."""
    return index.int() if nnz < 2**31 else index
