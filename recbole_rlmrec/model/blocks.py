"""Scores of sequences against all items, in blocks of sequences of similar length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.model.device import on_gpu

POSITIONS = 2**13
POSITIONS_ON_GPU = 2**19


def rank_in_blocks(model, interaction, rank: Callable, trim: bool, width: int = 1) -> torch.Tensor:
    """What ``rank`` gives for all sequences, [B, n_items], from calls on some of them at a time.

    Long sequences come first, so that a block holds none of the padding that its longest sequence does not need; what fits
    into the cache is also faster than a batch of thousands of padded sequences.

    Parameters
    ----------
    model : recbole.model.abstract_recommender.SequentialRecommender
    interaction : recbole.data.interaction.Interaction
        Sequences [B, L], padded at their ends.
    rank : callable
        The recommender's ``full_sort_predict``.
    trim : bool
        Whether the recommender's scores are independent of the padding, up to rounding.
    width : int
        How much a position weighs against one of a Transformer's.
    """
    lengths, sequences = interaction[model.ITEM_SEQ_LEN], interaction[model.ITEM_SEQ]
    order = lengths.argsort(descending=True, stable=True)
    budget = (POSITIONS_ON_GPU if on_gpu(sequences) else POSITIONS) // width
    needed = lengths[order].clamp_min(1).tolist() if trim else [sequences.shape[1]] * len(order)
    start, scores = 0, None
    while start < len(order):
        rows = order[start : start + max(budget // needed[start], 1)]
        block = {name: column[rows] for name, column in interaction.interaction.items()}
        block[model.ITEM_SEQ] = block[model.ITEM_SEQ][:, : needed[start]]
        part = rank(Interaction(block)).view(len(rows), -1)
        scores = part.new_empty(len(order), part.shape[1]) if scores is None else scores
        scores[rows] = part
        start += len(rows)
    return scores
