"""Sparse products and their gradients against dense ones."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_rlmrec.model.alignment.infonce import logsumexp_total, normalize_rows
from recbole_rlmrec.model.graph import Graph, bipartite_adjacency, combine_layers, edge_graph
from recbole_rlmrec.model.sparse import csr_matmul

USERS, ITEMS = np.array([1, 1, 2, 4, 1, 3, 4]), np.array([1, 3, 3, 2, 1, 1, 5])
N_USERS, N_ITEMS = 6, 7
N = N_USERS + N_ITEMS


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def graph() -> Graph:
    return bipartite_adjacency(USERS, ITEMS, N_USERS, N_ITEMS)


def dense(graph, values):
    return torch.zeros(graph.n, graph.n).index_put((graph.row, graph.col), values)


def features(width=4):
    return torch.randn(N, width, requires_grad=True)


def same_gradients(ours, theirs, inputs):
    weight = torch.randn_like(ours)
    for one, other in zip(*(torch.autograd.grad((value * weight).sum(), inputs) for value in (ours, theirs))):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("self_loops", [False, True])
def test_adjacency_is_normalised_and_counts_repeats_once(self_loops):
    a = np.zeros((N, N))
    a[USERS, ITEMS + N_USERS] = a[ITEMS + N_USERS, USERS] = 1
    a += np.eye(N) * self_loops
    degree = a.sum(1)
    scale = np.where(degree > 0, np.maximum(degree, 1) ** -0.5, 0)
    graph = bipartite_adjacency(USERS, ITEMS, N_USERS, N_ITEMS, self_loops)
    torch.testing.assert_close(dense(graph, graph.values), torch.from_numpy(scale[:, None] * a * scale))


def test_transposed_entries(graph):
    assert torch.equal(graph.row[graph.transposed], graph.col)
    assert torch.equal(graph.col[graph.transposed], graph.row)
    assert torch.equal(graph.transposed[graph.transposed], torch.arange(graph.nnz))


def test_propagation_and_its_gradient(graph):
    x = features()
    ours, theirs = graph.propagate(x), dense(graph, graph.values) @ x
    torch.testing.assert_close(ours, theirs)
    same_gradients(ours, theirs, (x,))


def test_dropped_entries_are_not_rescaled_and_have_exact_gradients(graph):
    keep = torch.rand(graph.nnz) < 0.5
    graph.draw_keep = lambda rate: keep
    dropped, x = graph.dropped(0.5), features()
    matrix = dense(graph, graph.values * keep)
    assert not torch.equal(matrix, matrix.T)
    torch.testing.assert_close(dropped.propagate(x), matrix @ x)
    same_gradients(dropped.propagate(x), matrix @ x, (x,))
    torch.testing.assert_close(graph.propagate(x), dense(graph, graph.values) @ x)


def test_each_direction_is_kept_on_its_own():
    rng = np.random.default_rng(0)
    graph = bipartite_adjacency(rng.integers(0, 300, 8000), rng.integers(0, 300, 8000), 300, 300)
    keep = graph.draw_keep(0.8)
    assert abs(keep.double().mean() - 0.8) < 0.02
    assert abs((keep & keep[graph.transposed]).double().mean() - 0.64) < 0.03


def test_weighted_sums_and_their_gradients(graph):
    x, weights = features(), torch.randn(graph.nnz, requires_grad=True)
    ours, theirs = graph.weigh(weights, x), dense(graph, weights) @ x
    torch.testing.assert_close(ours, theirs)
    same_gradients(ours, theirs, (weights, x))


def test_edge_dots_and_their_gradients(graph):
    left, right = features(), features()
    for other in (right, left):
        ours, theirs = graph.dots(left, other), (left @ other.T)[graph.row, graph.col]
        torch.testing.assert_close(ours, theirs)
        same_gradients(ours, theirs, (left,) if other is left else (left, other))


def test_gradients_of_columns_that_are_not_contiguous(graph):
    x = features(8)
    left, right = x.chunk(2, dim=1)
    same_gradients(graph.dots(left, right), (left @ right.T)[graph.row, graph.col], (x,))
    same_gradients(graph.propagate(left), dense(graph, graph.values) @ left, (x,))


def test_float32_products():
    torch.set_default_dtype(torch.float32)
    graph, x = bipartite_adjacency(USERS, ITEMS, N_USERS, N_ITEMS), features()
    assert graph.values.dtype == graph.propagate(x).dtype == graph.dots(x, x).dtype == torch.float32


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize(("dtype", "result"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")])
@pytest.mark.parametrize("shape", [(9, 5, 0.3), (4, 6, 0.0), (1, 1, 1.0), (200, 300, 0.1)])
def test_products_of_csr_matrices(index, dtype, result, shape):
    rows, columns, share = shape
    matrix = sp.random(rows, columns, share, format="csr", random_state=3)
    parts = [torch.from_numpy(part).to(index) for part in (matrix.indptr, matrix.indices)]
    values = torch.from_numpy(matrix.data).to(getattr(torch, result))
    x = torch.randn(columns, 7).to(getattr(torch, dtype)).T.contiguous().T.requires_grad_()
    found = csr_matmul(torch.sparse_csr_tensor(*parts, values, size=matrix.shape), x)
    assert found.dtype == getattr(torch, result) and not found.requires_grad
    torch.testing.assert_close(found.double(), torch.from_numpy(matrix @ x.detach().double().numpy()), rtol=1e-4, atol=1e-4)


def test_edges_are_merged_and_sorted():
    rows, cols = torch.tensor([3, 0, 2, 0, 3, 1]), torch.tensor([0, 3, 2, 3, 0, 1])
    graph = edge_graph(rows, cols, 5)
    assert list(zip(graph.row.tolist(), graph.col.tolist())) == [(0, 3), (1, 1), (2, 2), (3, 0)]
    assert torch.equal(graph.row[graph.transposed], graph.col)
    assert torch.equal(graph.values, torch.ones(4))
    assert graph.crow.tolist() == [0, 1, 2, 3, 4, 4]


def test_edges_of_graphs_beyond_the_precision_of_float32():
    """A position in the dense matrix of a million nodes has no exact float32, and none in 32 bits either."""
    n = 1_000_003
    ends = torch.randint(n, (2, 2000))
    graph = edge_graph(torch.cat([ends[0], ends[1]]), torch.cat([ends[1], ends[0]]), n)
    expected = {pair for a, b in zip(*ends.tolist()) for pair in ((a, b), (b, a))}
    assert set(zip(graph.row.tolist(), graph.col.tolist())) == expected
    assert torch.equal(graph.row[graph.transposed], graph.col)


def test_a_copied_model_shares_its_graph(graph):
    assert copy.deepcopy(graph) is graph


@pytest.mark.parametrize("how", ["mean", "sum"])
@pytest.mark.parametrize("n_layers", [0, 1, 3])
@pytest.mark.parametrize("dropped", [False, True])
def test_combined_layers_and_their_gradient(graph, how, n_layers, dropped):
    graph, x = graph.dropped(0.5) if dropped else graph, features()
    layers = [x]
    for _ in range(n_layers):
        layers.append(dense(graph, graph.values) @ layers[-1])
    ours, theirs = graph.combined(x, n_layers, how), combine_layers(layers, how)
    torch.testing.assert_close(ours, theirs)
    same_gradients(ours, theirs, (x,))


def test_combinations_of_layers():
    layers = [torch.full((2, 3), value) for value in (1.0, 2.0, 6.0)]
    assert torch.equal(combine_layers(layers, "sum"), torch.full((2, 3), 9.0))
    assert torch.equal(combine_layers(layers, "mean"), torch.full((2, 3), 3.0))
    assert combine_layers(layers, "concat").shape == (2, 9)


@pytest.mark.parametrize("block", [1, 10, None])
@pytest.mark.parametrize("biased", [False, True])
def test_total_of_logsumexp(block, biased):
    anchors, columns = torch.randn(7, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    weights, bias = torch.rand(7), torch.randn(5) if biased else None
    ours = logsumexp_total(anchors, columns, weights, 0.3, bias, block)
    logits = anchors @ columns.T / 0.3 + (bias if biased else 0)
    theirs = weights @ logits.logsumexp(1)
    torch.testing.assert_close(ours, theirs)
    same_gradients(ours, theirs, (anchors, columns))


def test_total_of_logsumexp_is_stable():
    anchors = torch.eye(2, dtype=torch.float32, requires_grad=True)
    total = logsumexp_total(anchors, torch.eye(2, dtype=torch.float32), torch.ones(2, dtype=torch.float32), 0.001)
    assert total.item() == pytest.approx(2000)
    total.backward()
    assert anchors.grad.isfinite().all()


def test_rows_of_zeros_stay_zero():
    assert torch.equal(normalize_rows(torch.zeros(2, 3)), torch.zeros(2, 3))
    torch.testing.assert_close(normalize_rows(torch.full((1, 4), 2.0)).norm(), torch.tensor(1.0), rtol=1e-8, atol=0)
