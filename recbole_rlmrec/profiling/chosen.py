"""A part of the users and items, to be read before the rest is bought."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.profiling.build import PromptBuilder

Chosen = dict[str, set[int]]
"""Positions of items and users, by side."""


def first(builder: PromptBuilder, number: int) -> Chosen:
    """So many items, and as many of the first users as quote no other ones.

    A user's question quotes the profiles of items: asked before those are written, it would have to be asked and paid for
    again. So the items are those that the first users quote, and then the next in order.

    Raises
    ------
    ConfigError
        The number is not positive.
    """
    if number < 1:
        raise ConfigError("--limit is 1 or more.")
    items: set[int] = set()
    users: set[int] = set()
    for position in range(len(builder.users)):
        if len(users) == number:
            break
        quoted = set(builder.quoted_items(position))
        if len(items | quoted) <= number:
            items |= quoted
            users.add(position)
    for position in range(len(builder.items)):
        if len(items) >= number:
            break
        items.add(position)
    return {"item": items, "user": users}


def listed(builder: PromptBuilder, path: Path) -> Chosen:
    """The users and items whose ids a file lists, and the items that those users quote.

    Parameters
    ----------
    builder : PromptBuilder
    path : Path
        An id per line; ``item:ID`` or ``user:ID`` where both sides have it and one is meant.

    Raises
    ------
    ConfigError
        The file cannot be read, or an id is neither a user nor an item of the run.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"--only {path} cannot be read: {error}") from None
    places = {"item": _places(builder.items), "user": _places(builder.users)}
    chosen: Chosen = {"item": set(), "user": set()}
    unknown = []
    for line in filter(None, lines):
        found = [(side, places[side][line]) for side in places if line in places[side]]
        side, colon, token = line.partition(":")
        if not found and colon and side in places and token in places[side]:
            found = [(side, places[side][token])]
        unknown += [] if found else [line]
        for side, position in found:
            chosen[side].add(position)
    if unknown or not any(chosen.values()):
        what = f"{len(unknown):,} ids that are neither, the first is {unknown[0]!r}" if unknown else "no ids"
        raise ConfigError(f"--only {path} should list users or items of the run, one id per line; it has {what}.")
    for position in chosen["user"]:
        chosen["item"].update(builder.quoted_items(position))
    return chosen


def _places(tokens: Sequence[str]) -> dict[str, int]:
    return {token: position for position, token in enumerate(tokens)}
