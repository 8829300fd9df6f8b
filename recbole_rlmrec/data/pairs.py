"""Interactions as pairs: keys of a split's pairs and the hash that names a split."""

from __future__ import annotations

import hashlib

import numpy as np

_HASH_BLOCK = 1 << 20


def split_hash(train) -> str:
    """SHA-256 over the training interactions: ``user<TAB>item<LF>``, sorted by user token and item token.

    Parameters
    ----------
    train : recbole.data.dataset.Dataset
        The training split.

    Returns
    -------
    str
        64 hexadecimal digits; the same for the same split in any order of rows and of internal ids.
    """
    users, items = _pair_ids(train)
    user_tokens, user_rank = _ranked(train.field2id_token[train.uid_field])
    item_tokens, item_rank = _ranked(train.field2id_token[train.iid_field])
    order = np.lexsort((item_rank[items], user_rank[users]))
    heads = np.array([f"{token}\t" for token in user_tokens], dtype=object)
    tails = np.array([f"{token}\n" for token in item_tokens], dtype=object)
    digest = hashlib.sha256()
    for start in range(0, len(order), _HASH_BLOCK):
        block = order[start : start + _HASH_BLOCK]
        digest.update("".join(heads[users[block]] + tails[items[block]]).encode())
    return digest.hexdigest()


def _ranked(tokens) -> tuple[list[str], np.ndarray]:
    """Tokens as str and the rank of each in their sorted order."""
    tokens = [str(token) for token in tokens]
    rank = np.empty(len(tokens), dtype=np.int64)
    rank[np.argsort(np.array(tokens, dtype=object), kind="stable")] = np.arange(len(tokens))
    return tokens, rank


def _pair_ids(dataset) -> tuple[np.ndarray, np.ndarray]:
    """Internal user and item ids of a split, int64 [n] each."""
    feat = dataset.inter_feat
    return feat[dataset.uid_field].numpy().astype(np.int64), feat[dataset.iid_field].numpy().astype(np.int64)


def pair_key(users, items, n_items: int):
    """One integer per pair of internal ids: ``user * n_items + item``, of numbers, arrays or tensors; see `pair_of`."""
    return users * n_items + items


def pair_of(keys, n_items: int):
    """User and item of a key, the inverse of `pair_key`."""
    return keys // n_items, keys % n_items


def pair_keys(dataset, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Keys of pairs of internal ids, int64 [n]; 0 where either id is the padding."""
    return np.where((users > 0) & (items > 0), pair_key(users, items, dataset.item_num), 0)


def split_keys(dataset) -> np.ndarray:
    """Keys of the interactions of a split, int64 [n], those with the padding left out."""
    keys = pair_keys(dataset, *_pair_ids(dataset))
    return keys[keys > 0]


def heldout_keys(train) -> np.ndarray | None:
    """Keys of the validation and test interactions; None where the training split does not know them."""
    heldout = getattr(train, "rlmrec_heldout", None)
    return None if heldout is None else np.concatenate([split_keys(dataset) for dataset in heldout])
