"""One profile, and how it is written as a line of JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

SIDES = ("user", "item")


def aligned_sides(align_sides: object) -> tuple[str, ...]:
    """Sides that the option ``align_sides`` names; both where it is left out."""
    said = str(align_sides or "both").lower()
    return SIDES if said == "both" else (said,)


class BadRecord(ValueError):
    """A line is not a profile; the message is a clause for the caller's sentence."""


@dataclass
class Profile:
    """What is known in words about one user or item.

    Parameters
    ----------
    token : str
        The user's or item's id in the atomic files.
    profile : str
        The text that is embedded.
    reasoning : str
        Why the profile says what it says; never embedded.
    pairs : list of (str, str), optional
        The (user, item) interactions that the text was made from; ``[]`` for none, None where that is not known.
    extra : dict
        Further keys of the JSON object, kept as they are.
    times : list of float or None, optional
        When each of the pairs took place, in the numbers of the atomic files, None where that is not known.
    """

    token: str
    profile: str
    reasoning: str = ""
    pairs: list[tuple[str, str]] | None = None
    extra: dict = field(default_factory=dict)
    times: list[float | None] | None = None


def text_digest(text: str) -> str:
    """Digest of one text: 32 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def digest_of(pairs: Iterable[tuple[str, str]]) -> str:
    """Digest of a side: SHA-256 over its tokens and the digests of their texts, given in token order."""
    digest = hashlib.sha256()
    for token, text in pairs:
        digest.update(f"{token}\t{text}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def parse_token(value: object) -> str:
    """Return an id as text; raises BadRecord for anything but a non-empty string or an integer."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRecord(f"an id must be a text or an integer, not {value!r}")
    return str(value)


def parse_profile(record: object, side: str) -> Profile:
    """Build a profile from a decoded JSON object.

    Raises
    ------
    BadRecord
        A key is missing or of the wrong type.
    """
    key = f"{side}_id"
    if not isinstance(record, dict):
        raise BadRecord("not a JSON object")
    if key not in record or "profile" not in record:
        raise BadRecord(f"{key!r} and 'profile' are required")
    rest = dict(record)
    token = parse_token(rest.pop(key))
    text, reasoning, pairs = rest.pop("profile"), rest.pop("reasoning", None), _parse_pairs(rest.pop("pairs", None))
    if not isinstance(text, str) or not isinstance(reasoning, str | None):
        raise BadRecord("'profile' and 'reasoning' must be texts")
    return Profile(token, text, reasoning or "", pairs, rest, _parse_times(rest.pop("pair_times", None), pairs))


def _parse_pairs(value: object) -> list[tuple[str, str]] | None:
    if value is None:
        return None
    if not isinstance(value, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in value):
        raise BadRecord("'pairs' must be a list of [user id, item id]")
    return [(parse_token(user), parse_token(item)) for user, item in value]


def _parse_times(value: object, pairs: list | None) -> list[float | None] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != len(pairs or ()) or not all(map(_is_time, value)):
        raise BadRecord("'pair_times' must be a list of numbers, or null, one for each of the 'pairs'")
    return value


def _is_time(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300)


def to_line(profile: Profile, side: str) -> bytes:
    """The profile as one line of JSON in UTF-8, newline included."""
    record = {
        **profile.extra,
        f"{side}_id": profile.token,
        "profile": profile.profile,
        "reasoning": profile.reasoning,
        "pairs": profile.pairs,
        **({} if None in (profile.pairs, profile.times) else {"pair_times": profile.times}),
    }
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
