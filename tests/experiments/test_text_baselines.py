"""Vectorised baselines against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_rlmrec.experiments import text_baselines as baselines

N_USERS, N_ITEMS, WIDTH = 12, 15, 4


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    train = (rng.random((N_USERS, N_ITEMS)) < 0.25).astype(np.float32)
    train[:, [3, 9]] = 0  # cold items
    train[7] = 0  # a cold user
    there = np.ones(N_ITEMS, dtype=bool)
    there[5] = False
    return sp.csr_matrix(train), rng.normal(size=(N_ITEMS, WIDTH)).astype(np.float32) + 3, there


def everything(scorer, n=N_USERS):
    return np.asarray(scorer(slice(0, n)))


def cosine(a, b):
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / size if size else 0.0


def test_text_knn(data):
    train, vectors, there = data
    found = everything(baselines.text_knn(vectors, there, train))
    mean = np.mean([vectors[i] for i in range(N_ITEMS) if there[i]], axis=0)
    for user in range(N_USERS):
        mine = [vectors[i] - mean for i in train[user].indices if there[i]]
        for item in range(N_ITEMS):
            expected = cosine(np.mean(mine, axis=0), vectors[item] - mean) if mine and there[item] else 0.0
            assert found[user, item] == pytest.approx(expected, abs=1e-5)


def test_item_knn(data):
    train, *_ = data
    found, dense = everything(baselines.item_knn(train, nearest=3)), train.toarray()
    for item in range(N_ITEMS):
        near = sorted(((cosine(dense[:, item], dense[:, j]), j) for j in range(N_ITEMS) if j != item), reverse=True)[:3]
        least = near[-1][0]
        kept = {j: c for j in range(N_ITEMS) if j != item and (c := cosine(dense[:, item], dense[:, j])) >= least - 1e-6}
        for user in range(N_USERS):
            assert found[user, item] == pytest.approx(sum(kept.get(j, 0) for j in train[user].indices), abs=1e-4)


def test_profile_knn(data):
    train, *_ = data
    rng = np.random.default_rng(1)
    profiles, there = rng.normal(size=(N_USERS, WIDTH)), np.ones(N_USERS, dtype=bool)
    found, dense = everything(baselines.profile_knn(profiles, there, train, nearest=4)), train.toarray()
    centred = profiles - profiles.mean(axis=0)
    for user in range(N_USERS):
        others = [(cosine(centred[user], centred[v]), v) for v in range(N_USERS) if v != user and dense[v].any()]
        expected = sum((c * dense[v] for c, v in sorted(others, reverse=True)[:4] if c > 0), np.zeros(N_ITEMS))
        assert np.allclose(found[user], expected, atol=1e-4)


def test_popularity_by_category(data):
    train, vectors, there = data
    counts = baselines.popularity(train)
    categories = [["a", "b", "c"][n % 3] for n in range(N_ITEMS)]
    found = baselines.category_popularity(counts, categories, vectors, there)
    for item in (3, 9):
        warm = [counts[j] for j in range(N_ITEMS) if categories[j] == categories[item] and counts[j]]
        assert found[item] == pytest.approx(np.mean(warm), abs=1e-5)
    seen = counts > 0
    assert np.array_equal(found[seen], counts[seen])


def test_popularity_of_the_nearest_texts_where_there_is_no_category(data):
    train, vectors, there = data
    counts = baselines.popularity(train)
    found = baselines.category_popularity(counts, [""] * N_ITEMS, vectors, there, nearest=2)
    mean = vectors[there].mean(axis=0)
    for item in (3, 9):
        near = sorted(
            ((cosine(vectors[item] - mean, vectors[j] - mean), counts[j]) for j in range(N_ITEMS) if counts[j] and there[j]),
            reverse=True,
        )[:2]
        assert found[item] == pytest.approx(np.mean([count for _, count in near]))
    without = np.zeros(N_ITEMS, dtype=bool)
    found = baselines.category_popularity(counts, [""] * N_ITEMS, vectors, without)
    assert found[3] == pytest.approx(counts[counts > 0].mean())


def test_measure_against_a_loop(data, monkeypatch):
    train, *_ = data
    monkeypatch.setattr(baselines, "_SCORES", 40)  # several blocks
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(N_USERS, N_ITEMS)).astype(np.float32)
    scores[:, 11] = -np.inf  # an item that the model cannot rank
    wanted = sp.csr_matrix(((rng.random((N_USERS, N_ITEMS)) < 0.2) & (train.toarray() == 0)).astype(np.float32))
    cold = np.isin(np.arange(N_ITEMS), [3, 9, 11])
    every = np.ones(N_ITEMS, dtype=bool)
    among = {"cold": (cold, cold), "all": (every, every), "mixed": (every, cold)}
    found = baselines.measure(lambda rows: scores[rows].copy(), train, wanted, among, [2, 5])
    for name, (candidates, counted) in among.items():
        for user in range(N_USERS):
            free = [i for i in range(N_ITEMS) if candidates[i] and not train[user, i] and np.isfinite(scores[user, i])]
            ranked = sorted(free, key=lambda i: -scores[user, i])
            hits = [i for i in wanted[user].indices if counted[i]]
            for k in (2, 5):
                recall, ndcg = found[f"recall@{k} {name}"][user], found[f"ndcg@{k} {name}"][user]
                if not hits:
                    assert np.isnan(recall) and np.isnan(ndcg)
                    continue
                assert recall == pytest.approx(len(set(ranked[:k]) & set(hits)) / len(hits))
                gain = sum(1 / np.log2(rank + 2) for rank, i in enumerate(ranked[:k]) if i in hits)
                assert ndcg == pytest.approx(gain / sum(1 / np.log2(rank + 2) for rank in range(min(k, len(hits)))))


def test_blend(data):
    train, vectors, there = data
    first, second = baselines.item_knn(train), baselines.text_knn(vectors, there, train)
    one, other = everything(first), np.maximum(everything(second), 0)
    scale = [table / np.maximum(table.max(axis=1, keepdims=True), 1e-12) for table in (one, other)]
    assert np.allclose(everything(baselines.blend(first, second, 0.25)), 0.75 * scale[0] + 0.25 * scale[1], atol=1e-6)
