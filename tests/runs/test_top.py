"""The best of large score matrices, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_rlmrec.runs import top
from recbole_rlmrec.runs.lists import diverse
from recbole_rlmrec.runs.top import top_k, top_products

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("n", [5, 64, 1000, 4099])
@pytest.mark.parametrize("k", [1, 5])
def test_top_k(n, k):
    scores = RNG.normal(size=(7, n)).astype(np.float32)
    scores[0, : n // 2] = -np.inf
    values, columns = top_k(torch.from_numpy(scores), k)
    assert np.array_equal(values.numpy(), -np.sort(-scores, axis=1)[:, :k])
    assert np.array_equal(np.take_along_axis(scores, columns.numpy(), axis=1), values.numpy())


@pytest.mark.parametrize("n", [3, 100, 2048, 2049, 6000])
def test_top_products(n):
    users, items = (RNG.normal(size=(size, 6)).astype(np.float32) for size in (9, n))
    scores = (users.astype(np.float64) @ items.T.astype(np.float64)).astype(np.float64)
    best = np.argsort(-scores, axis=1)[:, : n // 2 + 1]
    rows = np.repeat(np.arange(9), 2)
    hidden = rows, best[:, [0, min(2, best.shape[1] - 1)]].ravel()
    scores[hidden] = -np.inf
    k = min(20, n)
    values, columns = top_products(*map(torch.from_numpy, (users, items)), k, tuple(map(torch.from_numpy, hidden)))
    assert values.numpy() == pytest.approx(-np.sort(-scores, axis=1)[:, :k], abs=1e-4)
    assert np.take_along_axis(scores, columns.numpy(), axis=1) == pytest.approx(values.numpy(), abs=1e-4)
    assert all(len(set(row)) == k for row in columns.tolist())


def test_products_whose_items_are_nearly_all_hidden():
    users, items = torch.ones(2, 3), torch.rand(top._TILE + 5, 3)
    rows = torch.arange(2).repeat_interleave(len(items) - 2)
    columns = torch.arange(2, len(items)).repeat(2)
    values, found = top_products(users, items, 4, (rows, columns))
    assert set(found[0, :2].tolist()) == {0, 1} and torch.isinf(values[:, 2:]).all()


def test_diverse_lists():
    scores = -np.sort(-RNG.normal(size=(6, 30)), axis=1).astype(np.float32)
    scores[5, 2:] = -np.inf
    items = np.stack([RNG.permutation(40)[:30] for _ in range(6)])
    vectors = RNG.normal(size=(40, 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    values, chosen = diverse(*map(torch.from_numpy, (scores, items, vectors)), 8, 0.4)
    for row in range(5):
        picked = _marginal_relevance(scores[row], vectors[items[row]], 8, 0.4)
        assert chosen[row].tolist() == items[row, picked].tolist()
        assert values[row].tolist() == scores[row, picked].tolist()
    assert set(chosen[5, :2].tolist()) == set(items[5, :2].tolist()) and torch.isinf(values[5, 2:]).all()


def _marginal_relevance(scores, vectors, k, weight):
    relevance, left, picked = (scores - scores.min()) / (scores.max() - scores.min()), list(range(len(scores))), []
    for _ in range(k):
        likeness = np.max(vectors @ vectors[picked].T, axis=1) if picked else np.zeros(len(scores))
        gain = (1 - weight) * relevance - weight * likeness
        picked.append(max(left, key=lambda place, gain=gain: gain[place]))
        left.remove(picked[-1])
    return picked
