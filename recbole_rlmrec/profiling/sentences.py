"""What template profiles say.

Item: title, year, attributes, description or else a few reviews. User: what the training history says about attribute
values, favourites by rating and eras. The sentences have few words of their own, because the encoder that goes with them
(LSA) counts words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from recbole_rlmrec.data.columns import snake
from recbole_rlmrec.profiling.shared import Shared, texts_at

N_VALUES = 5
N_FAVOURITES = 8
N_TITLES = 20
N_REVIEWS = 3
REVIEW_WORDS = 60
LIFT = 1.3
MIN_COUNT = 3
BLOCK = 4096

_YEAR = r"(?<!\d)((?:1[5-9]|20)\d\d)(?!\d)"


def item_texts(shared: Shared) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield token, text and quoted pairs of each item, a block of them in memory at a time."""
    size = len(shared.corpus.items)
    for start in range(0, size, BLOCK):
        yield from ItemTexts(shared, np.arange(start, min(start + BLOCK, size))).profiles()


def user_texts(shared: Shared) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield token, text and quoted pairs of each user, a block of them in memory at a time."""
    size = len(shared.corpus.users)
    for start in range(0, size, BLOCK):
        yield from UserTexts(shared, start, min(start + BLOCK, size)).profiles()


class ItemTexts:
    """Texts about some items, by their places among those of the corpus."""

    def __init__(self, shared: Shared, places: np.ndarray):
        self._shared, self._columns, self._places = shared, shared.columns, places
        self._tokens = pd.Index(shared.items(places), name="item")
        self.values = {name: shared.values_of(name, places) for name in shared.values}
        self.titles = self._column(self._columns.title).str.strip()
        self.years = self._column(self._columns.year).str.extract(_YEAR)[0].fillna("")
        self.kinds = self._kinds()

    def _column(self, name: str | None, wanted: pd.Series | None = None) -> pd.Series:
        """A column of ``.item``; empty where it is not wanted."""
        texts = np.full(len(self._places), "", dtype=object)
        chosen = slice(None) if wanted is None else wanted.to_numpy(dtype=bool)
        if name:
            texts[chosen] = texts_at(self._shared.corpus.texts_of_items(name), self._places[chosen])
        return pd.Series(texts, index=self._tokens, dtype=object)

    def _kinds(self) -> pd.Series:
        """Attribute values of each item in a row, by item token."""
        if not self.values:
            return self._column(None)
        values = pd.concat(self.values.values())
        return _joined(values, "item", "value").reindex(self._tokens, fill_value="")

    def label(self) -> pd.Series:
        """How a user's profile refers to an item: title, or else the start of its description, with year and kinds."""
        description = self._column(self._columns.description, self.titles == "").str.split().str[:8].str.join(" ")
        name = self.titles.where(self.titles != "", description)
        details = _row_text(self.years, self.kinds, separator=", ")
        return name.where((name == "") | (details == ""), name + " (" + details + ")")

    def profiles(self) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
        """Yield token, text and quoted pairs of each item."""
        title = self.titles.where(self.years == "", self.titles + " (" + self.years + ")").where(self.titles != "", "")
        parts = [title] + [self._attribute(name) for name in self._columns.attributes]
        description = self._column(self._columns.description).str.strip()
        reviews, pairs = self._reviews((description == "").to_numpy())
        texts = _sentences(*parts, description, reviews)
        for token, text in texts.items():
            yield token, text, pairs.get(token, [])

    def _attribute(self, name: str) -> pd.Series:
        if name in self.values:
            column = _joined(self.values[name], "item", "value").reindex(self._tokens, fill_value="")
        else:
            column = self._column(name).str.strip()
        return column.where(column == "", f"{_words(name)}: " + column)

    def _reviews(self, wanted: np.ndarray) -> tuple[pd.Series, dict[str, list[tuple[str, str]]]]:
        """A few training reviews of the items that have no description, the longest first, and whose they are."""
        empty = self._column(None)
        if not self._columns.reviews or not wanted.any():
            return empty, {}
        order, starts = self._shared.by_item
        rows = np.concatenate([order[starts[place] : starts[place + 1]] for place in self._places[wanted]])
        rows = _longest_reviews(self._shared.rows(rows, self._columns.reviews), self._columns.reviews, "item")
        pairs = _grouped(rows["item"], zip(rows["user"], rows["item"]))
        return _joined(rows, "item", "review", " / ").reindex(empty.index, fill_value=""), pairs


