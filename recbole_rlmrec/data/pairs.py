"""Interactions as pairs: keys of a split's pairs and the hash that names a split."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    tokens = train.field2id_token[train.uid_field], train.field2id_token[train.iid_field]
    return hash_pairs(*_pair_ids(train), *tokens)


def hash_pairs(users: np.ndarray, items: np.ndarray, user_tokens, item_tokens) -> str:
    """As :func:`split_hash`, for ids of pairs, int64 [n] each, and the tokens by id."""
    user_tokens, user_rank = _ranked(user_tokens)
    item_tokens, item_rank = _ranked(item_tokens)
    order = np.argsort(user_rank[users] * len(item_rank) + item_rank[items])
    tab, end, nothing = (pa.scalar(text, pa.large_string()) for text in ("\t", "\n", ""))
    digest = hashlib.sha256()
    for start in range(0, len(order), _HASH_BLOCK):
        block = order[start : start + _HASH_BLOCK]
        heads, tails = pc.take(user_tokens, pa.array(users[block])), pc.take(item_tokens, pa.array(items[block]))
        lines = pc.binary_join_element_wise(heads, tab, tails, end, nothing)
        digest.update(lines.buffers()[2] or b"")
    return digest.hexdigest()


def _ranked(tokens) -> tuple[pa.Array, np.ndarray]:
    """Tokens as text and the rank of each in their sorted order, which is that of their bytes in UTF-8."""
    found = pa.array([str(token) for token in tokens], type=pa.large_string())
    rank = np.empty(len(found), dtype=np.int64)
    rank[pc.array_sort_indices(found).to_numpy()] = np.arange(len(found))
    return found, rank


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


def token_prints(tokens) -> np.ndarray:
    """A print of each token, uint64 [n]: the first 8 bytes of a hash."""
    digests = (hashlib.blake2b(str(token).encode("utf-8", "surrogatepass"), digest_size=8).digest() for token in tokens)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def pair_prints(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A print of each pair, from the prints of its tokens, uint64 [n] each; other pairs have other prints.

    Unlike keys, prints mean the same in every run. Two of 100 million pairs share one with a probability of 0.0003.
    """
    return _mix(_mix(users) + items)


def _mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64: spreads every bit over all of them."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def split_prints(dataset) -> np.ndarray:
    """Prints of the interactions of a split, uint64 [n]."""
    users, items = _pair_ids(dataset)
    tokens = (dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
    user_prints, item_prints = map(token_prints, tokens)
    return pair_prints(user_prints[users], item_prints[items])


def heldout_prints(train) -> np.ndarray | None:
    """Prints of the interactions that are held out and not in training, each once; None where the split does not know them."""
    heldout = getattr(train, "rlmrec_heldout", None)
    if heldout is None:
        return None
    return np.setdiff1d(np.concatenate([split_prints(dataset) for dataset in heldout]), split_prints(train))
