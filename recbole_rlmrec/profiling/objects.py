"""The object that a model was asked for, in whatever it wrote: code fences, wrappers, strings that hold JSON, Python."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

LONGEST_ANSWER = 65536
MOST_CANDIDATES = 50
DEEPEST = 8
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_BRACKET = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder(strict=False)

Wanted = Callable[[dict], bool]


class Ambiguous(ValueError):
    """One value holds several objects of the kind that is wanted."""


def find_objects(text: str, wanted: Wanted) -> list[dict]:
    """Objects of the kind that is wanted, in the order in which they stand in a text.

    Each is an object by itself, or the only one of its kind within another value. Trailing commas are forgiven, and so is
    Python's own notation. Of a very long text, the end counts.

    Raises
    ------
    Ambiguous
        There is no other than those of which several stand in one value.
    """
    several, found = 0, []
    for value in _values(text[-LONGEST_ANSWER:]):
        inner = _inner(value, wanted)
        several = max(several, len(inner))
        found += inner if len(inner) == 1 else []
    if several > 1 and not found:
        raise Ambiguous(f"The answer holds {several} objects in one; exactly one is asked for.")
    return found


def any_object(text: str) -> bool:
    """Whether a text holds any object at all."""
    return any(isinstance(value, dict) for value in _values(text[-LONGEST_ANSWER:]))


def _inner(value: Any, wanted: Wanted, depth: int = 0) -> list[dict]:
    """Distinct objects of the wanted kind in a value; strings are looked into where they hold JSON."""
    if depth > DEEPEST:
        return []
    if isinstance(value, dict):
        if wanted(value):
            return [value]
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, str) and "{" in value:
        parts = list(_values(value))
    else:
        return []
    found: list[dict] = []
    for part in parts:
        found += [inner for inner in _inner(part, wanted, depth + 1) if inner not in found]
    return found


def _values(text: str) -> Iterator[Any]:
    """What a text holds: the whole of it where it is a JSON string, else objects and lists one after the other."""
    stripped = text.strip()
    if stripped.startswith('"'):
        try:
            yield json.loads(stripped, strict=False)
            return
        except (ValueError, RecursionError):
            pass
    end = 0
    for start in _starts(text):
        if start >= end:
            value, stop = _value_at(text, start)
            if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(e, dict | str) for e in value)):
                end = stop
                yield value


def _starts(text: str) -> list[int]:
    """Places where a value may begin; of very many, those at both ends."""
    places = [match.start() for match in _BRACKET.finditer(text)]
    return places if len(places) <= 2 * MOST_CANDIDATES else places[:MOST_CANDIDATES] + places[-MOST_CANDIDATES:]


def _value_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins there, and its end; (None, 0) where there is none."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        stop = _closing(text, start)
    if not stop:
        return None, 0
    written = text[start:stop]
    try:
        return json.loads(_TRAILING_COMMA.sub(lambda match: match.group(1) or "", written), strict=False), stop
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(written), stop
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None, 0


def _closing(text: str, start: int) -> int:
    """Place behind the bracket that closes the one at ``start``; 0 where there is none or they are too deep."""
    depth, quote, place = 0, "", start
    while place < len(text):
        character = text[place]
        if quote:
            place += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "{[(":
            depth += 1
        elif character in "}])":
            depth -= 1
            if not depth:
                return place + 1
        if depth > DEEPEST:
            return 0
        place += 1
    return 0