class UserTexts:
    """Texts about the users between two places, from their training interactions alone."""

    def __init__(self, shared: Shared, start: int, stop: int):
        self._shared, self._columns = shared, shared.columns
        self._places = np.arange(start, stop)
        self._tokens = pd.Index(shared.users(slice(start, stop)), name="user")
        self._slice = shared.rows_between(start, stop)
        self._rows = shared.rows(self._slice, [])
        self._items = ItemTexts(shared, np.unique(shared.rows_items[self._slice]))
        self._ratings = self._own_ratings()

    def _own_ratings(self) -> pd.Series | None:
        if not self._shared.rated:
            return None
        return pd.to_numeric(self._shared.rows(self._slice, [self._columns.rating])[self._columns.rating], errors="coerce")

    def profiles(self) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
        """Yield token, text and quoted pairs of each user."""
        parts = [self._about(), *(self._values(name) for name in self._items.values), self._eras(), *self._titles()]
        parts.append(self._reviews())
        parts = [part.reindex(self._tokens, fill_value="") for part in parts]
        texts = _sentences(*parts)
        history = _grouped(self._rows["user"], zip(self._rows["user"], self._rows["item"]))
        from_history = _sentences(*parts[1:]) != ""
        for token, text in texts.items():
            yield token, text, history.get(token, []) if from_history[token] else []

    def _about(self) -> pd.Series:
        """What .user says."""
        parts = []
        for name in self._columns.user_attributes:
            column = pd.Series(texts_at(self._shared.corpus.texts_of_users(name), self._places), self._tokens, dtype=object)
            column = column.str.strip()
            parts.append(column.where(column == "", f"{_words(name)}: " + column))
        return _sentences(*parts) if parts else pd.Series("", index=self._tokens, dtype=object)

    def _values(self, name: str) -> pd.Series:
        """The most frequent values of an attribute, and those that the user chooses more often than others do."""
        counts = self._counts(name)
        most = counts.groupby("user", sort=False).head(N_VALUES)
        more = counts[(counts["lift"] >= LIFT) & (counts["count"] >= MIN_COUNT)]
        more = more.sort_values(["user", "lift", "value"], ascending=[True, False, True])
        more = more.groupby("user", sort=False).head(N_VALUES)
        label = _words(name)
        most, more = (_joined(part, "user", "value").reindex(self._tokens, fill_value="") for part in (most, more))
        return _sentences(
            most.where(most == "", f"{label}, most frequent: " + most),
            more.where(more == "", f"{label}, more than others: " + more),
        )

    def _counts(self, name: str) -> pd.DataFrame:
        """Columns user, value, count and lift (share in the user's history over share in all), most frequent first."""
        rows = self._rows.merge(self._items.values[name], on="item")
        counts = rows.groupby(["user", "value"], sort=False).size().rename("count").reset_index()
        share = counts["value"].map(self._shared.shares[name])
        counts["lift"] = counts["count"] / counts.groupby("user")["count"].transform("sum") / share
        return counts.sort_values(["user", "count", "value"], ascending=[True, False, True])

    def _eras(self) -> pd.Series:
        """The two most frequent decades."""
        decades = self._items.years.str[:3].where(self._items.years == "", self._items.years.str[:3] + "0s")
        rows = self._rows.assign(value=self._rows["item"].map(decades))
        rows = rows[rows["value"] != ""]
        counts = rows.groupby(["user", "value"], sort=False).size().rename("count").reset_index()
        counts = counts.sort_values(["user", "count", "value"], ascending=[True, False, True])
        eras = _joined(counts.groupby("user", sort=False).head(2), "user", "value")
        return eras.where(eras == "", "Mostly from the " + eras)

    def _titles(self) -> tuple[pd.Series, pd.Series]:
        """Favourites by the user's own rating, and a sample of the rest, evenly spaced over time."""
        rows = self._rows.assign(label=self._rows["item"].map(self._items.label()))
        rows = rows[rows["label"] != ""]
        favourites = rows.iloc[:0]
        if self._ratings is not None:
            favourites = self._favourites(rows)
        rest = rows.drop(index=favourites.index)
        rest = rest.assign(label=rest["item"].map(self._items.titles)).query("label != ''")
        place, size = rest.groupby("user").cumcount(), rest.groupby("user")["item"].transform("size")
        step = np.maximum(-(-size // N_TITLES), 1)
        liked = _joined(favourites, "user", "label", "; ")
        others = _joined(rest[place % step == 0], "user", "label", "; ")
        return liked.where(liked == "", "Favourites: " + liked), others.where(others == "", "Also chose: " + others)

    def _reviews(self) -> pd.Series:
        """A few of the user's own reviews, the longest first."""
        if not self._columns.reviews:
            return pd.Series(dtype=object)
        rows = _longest_reviews(self._shared.rows(self._slice, self._columns.reviews), self._columns.reviews, "user")
        return "In own words: " + _joined(rows, "user", "review", " / ")

    def _favourites(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows that the user rated above the own mean, the highest and then the latest first."""
        ratings = self._ratings.loc[rows.index]
        above = ratings > ratings.groupby(rows["user"]).transform("mean")
        rows = rows.assign(rating=ratings, order=np.arange(len(rows)))[above]
        rows = rows.sort_values(["user", "rating", "order"], ascending=[True, False, False])
        return rows.groupby("user", sort=False).head(N_FAVOURITES)


def _joined(rows: pd.DataFrame, key: str, column: str, separator: str = ", ") -> pd.Series:
    """Values of ``column`` in one text per ``key``, in the order of the rows."""
    texts = {token: separator.join(values) for token, values in _grouped(rows[key], rows[column]).items()}
    return pd.Series(list(texts.values()), index=pd.Index(list(texts), dtype=object, name=key), dtype=object)


def _grouped(keys: Iterable[str], values: Iterable) -> dict[str, list]:
    """Values by key, both in the order in which they come."""
    found = {}
    for key, value in zip(keys, values, strict=True):
        found.setdefault(key, []).append(value)
    return found


def _row_text(*parts: pd.Series, separator: str) -> pd.Series:
    """Texts of several series of one index put together row by row, empty ones left out."""
    rows = zip(*(part.to_numpy() for part in parts))
    return pd.Series([separator.join(filter(None, row)) for row in rows], index=parts[0].index, dtype=object)


def _sentences(*parts: pd.Series) -> pd.Series:
    """As :func:`_row_text`, each text ending as a sentence."""
    ended = [part.where((part == "") | part.str.endswith((".", "!", "?")), part + ".") for part in parts]
    return _row_text(*ended, separator=" ")


def _longest_reviews(rows: pd.DataFrame, columns: list[str], key: str) -> pd.DataFrame:
    """The longest reviews of each ``key``, cut to a number of words: columns user, item, review.

    Where there are several columns of reviews, the first that is not empty counts.
    """
    text = rows[columns[0]]
    for name in columns[1:]:
        text = text.where(text.str.strip() != "", rows[name])
    words = text.str.split()
    rows = rows[["user", "item"]].assign(length=words.str.len(), review=words.str[:REVIEW_WORDS].str.join(" "))
    rows = rows[rows["length"] > 0].sort_values([key, "length", "user", "item"], ascending=[True, False, True, True])
    return rows.groupby(key, sort=False).head(N_REVIEWS)


def _words(column: str) -> str:
    """A column's name as a person would write it."""
    return snake(column).replace("_", " ").capitalize()
