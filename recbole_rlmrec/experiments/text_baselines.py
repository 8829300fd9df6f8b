"""What ranks items without training, and how well: text-kNN, popularity by category, item-kNN; blockwise over users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import scipy.sparse as sp

Scorer = Callable[[slice | np.ndarray], np.ndarray]
"""Rows of users, a slice or their numbers -> scores [b, n_items], float32, of which the caller may change any."""
NEAREST = 10
_SCORES = 1 << 22


def centred(vectors: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Vectors less the mean of those that are there, float32 [n, d]; zero for the others.

    As they come, profiles of one kind point almost the same way, so that their cosines say next to nothing.

    Parameters
    ----------
    vectors : ndarray [n, d]
    there : bool ndarray [n]
    """
    mean = vectors[there].mean(axis=0, dtype=np.float64) if there.any() else 0.0
    return np.where(there[:, None], vectors - mean, 0.0).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def text_knn(vectors: np.ndarray, there: np.ndarray, train: sp.csr_matrix) -> Scorer:
    """Cosine of an item's text and the mean of the texts of a user's training items, both centred.

    Parameters
    ----------
    vectors : ndarray [n_items, d]
    there : bool ndarray [n_items]
        Which items have a text.
    train : csr_matrix [n_users, n_items]
        Training interactions, ones.
    """
    items = centred(vectors, there)
    users, items = unit(train @ items), unit(items)
    return lambda rows: users[rows] @ items.T


def profile_knn(vectors: np.ndarray, there: np.ndarray, train: sp.csr_matrix, nearest: int = 50) -> Scorer:
    """Training items of the users whose centred profiles are nearest, weighted by cosine: for users without interactions.

    Parameters
    ----------
    vectors : ndarray [n_users, d]
    there : bool ndarray [n_users]
        Which users have a profile.
    train : csr_matrix [n_users, n_items]
    nearest : int
    """
    users = unit(centred(vectors, there))
    warm = np.flatnonzero(there & (np.diff(train.indptr) > 0))

    def scores(rows: slice | np.ndarray) -> np.ndarray:
        cosine = users[rows] @ users[warm].T
        cosine[np.arange(users.shape[0])[rows, None] == warm] = -np.inf  # nobody is a neighbour of oneself
        return (weighted(cosine, nearest) @ train[warm]).toarray().astype(np.float32)

    return scores


def weighted(cosine: np.ndarray, nearest: int) -> sp.csr_matrix:
    """The largest cosines above 0 of each row, at most ``nearest``, sparse."""
    if cosine.shape[1] > nearest:
        least = np.partition(cosine, -nearest, axis=1)[:, -nearest, None]
        cosine = np.where(cosine >= least, cosine, 0)
    return sp.csr_matrix(np.maximum(cosine, 0))


def item_knn(train: sp.csr_matrix, nearest: int = 50) -> Scorer:
    """Sum of the cosines, in training, of an item and a user's items; of each item the nearest count."""
    lengths = np.sqrt(np.asarray(train.power(2).sum(axis=0))).ravel()
    columns = (train @ sp.diags(1 / np.where(lengths > 0, lengths, 1))).tocsc()
    parts = []
    for rows in blocks(train.shape[1], train.shape[1]):
        cosine = (columns[:, rows].T @ columns).toarray()
        cosine[np.arange(len(cosine)), np.arange(train.shape[1])[rows]] = 0
        parts.append(weighted(cosine, nearest))
    similar = sp.vstack(parts).tocsr().T.tocsr()
    return lambda rows: (train[rows] @ similar).toarray().astype(np.float32)


def popularity(train: sp.csr_matrix) -> np.ndarray:
    """Training interactions of each item, float64 [n_items]."""
    return np.asarray(train.sum(axis=0), dtype=np.float64).ravel()


