"""Interactions as pairs: which ones a split holds, their keys, and the hash that names a split.

A row of a sequential split is a sequence and its target. Held out are the targets of validation and test; training knows
its targets and what stands before them.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_AT_ONCE, _PASSES = 1 << 17, 64


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
    return hash_pairs(*training_interactions(train)[:2], *tokens)


def hash_pairs(users: np.ndarray, items: np.ndarray, user_tokens, item_tokens) -> str:
    """As :func:`split_hash`, for ids of pairs, int64 [n] each, and the tokens by id."""
    user_tokens, user_rank = _ranked(user_tokens)
    item_tokens, item_rank = _ranked(item_tokens)
    tab, end, nothing = (pa.scalar(text, pa.large_string()) for text in ("\t", "\n", ""))
    counts = np.empty(len(user_rank), dtype=np.int64)
    counts[user_rank] = np.bincount(users, minlength=len(user_rank))
    digest = hashlib.sha256()
    of_rank = ranges(counts)
    of_row = of_rank[user_rank][users]
    for number in np.unique(of_rank):
        rows = np.flatnonzero(of_row == number)
        keys = pair_key(user_rank[users[rows]], item_rank[items[rows]], len(item_rank))
        keys.sort()
        for start in range(0, len(keys), _AT_ONCE):
            heads, tails = pair_of(keys[start : start + _AT_ONCE], len(item_rank))
            pairs = pc.take(user_tokens, pa.array(heads)), tab, pc.take(item_tokens, pa.array(tails))
            digest.update(pc.binary_join_element_wise(*pairs, end, nothing).buffers()[2] or b"")
    return digest.hexdigest()


def hash_tokens(users, items) -> str:
    """As :func:`split_hash`, for the tokens of training interactions, [n] each."""
    (users, user_tokens), (items, item_tokens) = pd.factorize(users), pd.factorize(items)
    return hash_pairs(users, items, user_tokens, item_tokens)


def _ranked(tokens) -> tuple[pa.Array, np.ndarray]:
    """Tokens in their sorted order, which is that of their bytes in UTF-8, and the rank of each, int64 [n]."""
    text = isinstance(tokens, np.ndarray) and tokens.dtype.kind == "U"
    found = pa.array(tokens if text else [str(token) for token in tokens], type=pa.large_string())
    order = pc.array_sort_indices(found)
    rank = np.empty(len(found), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(found))
    return found.take(order), rank


def ranges(counts: np.ndarray) -> np.ndarray:
    """Ranges of users, whose rows are taken range by range: about 131,072 rows each, or a 64th of all if that is more.

    Parameters
    ----------
    counts : int [users]
        How many rows each user has.

    Returns
    -------
    int [users]
        Number of the range of each, of the smallest type, not falling.
    """
    ends = np.cumsum(counts)
    size = max(_AT_ONCE, -(-int(ends[-1] if len(ends) else 0) // _PASSES))
    numbers = (ends - counts) // size
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0) + 1))


class Interactions(NamedTuple):
    """Internal ids of users and items, int64 [n] each, and times, float64 [n], None where none are loaded."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None

    def at(self, rows: np.ndarray) -> Interactions:
        """Some of them."""
        return Interactions(self.users[rows], self.items[rows], None if self.times is None else self.times[rows])

    def plus(self, more: Interactions) -> Interactions:
        """These and others; without times where either has none."""
        timeless = self.times is None or more.times is None
        both = (None if timeless and name == "times" else (getattr(self, name), getattr(more, name)) for name in self._fields)
        return Interactions(*(None if parts is None else np.concatenate(parts) for parts in both))


def targets(dataset) -> Interactions:
    """The rows of a split, without what stands before them."""
    feat = dataset.inter_feat.interaction
    users, items = (feat[name].numpy().astype(np.int64, copy=False) for name in (dataset.uid_field, dataset.iid_field))
    time = feat.get(dataset.time_field)
    return Interactions(users, items, None if time is None or time.dim() > 1 else time.numpy().astype(np.float64))


