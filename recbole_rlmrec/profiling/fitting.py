"""Nested data made to fit: the longest texts are cut first."""

from __future__ import annotations

import json
from typing import Any

from recbole_rlmrec.llm.tokens import TokenCounter, cut

SHORTEST_PART = 16


def _texts(data: Any) -> list[tuple[Any, Any]]:
    """Places of all texts in nested data, as (container, key)."""
    places = []
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        places += _texts(value) if isinstance(value, (dict, list)) else [(data, key)]
    return places


def shorten(data: dict, excess: int, counter: TokenCounter) -> bool:
    """Cut the longest texts to one common length that saves ``excess`` tokens; False when that length would be tiny."""
    places = _texts(data)
    lengths = sorted((counter.count(json.dumps(box[key], ensure_ascii=False)) for box, key in places), reverse=True)
    total, allowed = 0, 0
    for n_longest, length in enumerate(lengths, 1):
        total += length
        allowed = (total - excess) // n_longest
        if n_longest == len(lengths) or allowed >= lengths[n_longest]:
            break
    if allowed < SHORTEST_PART:
        return False
    for box, key in places:
        if counter.count(box[key]) >= allowed:
            box[key] = cut(box[key], allowed - 2, counter)
    return True


def drop_longest(data: dict) -> None:
    """Remove the longest text."""
    box, key = max(_texts(data), key=lambda place: len(place[0][place[1]]))
    del box[key]
