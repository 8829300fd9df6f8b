"""Repairs of RecBole 1.2.1, made once when it is imported: breaks of today's packages, and mistakes of its own."""

from __future__ import annotations

import functools
from typing import NamedTuple

from recbole_rlmrec.plugin import bugs, compat, saving

_active: list[Repair] = []


class Repair(NamedTuple):
    """A repair that was needed here: its name, what it mends, and whether RecBole itself is wrong or a package has changed."""

    name: str
    reason: str
    own: bool


def active() -> list[Repair]:
    """Repairs that this process needed.

    Returns
    -------
    list of Repair
        In the order in which they were made; empty before ``apply()``.
    """
    return list(_active)


@functools.cache
def apply() -> None:
    """Repair RecBole for the packages that are installed; calling it again changes nothing."""
    for own, repairs in ((False, compat.REPAIRS), (True, (*bugs.REPAIRS, *saving.REPAIRS))):
        for repair in repairs:
            reason = repair()
            if reason:
                _active.append(Repair(repair.__name__.lstrip("_"), reason, own))
