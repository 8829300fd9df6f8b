"""What a tag already has: answers by key, found without keeping their texts, and the list of failures."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.appender import mend_tail
from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.data.profile import parse_profile
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.llm.cost import Usage

SEVERAL = "several"
"""Key of a stored profile whose answer held others before it."""
NO_KEY = np.uint64(0)


class Stored:
    """Keys and places of the stored profiles of one side: 16 bytes for each, whatever its length.

    Parameters
    ----------
    store : ProfileStore
    side : str
        "item" or "user".
    tokens : sequence of str
        The run's users or items; a profile is found by its position among them.

    Attributes
    ----------
    count : int
        How many of the tokens have a profile.
    usage : dict of str to Usage
        What all lines of the file cost, by model.
    replaced : list of int
        Places of lines that a later line replaces.
    """

    def __init__(self, store: ProfileStore, side: str, tokens: Sequence[str]) -> None:
        self._path = store.path(side)
        self._side = side
        self._keys = np.full(len(tokens), NO_KEY, dtype=np.uint64)
        self._places = np.full(len(tokens), -1, dtype=np.int64)
        self.usage: dict[str, Usage] = defaultdict(Usage)
        self.replaced: list[int] = []
        self._file = None
        self.text = lru_cache(4096)(self._text)
        if self._path.exists():
            self._scan(store, {token: position for position, token in enumerate(tokens)})

    @property
    def count(self) -> int:
        """How many of the tokens have a profile."""
        return int((self._places >= 0).sum())

    def has(self, position: int, key: str) -> bool:
        """Whether the profile of a token is the answer with this key."""
        return bool(self._keys[position] == _short(key))

    def covered(self, position: int) -> bool:
        """Whether a token has a profile, of whatever key."""
        return bool(self._places[position] >= 0)

    def all_covered(self) -> np.ndarray:
        """Whether each token has a profile, bool [n]."""
        return self._places >= 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _text(self, position: int) -> str | None:
        """The profile of a token; None where it has none."""
        if self._places[position] < 0:
            return None
        if self._file is None:
            self._file = open(self._path, "rb")  # noqa: SIM115
        self._file.seek(self._places[position])
        return parse_profile(parse_json(self._file.readline()), self._side).profile

    def _scan(self, store: ProfileStore, position_of: dict[str, int]) -> None:
        place = 0
        with open(self._path, "rb") as file:
            for line in file:
                try:
                    profile = parse_profile(parse_json(line), self._side)
                except ValueError:
                    if not line.endswith(b"\n"):
                        return
                    for _ in store.iter(self._side):
                        pass
                    raise StoreError(f"{self._path} changed while it was read; another process writes to it.") from None
                self._note(profile, place, position_of.get(profile.token))
                place += len(line)

    def _note(self, profile, place: int, position: int | None) -> None:
        self.usage[str(profile.extra.get("model"))].add(Usage.of(profile.extra.get("usage")))
        if position is None:
            return
        if self._places[position] >= 0:
            self.replaced.append(int(self._places[position]))
        self._places[position] = place
        self._keys[position] = _short(profile.extra.get("key"))


def _short(key) -> np.uint64:
    try:
        return np.uint64(int(key[:16], 16))
    except (TypeError, ValueError, OverflowError):
        return NO_KEY


def usage_of_lines(path: Path, places: Sequence[int]) -> dict[str, Usage]:
    """What the profiles in the lines that begin at ``places`` cost, by model."""
    usage: dict[str, Usage] = defaultdict(Usage)
    with open(path, "rb") as file:
        for place in places:
            file.seek(place)
            record = parse_json(file.readline())
            usage[str(record.get("model"))].add(Usage.of(record.get("usage")))
    return usage


def drop_lines(path: Path, places: Sequence[int]) -> None:
    """Remove the lines that begin at ``places``, all or none."""
    dead = set(places)
    with replacing(path) as temporary, open(path, "rb") as old, open(temporary, "wb") as new:
        place = 0
        for line in old:
            if place not in dead:
                new.write(line)
            place += len(line)
        new.flush()
        os.fsync(new.fileno())


@dataclass
class Failure:
    """A profile that was not obtained.

    Attributes
    ----------
    kind : str
        "answer": the model answered unusably each time; "refused": the server will not take the question; "server": it
        did not answer.
    attempts : int
        Answers that could not be used.
    answer : str
        The beginning of the last one.
    """

    side: str
    token: str
    kind: str
    reason: str
    attempts: int
    key: str
    model: str
    usage: dict = field(default_factory=dict)
    answer: str = ""


class Failures:
    """``failures.jsonl`` of a tag: appended to while a run goes on, rewritten without what was mended at its end.

    Attributes
    ----------
    usage_of_discarded : dict of str to Usage
        What the failures that were taken off the list had cost, by model.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "failures.jsonl"
        self._known: dict[tuple[str, str], Failure] = {}
        self._file = None
        self.usage_of_discarded: dict[str, Usage] = defaultdict(Usage)
        if self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                self._load(line)

    def __len__(self) -> int:
        return len(self._known)

    def tokens(self, side: str) -> set[str]:
        """Whose profiles failed."""
        return {token for place, token in self._known if place == side}

    def get(self, side: str, token: str) -> Failure | None:
        """The failure of a token, if it is listed."""
        return self._known.get((side, token))

    def count(self, side: str) -> int:
        """How many of a side are listed."""
        return sum(known == side for known, _ in self._known)

    def usage(self) -> dict[str, Usage]:
        """What the failures cost, by model."""
        total: dict[str, Usage] = defaultdict(Usage)
        for failure in self._known.values():
            total[failure.model].add(Usage.of(failure.usage))
        return total

    def add(self, failure: Failure) -> None:
        """List a failure, in place of an earlier one; on disk after the next :meth:`flush`."""
        self._replace(failure)
        if self._file is None:
            self._file = self._open()
        self._file.write(_line(failure))

    def _replace(self, failure: Failure) -> None:
        self.discard(failure.side, failure.token)
        self._known[failure.side, failure.token] = failure

    def _open(self):
        """The file for appending; what it holds stays, for what it cost."""
        mend_tail(self.path)
        return open(self.path, "ab")

    def discard(self, side: str, token: str) -> None:
        """Take a token off the list."""
        failure = self._known.pop((side, token), None)
        if failure is not None:
            self.usage_of_discarded[failure.model].add(Usage.of(failure.usage))

    def flush(self) -> None:
        """Write what was added to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def rewrite(self) -> None:
        """Leave exactly the listed failures in the file; no file when there are none."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if not self._known:
            self.path.unlink(missing_ok=True)
            return
        with replacing(self.path) as temporary:
            temporary.write_bytes(b"".join(_line(failure) for failure in self._known.values()))

    def _load(self, line: bytes) -> None:
        try:
            failure = Failure(**parse_json(line))
        except (ValueError, TypeError):
            if line.endswith(b"\n"):
                raise StoreError(f"{self.path} has a line that is no failure; delete the file to ask again.") from None
            return
        self._replace(failure)


def _line(failure: Failure) -> bytes:
    return json.dumps(asdict(failure), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