def category_popularity(
    counts: np.ndarray, categories: Sequence[str], vectors: np.ndarray, there: np.ndarray, nearest: int = NEAREST
) -> np.ndarray:
    """Popularity of items, guessed for those that training never saw.

    An unseen item gets the mean of the seen items of its category; without a category, or where that has none, the mean of
    the seen items with the nearest texts, which also decides among items of one category; else the mean of all seen items.

    Parameters
    ----------
    counts : ndarray [n_items]
        Training interactions.
    categories : sequence of str [n_items]
        Empty where there is none.
    vectors : ndarray [n_items, d]
    there : bool ndarray [n_items]
        Which items have a text.
    nearest : int

    Returns
    -------
    ndarray
        float64 [n_items]; of seen items their counts.
    """
    seen, names = counts > 0, np.asarray(categories, dtype=object)
    found = counts.astype(np.float64)
    cold = np.flatnonzero(~seen)
    if not seen.any():
        return found
    near = _popularity_of_nearest(counts, unit(centred(vectors, there)), seen & there, cold, there, nearest)
    labels, places = np.unique(names.astype(str), return_inverse=True)
    total = np.bincount(places, weights=np.where(seen, counts, 0), minlength=len(labels))
    number = np.bincount(places, weights=seen, minlength=len(labels))
    mean = np.divide(total, number, out=np.full(len(labels), np.nan), where=number > 0)
    mean[labels == ""] = np.nan
    by_category = mean[places[cold]]
    tie = 1e-6 * near / max(near.max(initial=0.0), 1e-12)
    found[cold] = np.where(np.isnan(by_category), near, by_category + tie)
    return found


def _popularity_of_nearest(counts, vectors, known, cold, there, nearest) -> np.ndarray:
    overall, warm = counts[counts > 0].mean(), np.flatnonzero(known)
    found = np.full(len(cold), overall, dtype=np.float64)
    for rows in blocks(len(cold), max(len(warm), 1)):
        if not len(warm):
            break
        cosine = vectors[cold[rows]] @ vectors[warm].T
        size = min(nearest, len(warm))
        best = np.argpartition(-cosine, size - 1, axis=1)[:, :size]
        found[rows] = np.where(there[cold[rows]], counts[warm][best].mean(axis=1), overall)
    return found


def blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of rows, so that a block of that width stays small."""
    size = max(_SCORES // max(width, 1), 1)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def measure(
    scorer: Scorer,
    hidden: sp.csr_matrix,
    wanted: sp.csr_matrix,
    among: Mapping[str, tuple[np.ndarray, np.ndarray]],
    topk: Sequence[int],
) -> dict[str, np.ndarray]:
    """Recall and NDCG of each user, for several sets of items; those who have no wanted item of a set get NaN.

    Parameters
    ----------
    scorer : callable
    hidden : csr_matrix [n_users, n_items]
        What is not ranked: a user's training items.
    wanted : csr_matrix [n_users, n_items]
        Held-out interactions, ones.
    among : mapping of str to (bool ndarray [n_items], bool ndarray [n_items])
        Sets of items: which are ranked, and which of the wanted ones count.
    topk : sequence of int

    Returns
    -------
    dict of str to ndarray
        ``recall@K NAME`` and ``ndcg@K NAME``: float64 [n_users].
    """
    n_users, n_items = wanted.shape
    names = [f"{metric}@{k} {name}" for name in among for metric in ("recall", "ndcg") for k in topk]
    found = {name: np.full(n_users, np.nan) for name in names}
    deepest = min(max(topk), n_items)
    discount = 1 / np.log2(np.arange(2, deepest + 2))
    tested = np.flatnonzero(np.diff(wanted.indptr) > 0)
    for rows in blocks(n_users, n_items):
        users = tested[(tested >= rows.start) & (tested < rows.stop)]
        if not len(users):
            continue
        scores = np.asarray(scorer(rows), dtype=np.float32)[users - rows.start]
        scores[hidden[users].nonzero()] = -np.inf
        for name, (candidates, counted) in among.items():
            mine = wanted[users].toarray() * counted
            count = mine.sum(axis=1)
            ranked = np.where(candidates, scores, -np.inf)
            best = _best(ranked, deepest)
            hits = np.take_along_axis(mine, best, axis=1) * np.isfinite(np.take_along_axis(ranked, best, axis=1))
            some = count > 0
            for k in topk:
                recall = hits[:, :k].sum(axis=1)[some] / count[some]
                ideal = discount.cumsum()[np.minimum(count[some], min(k, deepest)).astype(int) - 1]
                found[f"recall@{k} {name}"][users[some]] = recall
                found[f"ndcg@{k} {name}"][users[some]] = (hits[some, :k] @ discount[: hits[:, :k].shape[1]]) / ideal
    return found


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest of each row, the largest first."""
    some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def blend(first: Scorer, second: Scorer, share: float) -> Scorer:
    """``share`` of the second and the rest of the first, each divided by its largest score of the user."""

    def scores(rows: slice | np.ndarray) -> np.ndarray:
        parts = (np.maximum(scorer(rows), 0) for scorer in (first, second))
        one, other = (part / np.maximum(part.max(axis=1, keepdims=True), 1e-12) for part in parts)
        return (1 - share) * one + share * other

    return scores