def training_interactions(train) -> Interactions:
    """All interactions that a training split knows, those before the targets of its sequences among them.

    An item that begins a sequence is no target of any row. Where the sequences were made elsewhere, every item in them
    counts that is no target.
    """
    return interactions_of([train])[0]


def interactions_of(splits) -> list[Interactions]:
    """As :func:`training_interactions`, of each of the splits, which follow each other.

    An item that begins a sequence is of the split that has it in its file, or else has the row behind it.
    """
    found: list[Interactions] = []
    for split in splits:
        rows = getattr(split, "rlmrec_interactions", None)
        if rows is None:
            rows = targets(split)
            if (before := _before_targets(split)) is not None:
                others = [*found, rows] if split.config["benchmark_filename"] else found
                keys = [pair_key(one.users, one.items, split.item_num) for one in (before, *others)]
                rows = rows.plus(before.at(~np.isin(keys[0], np.concatenate([keys[0][:0], *keys[1:]]))))
        found.append(rows)
    return found


def _before_targets(split) -> Interactions | None:
    """What stands before the targets of a sequential split: where RecBole made the sequences, the first of each user alone."""
    length, suffix = getattr(split, "item_list_length_field", None), split.config["LIST_SUFFIX"]
    feat = split.inter_feat.interaction
    if length not in feat:
        return None
    users, items, lengths = feat[split.uid_field].numpy(), feat[f"{split.iid_field}{suffix}"].numpy(), feat[length].numpy()
    if split.config["benchmark_filename"]:
        rows, columns = np.nonzero(np.arange(items.shape[1]) < lengths[:, None])
        first = np.unique(pair_key(users[rows], items[rows, columns], split.item_num), return_index=True)[1]
        rows, columns = rows[first], columns[first]
    else:
        rows, columns = np.flatnonzero(lengths == 1), 0
        rows = np.sort(rows[np.unique(users[rows], return_index=True)[1]])  # a user's rows are in the order of time
    times = feat.get(f"{split.time_field}{suffix}")
    times = None if times is None or times.dim() != 2 else times.numpy()[rows, columns].astype(np.float64)
    return Interactions(users[rows].astype(np.int64), items[rows, columns].astype(np.int64), times)


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
    """Keys of the interactions that a training split knows, int64 [n], those with the padding left out."""
    keys = pair_keys(dataset, *training_interactions(dataset)[:2])
    return keys[keys > 0]


def heldout_keys(train) -> np.ndarray | None:
    """Keys of the validation and test interactions, the targets; None where the training split does not know them."""
    heldout = getattr(train, "rlmrec_heldout", None)
    if heldout is None:
        return None
    keys = np.concatenate([pair_keys(dataset, *targets(dataset)[:2]) for dataset in heldout])
    return keys[keys > 0]


def token_prints(tokens, salt: bytes = b"") -> np.ndarray:
    """A print of each token, uint64 [n]: the first 8 bytes of a hash, another one for each salt."""
    digests = bytearray()
    for token in tokens:
        digests += hashlib.blake2b(str(token).encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()
    return np.frombuffer(digests, dtype="<u8")


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


def split_prints(train) -> np.ndarray:
    """Prints of the interactions that a training split knows, uint64 [n]."""
    return _prints(train, *training_interactions(train)[:2])


def _prints(dataset, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    tokens = (dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
    user_prints, item_prints = map(token_prints, tokens)
    return pair_prints(user_prints[users], item_prints[items])


def heldout_prints(train) -> np.ndarray | None:
    """Prints of the interactions that are held out and not in training, each once; None where the split does not know them."""
    heldout = getattr(train, "rlmrec_heldout", None)
    if heldout is None:
        return None
    return np.setdiff1d(np.concatenate([_prints(dataset, *targets(dataset)[:2]) for dataset in heldout]), split_prints(train))
