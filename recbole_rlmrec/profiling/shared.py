"""What template profiles of one block of users or items need to know of all of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pandas as pd

from recbole_rlmrec.data.columns import SAMPLE, Columns, mean_words
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.texts import Picked, filled

_ROWS = 1 << 16


class Shared:
    """What texts about any user or item need of all of them: values by which items are sorted into kinds, and who rated.

    Parameters
    ----------
    corpus : Corpus
    columns : Columns
    """

    def __init__(self, corpus: Corpus, columns: Columns):
        self.corpus, self.columns = corpus, columns
        self._users, self._items = np.asarray(corpus.users), np.asarray(corpus.items)
        self.values = {name: found for name in columns.attributes if (found := self._categories(name)) is not None}
        self.rows_users, self.rows_items = corpus.pairs()

    def _categories(self, name: str) -> Values | None:
        """Values of a column by item if it is one that sorts items into kinds, None for free text."""
        texts = self.corpus.texts_of_items(name)
        places = np.flatnonzero(filled(texts))
        some = pd.Series(texts_at(texts, places[:: max(len(places) // SAMPLE, 1)]), dtype=object)
        sentences = some.str.contains(r"[.!?]$", regex=True).mean() if len(some) else 1.0
        if sentences > 0.2 or mean_words(some) > 10:
            return None
        values = Values(self.corpus.values_of_items(name))
        return values if values.repeats >= 2 and values.numbers <= 0.5 else None

    @cached_property
    def rated(self) -> bool:
        """Whether there are ratings, and not all alike."""
        if not self.columns.rating:
            return False
        texts, seen = self.corpus.texts_of_rows(self.columns.rating), set()
        for start in range(0, len(texts), _ROWS):
            ratings = pd.to_numeric(pd.Series(texts_at(texts, slice(start, start + _ROWS))), errors="coerce")
            seen.update(ratings.dropna().unique().tolist()[:2])
            if len(seen) > 1:
                return True
        return False

    @cached_property
    def shares(self) -> dict[str, pd.Series]:
        """Share of each value in all interactions, by attribute."""
        chosen = np.zeros(len(self._items), dtype=np.int64)
        for start in range(0, len(self.rows_items), _ROWS):  # numpy makes int64 of what it counts
            np.add.at(chosen, self.rows_items[start : start + _ROWS], 1)
        return {name: values.shares(chosen) for name, values in self.values.items()}

    @cached_property
    def by_item(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of interactions by item, and where those of each item begin, int [n] and [items + 1]."""
        order = np.argsort(self.rows_items, kind="stable").astype(self.rows_items.dtype)
        ends = np.arange(len(self._items) + 1, dtype=self.rows_items.dtype)  # of one type, else all are converted
        return order, np.searchsorted(self.rows_items, ends, sorter=order)

    def rows_between(self, first: int, last: int) -> slice:
        """Interactions of the users from one place up to another."""
        return slice(*np.searchsorted(self.rows_users, np.array([first, last], dtype=self.rows_users.dtype)))

    def users(self, places: np.ndarray | slice) -> np.ndarray:
        """Tokens of some users, object [k]."""
        return self._users[places].astype(object)

    def items(self, places: np.ndarray | slice) -> np.ndarray:
        """Tokens of some items, object [k]."""
        return self._items[places].astype(object)

    def values_of(self, name: str, places: np.ndarray) -> pd.DataFrame:
        """Values of an attribute, columns ``item`` and ``value``, of some items."""
        at, values = self.values[name].of(places)
        return pd.DataFrame({"item": self.items(places)[at], "value": values}, dtype=object)

    def rows(self, rows: np.ndarray | slice, names: list[str]) -> pd.DataFrame:
        """Some interactions: ``user`` and ``item`` tokens and columns of text."""
        texts = {name: texts_at(self.corpus.texts_of_rows(name), rows) for name in names}
        users, items = self.users(self.rows_users[rows]), self.items(self.rows_items[rows])
        return pd.DataFrame({"user": users, "item": items, **texts}, dtype=object)


class Values:
    """Values of an attribute of items: numbers that stand for them, by item."""

    def __init__(self, values: Iterable[list[str]]):
        code_of, codes, starts = {}, array("i"), array("q", [0])
        for found in values:
            codes.extend([code_of.setdefault(value, len(code_of)) for value in found])
            starts.append(len(codes))
        self.names = np.array([*code_of], dtype=object)
        self._codes, self._starts = np.frombuffer(codes, dtype=np.int32), np.frombuffer(starts, dtype=np.int64)
        self.repeats = len(codes) / max(len(self.names), 1)
        numbers = pd.Series(self.names, dtype=object).str.match(r"^[\d.+-]+$").to_numpy(dtype=bool)
        self.numbers = numbers[self._codes].mean() if len(codes) else 0.0

    def of(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of some items, object [n], and the position among ``places`` of the item of each, int [n]; that first."""
        starts, counts = self._starts[places], self._starts[places + 1] - self._starts[places]
        at = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return np.repeat(np.arange(len(places)), counts), self.names[self._codes[at]]

    def shares(self, chosen: np.ndarray) -> pd.Series:
        """Share of each value where items come so often."""
        counts = np.bincount(self._codes, np.repeat(chosen, np.diff(self._starts)), len(self.names))
        return pd.Series(counts / max(counts.sum(), 1), index=self.names)


def texts_at(texts: Picked | np.ndarray, places: np.ndarray | slice) -> np.ndarray:
    """Some texts of a column, object [n]."""
    return texts[places] if isinstance(texts, np.ndarray) else texts.values(places)
