"""Questions out of a corpus: which texts, which training interactions, and how they are made to fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_rlmrec.data.corpus import Columns, Corpus
from recbole_rlmrec.data.pairs import token_prints
from recbole_rlmrec.data.texts import Picked, blocks_of, filled
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.llm.tokens import MESSAGE_TOKENS, TokenCounter
from recbole_rlmrec.profiling.dates import dates
from recbole_rlmrec.profiling.fitting import SHORTEST_PART, drop_longest, shorten
from recbole_rlmrec.profiling.prompts import HISTORIES, Domain, wrap

DESCRIBE_WITH = ("both", "description", "attributes", "reviews")
MOST_ROUNDS = 8


@dataclass(frozen=True)
class Sampling:
    """How much of the data a question quotes.

    Attributes
    ----------
    seed : int
        Of the samples.
    items : int
        Interactions in a user's question.
    reviews : int
        Reviews in an item's question.
    max_tokens : int
        Longest question, instructions included.
    describe_with : str
        What an item is described by, beside its title: ``both`` attributes and description, and reviews where there is no
        description; the ``description``, and all else only where there is none, as in the paper; ``attributes`` or
        ``reviews`` alone, and all else where there are none.
    history : str
        Which interactions a user's question quotes: a ``sample``, or the ``latest`` ones in the order of time.
    """

    seed: int
    items: int = 12
    reviews: int = 6
    max_tokens: int = 3000
    describe_with: str = "both"
    history: str = "sample"

    def __post_init__(self) -> None:
        if self.describe_with not in DESCRIBE_WITH:
            raise ConfigError(f"--describe-with is one of {', '.join(DESCRIBE_WITH)}, not {self.describe_with!r}.")
        if self.history not in HISTORIES:
            raise ConfigError(f"--history is one of {', '.join(HISTORIES)}, not {self.history!r}.")


class PromptBuilder:
    """Makes the question for any user or item of a corpus.

    With ``history: latest`` a user's question quotes the latest training interactions, the oldest first, with dates where the
    times are such. Samples are uniform and without replacement, and depend on the seed and the tokens alone: those with the
    smallest hash are taken, so that a new interaction changes a sample only when it enters it.

    Parameters
    ----------
    corpus : Corpus
    columns : Columns
        Which columns hold what.
    domain : Domain
    counter : TokenCounter
    sampling : Sampling

    Attributes
    ----------
    system : dict of str to str
        The system prompts of both sides.
    """

    def __init__(self, corpus: Corpus, columns: Columns, domain: Domain, counter: TokenCounter, sampling: Sampling) -> None:
        self.users: Sequence[str] = corpus.users
        self.items: Sequence[str] = corpus.items
        self.sampling = sampling
        self._domain = domain
        self._counter = counter
        self.system = {side: domain.system(side, sampling.history) for side in ("item", "user")}
        self._check_budget()
        self._titles = corpus.texts_of_items(columns.title) if columns.title else None
        self._descriptions = corpus.texts_of_items(columns.description) if columns.description else None
        named = dict.fromkeys([*columns.attributes, *filter(None, [columns.year])])
        self._attributes = {name: corpus.texts_of_items(name) for name in named}
        self._reviews = [corpus.texts_of_rows(name) for name in columns.reviews]
        self._ratings = corpus.texts_of_rows(columns.rating) if columns.rating else None
        self._scale = _scale(self._ratings)
        self._user_of, self._item_of = corpus.pairs()
        self._times = corpus.texts_of_rows(corpus.time_field) if corpus.time_field in corpus.row_columns() else None
        self._in_order = sampling.history == "latest"
        self._dates = None
        if self._in_order and columns.timestamp:
            self._dates = dates(corpus.texts_of_rows(columns.timestamp))
        self._rows_of_user = _Grouped(self._user_of, len(self.users))
        self._rows_of_item = _Grouped(self._item_of, len(self.items)) if self._reviews else None
        salt = str(sampling.seed).encode()[:16]
        self._user_hash, self._item_hash = token_prints(self.users, salt), token_prints(self.items, salt)

    def item(self, position: int) -> Prompt | None:
        """Question about ``self.items[position]``; None when there is no text about it.

        What it quotes is chosen by ``sampling.describe_with``; reviews are those of training interactions.
        """
        data, sample = self._about(position)
        if not data:
            return None
        return self._prompt("item", self.items[position], data, data.get("reviews"), sample)

    def has_text(self, position: int) -> bool:
        """Whether there is a question about ``self.items[position]``."""
        return bool(self._about(position)[0])

    def may_ask(self, side: str, described: np.ndarray | None = None) -> np.ndarray:
        """Of whom there may be a question: those with a text that is more than nothing, be it blank; bool [items or users].

        Parameters
        ----------
        side : str
        described : bool [items], optional
            Items that have a profile or will get one, whose users can be asked about; for users.
        """
        reviewed = np.zeros(len(self._user_of), dtype=bool)
        for values in self._reviews:
            reviewed |= filled(values)
        known = self._user_of >= 0, self._item_of >= 0
        if side == "item":
            columns = [self._titles, self._descriptions, *self._attributes.values()]
            found = np.zeros(len(self.items), dtype=bool)
            for values in columns:
                found |= filled(values) if values is not None else False
            if self.sampling.reviews:
                found[self._item_of[reviewed & known[0] & known[1]]] = True
            return found
        named = np.zeros(len(self.items), dtype=bool) if described is None else described.copy()
        named |= filled(self._titles) if self._titles is not None else False
        found = np.zeros(len(self.users), dtype=bool)
        found[self._user_of[known[0] & known[1] & (reviewed | np.append(named, False)[self._item_of])]] = True
        return found

    def _about(self, position: int) -> tuple[dict[str, Any], Sequence[int]]:
        """What there is to say of an item, and the rows whose reviews are quoted."""
        texts = {name: values[position].strip() for name, values in self._attributes.items()}
        attributes = {_attribute(name): text for name, text in texts.items() if text}
        description = self._descriptions[position].strip() if self._descriptions is not None else ""
        way = self.sampling.describe_with
        alone = {"description": description, "attributes": attributes}.get(way)
        sample = [] if alone or (way == "both" and description) else self._sample_reviews(position)
        alone = alone or (sample if way == "reviews" else None)
        data: dict[str, Any] = {"title": self._title(position)}
        if not alone or way == "attributes":
            data |= attributes
        if not alone or way == "description":
            data["description"] = description
        data["reviews"] = [self._review(row) for row in sample]
        return {name: value for name, value in data.items() if value}, sample

    def user(self, position: int, profile_of: Callable[[int], str | None]) -> Prompt | None:
        """Question about ``self.users[position]``; None when the user's training interactions have no text.

        Parameters
        ----------
        position : int
        profile_of : callable
            The profile of ``self.items[i]``, or None.
        """
        history, rows = self._history(position, profile_of)
        if not history:
            return None
        if self._in_order:
            history, rows = history[::-1], rows[::-1]
        rated = any("rating" in entry for entry in history)
        data = {"rating_scale": self._scale, "history": history} if rated else {"history": history}
        return self._prompt("user", self.users[position], data, history, rows)

    def _history(self, position: int, profile_of: Callable[[int], str | None]) -> tuple[list[dict[str, str]], list[int]]:
        """What a question about a user quotes, and the rows; interactions that say nothing are passed over."""
        history, rows, quoted = [], [], set()
        for row in self._sample_history(position):
            entry = self._entry(row, profile_of)
            if entry.get("review") in quoted:
                del entry["review"]
            if entry.keys() - {"rating", "date"}:
                quoted.add(entry.get("review", ""))
                history.append(entry)
                rows.append(row)
            if len(history) == self.sampling.items:
                break
        return history, rows

    def quoted_items(self, position: int) -> list[int]:
        """Positions of the items that the question about a user quotes, once all that have a text have a profile."""
        _, rows = self._history(position, lambda item: "a profile" if self.has_text(item) else None)
        return [int(self._item_of[row]) for row in rows]

    def title(self, position: int) -> str:
        """What ``self.items[position]`` is called, its token where it has no title."""
        return self._title(position) or self.items[position]

    def _check_budget(self) -> None:
        for side, system in self.system.items():
            needed = self._counter.count_messages([system, wrap({})]) + 4 * SHORTEST_PART
            if self.sampling.max_tokens < needed:
                raise ConfigError(
                    f"--max-prompt-tokens {self.sampling.max_tokens} is too small: for the {side} side the "
                    f"instructions alone need about {needed} tokens."
                )

    def _title(self, position: int) -> str:
        return self._titles[position].strip() if self._titles is not None else ""

    def _entry(self, row: int, profile_of: Callable[[int], str | None]) -> dict[str, str]:
        item = self._item_of[row]
        entry = {
            "title": self._title(item),
            "date": self._dates[row] if self._dates is not None else "",
            "profile": profile_of(item),
            "rating": str(self._ratings[row]).strip() if self._ratings is not None else "",
            "review": self._review(row),
        }
        return {name: value for name, value in entry.items() if value}

    def _review(self, row: int) -> str:
        return "\n".join(text for text in (str(values[row]).strip() for values in self._reviews) if text)

    def _pair(self, row: int) -> tuple[str, str]:
        return self.users[self._user_of[row]], self.items[self._item_of[row]]

    def _sample_history(self, position: int) -> Sequence[int]:
        rows = self._rows_of_user[position]
        rows = rows[self._item_of[rows] >= 0]
        if self._in_order:
            return rows[::-1].tolist()
        return _ordered(rows, self._item_of[rows], self._item_hash, self._user_hash[position])

    def _sample_reviews(self, position: int) -> Sequence[int]:
        if self._rows_of_item is None or not self.sampling.reviews:
            return []
        rows = self._rows_of_item[position]
        rows = rows[self._user_of[rows] >= 0]
        ordered = _ordered(rows, self._user_of[rows], self._user_hash, self._item_hash[position])
        sample, quoted = [], {""}
        for row in ordered:
            if (review := self._review(row)) not in quoted:
                quoted.add(review)
                sample.append(row)
            if len(sample) == self.sampling.reviews:
                break
        return sample

    def _prompt(self, side: str, token: str, data: dict, entries: list | None, rows: list) -> Prompt:
        system = self.system[side]
        message, tokens = self._fit(system, data, entries, rows, 0 if side == "user" and self._in_order else -1)
        words = getattr(self._domain, side).max_words
        pairs = tuple(self._pair(row) for row in rows)
        times = tuple(_number(self._times[row]) for row in rows) if self._times is not None else ()
        times = times if any(time is not None for time in times) else ()
        return Prompt(side, token, system, message, pairs, words, tokens, times)

    def _fit(self, system: str, data: dict, entries: list | None, rows: list, least: int) -> tuple[str, int]:
        """Message of at most ``max_tokens`` and its tokens.

        The longest texts are cut first; where little would be left of each, the entry at ``least`` goes, with its row.
        """
        count, most = self._counter.count, self.sampling.max_tokens
        fixed = count(system) + 2 * MESSAGE_TOKENS
        while True:
            message = wrap(data)
            tokens = fixed + count(message)
            for _ in range(MOST_ROUNDS):
                if tokens <= most:
                    return message, tokens
                if not shorten(data, tokens - most, self._counter):
                    break
                message = wrap(data)
                tokens = fixed + count(message)
            if entries and len(entries) > 1:
                entries.pop(least)
                rows.pop(least)
            else:
                drop_longest(data)


def _number(text: str) -> float | None:
    """A time as JSON has it, None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if np.isnan(value) else int(value) if value.is_integer() else value


