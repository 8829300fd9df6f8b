"""Who is which row of a model: what a checkpoint keeps of the data that it was trained on.

RecBole's checkpoints hold rows and no tokens, so a file that has grown gives the rows of some to others. With the tokens by
internal id and the pairs of the three splits, a model meets any later state of its data by token.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from recbole_rlmrec.data.atomic import PARTS
from recbole_rlmrec.data.pairs import pair_key, pair_of
from recbole_rlmrec.semantic.sketch import SHAPE as SKETCH

KEY = "rlmrec_data"
SHAPE = {
    "user": [str],
    "item": [str],
    "splits": {part: {"users": torch.Tensor, "items": torch.Tensor} for part in PARTS},
    "semantic?": SKETCH,
}


def describe(train) -> dict | None:
    """Tokens and pairs of a run.

    Parameters
    ----------
    train : recbole.data.dataset.Dataset
        Its training split; None is the answer where it does not know the held-out ones.

    Returns
    -------
    dict or None
        ``user`` and ``item``: tokens by internal id, the padding's first; ``splits``: for ``train``, ``valid`` and ``test`` the
        number of pairs of each user, int32 [n_users], and the items of all pairs, user by user, int32 [n_pairs]; ``semantic``:
        what there is to know of the vectors that its model has read, if it has.
    """
    heldout = getattr(train, "rlmrec_heldout", None)
    if heldout is None or len(heldout) != 2 or train.uid_field is None or train.iid_field is None:
        return None
    tokens = {
        side: [str(token) for token in train.field2id_token[field]]
        for side, field in (("user", train.uid_field), ("item", train.iid_field))
    }
    read = getattr(train, "rlmrec_sketch", None)
    splits = {part: _packed(split) for part, split in zip(PARTS, (train, *heldout))}
    return {**tokens, "splits": splits, **({"semantic": read} if read else {})}


def _packed(split) -> dict[str, torch.Tensor]:
    users, items = pair_of(sorted_keys(split), split.item_num)
    return {
        "users": torch.from_numpy(np.bincount(users, minlength=split.user_num)).int(),
        "items": torch.from_numpy(items).int(),
    }


def sorted_keys(split) -> np.ndarray:
    """Keys of the pairs of a split, int64 [n], ascending, repeats kept."""
    feat = split.inter_feat
    return np.sort(pair_key(feat[split.uid_field].numpy(), feat[split.iid_field].numpy(), split.item_num))


def known_keys(kept: Mapping) -> dict[str, np.ndarray] | None:
    """What `describe` found, as sorted keys by split; None where its parts do not fit each other."""
    n_users, n_items = len(kept["user"]), len(kept["item"])
    found = {}
    for part in PARTS:
        counts, items = (kept["splits"][part][name].numpy().astype(np.int64) for name in ("users", "items"))
        fits = counts.shape == (n_users,) and counts.min() >= 0 and items.shape == (counts.sum(),)
        if not fits or (len(items) and not 0 <= items.min() <= items.max() < n_items):
            return None
        found[part] = pair_key(np.repeat(np.arange(n_users), counts), items, n_items)
    return found
