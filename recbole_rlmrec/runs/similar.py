"""Items like an item: by how they are bought, by what is written of them, or both."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import normalize

from recbole_rlmrec.errors import DataError, ModelError
from recbole_rlmrec.runs.lists import Recommended, item_vectors
from recbole_rlmrec.runs.trained import Trained
from recbole_rlmrec.runs.unseen import semantic_tag
from recbole_rlmrec.semantic.load import load_semantic

BY = ("behaviour", "text", "both")
_BLOCK = 256


def item_ids(trained: Trained, tokens: Sequence[str]) -> torch.Tensor:
    """Internal ids of items [k].

    Raises
    ------
    DataError
        The model does not have one of them.
    """
    known = trained.dataset.field2token_id[trained.dataset.iid_field]
    if unknown := [token for token in tokens if known.get(token, 0) == 0]:
        raise DataError(f"The model has no item {unknown[0]!r}; write ids as they stand in the .inter file.")
    return torch.tensor([known[token] for token in tokens])


def similar(trained: Trained, items: torch.Tensor, by: str, k: int) -> Iterator[tuple[str, list[Recommended]]]:
    """The most similar items of some items.

    Parameters
    ----------
    trained : Trained
    items : LongTensor [n]
        Internal ids.
    by : str
        ``behaviour``: cosine of what the model represents items by; ``text``: cosine of the embeddings of their profiles, less
        their mean; ``both``: the mean of the two.
    k : int

    Yields
    ------
    item : str
        Token.
    found : list of Recommended
        At most k, the most similar first, the item itself left out. By text and by both, items without a profile are in no
        list and have an empty one.

    Raises
    ------
    ModelError
        The model does not represent items, or has no profiles.
    """
    vectors, there = _vectors(trained, by)
    tokens, titles = trained.tokens("item").tolist(), trained.titles
    k = min(k, int(there.sum()))
    for part in items.split(_BLOCK):
        cosines = (vectors[part] @ vectors.T).masked_fill(~there, -torch.inf)
        cosines[torch.arange(len(part)), part] = -torch.inf
        scores, found = torch.topk(cosines, k, dim=1)
        for item, row, ids in zip(part.tolist(), scores.tolist(), found.tolist()):
            pairs = zip(ids, row) if there[item] else ()
            listed = [Recommended(tokens[n], titles.get(tokens[n]), score) for n, score in pairs if score > -torch.inf]
            yield tokens[item], listed


def _vectors(trained: Trained, by: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors whose products are the likeness [n_items, d], and who has one, BoolTensor [n_items]."""
    there = torch.ones(trained.n_items, dtype=torch.bool)
    there[0] = False
    if by == "behaviour":
        return item_vectors(trained), there
    texts, covered = _text_vectors(trained)
    if by == "text":
        return texts, there & covered
    return torch.cat([item_vectors(trained), texts], dim=1) / 2**0.5, there & covered


def _text_vectors(trained: Trained) -> tuple[torch.Tensor, torch.Tensor]:
    trained.config["semantic_tag"] = semantic_tag(trained)
    train = copy.copy(trained.splits[0])
    train.rlmrec_known_sketch = None  # texts are compared with each other here, whatever vectors the model was trained with
    table = load_semantic(trained.config, train, report=False).item
    if not table.count:
        tag = trained.config["semantic_tag"]
        raise ModelError(f"Tag {tag!r} has no profiles of items; name another --tag, or use --by behaviour.")
    vectors = torch.zeros(table.n, table.dim)
    rows = table.rows(table.ids)
    vectors[table.ids] = normalize(rows - rows.mean(0), dim=1)
    return vectors, table.covered.cpu()