def _attribute(name: str) -> str:
    """What a question calls an attribute: never as it calls the title, the description or the reviews."""
    return f"other {name}" if name in ("title", "description", "reviews") else name


class _Grouped:
    """Rows by group: ``grouped[g]`` are the rows whose code is ``g``, in order."""

    def __init__(self, codes: np.ndarray, n_groups: int) -> None:
        self._rows = None
        if len(codes) and (codes[0] < 0 or (codes[1:] < codes[:-1]).any()):
            order = np.argsort(codes, kind="stable")
            order = order[np.searchsorted(codes, 0, sorter=order) :]
            self._rows = order.astype(np.int32) if len(codes) < 1 << 31 else order
            codes = codes[self._rows]
        self._starts = np.searchsorted(codes, np.arange(n_groups + 1, dtype=codes.dtype))

    def __getitem__(self, group: int) -> np.ndarray:
        first, last = self._starts[group], self._starts[group + 1]
        return np.arange(first, last) if self._rows is None else self._rows[first:last]


def _scale(ratings: Picked | np.ndarray | None) -> str:
    """For example "1 to 5": the range of the ratings of the training interactions."""
    texts = set() if ratings is None else set().union(*blocks_of(ratings))
    numbers = pd.to_numeric(pd.Series([*texts], dtype=object), errors="coerce").dropna()
    return f"{min(numbers):g} to {max(numbers):g}" if len(numbers) else ""


def _ordered(rows: np.ndarray, codes: np.ndarray, hashes: np.ndarray, mixed_with: np.uint64) -> list[int]:
    """Rows in pseudo-random order."""
    return rows[np.argsort(_mix(hashes[codes] ^ mixed_with), kind="stable")].tolist()


def _mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64: spreads every bit over all of them."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
