"""Vectors looked at: nearest neighbours, maps in two dimensions, clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CLUSTERS = 8
NEAREST = 10
_BLOCK = 512


def neighbours(vectors: np.ndarray, queries: Sequence[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest others by cosine.

    Parameters
    ----------
    vectors : ndarray
        float [n, d]; rows of NaN have no neighbours and are nobody's.
    queries : sequence of int
        Rows whose neighbours are wanted.
    count : int

    Returns
    -------
    rows : int64 [q, count]
        Nearest first; -1 where there are no more.
    cosines : float32 [q, count]
    """
    queries = np.asarray(queries, dtype=np.int64)
    count = min(count, max(len(vectors) - 1, 0))
    known = ~np.isnan(vectors).any(axis=1)
    unit = np.where(known[:, None], vectors, 0).astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    rows, cosines = np.full((len(queries), count), -1), np.zeros((len(queries), count), dtype=np.float32)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        scores = unit[block] @ unit.T
        scores[:, ~known] = -np.inf
        scores[np.arange(len(block)), block] = -np.inf
        order = _best(scores, count)
        best = np.take_along_axis(scores, order, axis=1)
        valid = np.isfinite(best) & known[block][:, None]
        rows[start : start + len(block)] = np.where(valid, order, -1)
        cosines[start : start + len(block)] = np.where(valid, best, 0)
    return rows, cosines


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Columns of the largest values of each row, descending, of equal ones the first: a stable sort without sorting all."""
    if not count:
        return np.zeros((len(scores), 0), dtype=np.int64)
    least = np.partition(scores, scores.shape[1] - count, axis=1)[:, -count]
    found = np.empty((len(scores), count), dtype=np.int64)
    for row, (values, limit) in enumerate(zip(scores, least)):
        columns = np.flatnonzero(values >= limit)
        found[row] = columns[np.argsort(-values[columns], kind="stable")[:count]]
    return found


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of neighbours [q, k] that two spaces have in common, over those who have neighbours in both."""
    shares = [
        len(set(a[a >= 0]) & set(b[b >= 0])) / min((a >= 0).sum(), (b >= 0).sum())
        for a, b in zip(first, second, strict=True)
        if (a >= 0).any() and (b >= 0).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


def project(vectors: np.ndarray, how: str) -> np.ndarray:
    """Two dimensions of rows of unit length, float [n, 2].

    Parameters
    ----------
    vectors : ndarray
        float [n, d] without NaN, n > 2.
    how : {"pca", "tsne"}
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if how == "pca":
        return PCA(2, svd_solver="full").fit_transform(unit)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    return TSNE(2, init="pca", perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(unit)


def clusters(vectors: np.ndarray, count: int = CLUSTERS) -> np.ndarray:
    """Cluster of each row by k-means over unit rows, numbered by size, int64 [n]."""
    from sklearn.cluster import KMeans

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    count = min(count, len(np.unique(unit, axis=0)))
    labels = KMeans(count, n_init=4, random_state=0).fit_predict(unit)
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    return rank[labels]
