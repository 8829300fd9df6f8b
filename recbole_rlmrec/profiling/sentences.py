"""What template profiles say.

Item: title, year, attributes, description or else a few reviews. User: what the training history says about attribute
values, favourites by rating and eras. The sentences have few words of their own, because the encoder that goes with them
(LSA) counts words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from recbole_rlmrec.data.columns import Columns, mean_words, sample, snake
from recbole_rlmrec.data.corpus import Corpus

N_VALUES = 5
N_FAVOURITES = 8
N_TITLES = 20
N_REVIEWS = 3
REVIEW_WORDS = 60
LIFT = 1.3
MIN_COUNT = 3

_YEAR = r"(?<!\d)((?:1[5-9]|20)\d\d)(?!\d)"


class ItemTexts:
    """Texts about items."""

    def __init__(self, corpus: Corpus, columns: Columns):
        self._corpus, self._columns = corpus, columns
        fields = corpus.item_fields if corpus.item_fields is not None else pd.DataFrame()
        self._fields = fields.reindex(corpus.items, fill_value="")
        self.values = {name: values for name in columns.attributes if (values := self._categories(name)) is not None}
        self.titles = self._column(columns.title).str.strip()
        self.years = self._column(columns.year).str.extract(_YEAR)[0].fillna("")
        self.kinds = self._kinds()

    def _column(self, name: str | None) -> pd.Series:
        return self._fields[name] if name else pd.Series("", index=self._fields.index, dtype=object)

    def _categories(self, name: str) -> pd.DataFrame | None:
        """Values of a column by item if it is one that sorts items into kinds, None for free text."""
        filled = sample(self._fields[name])
        sentences = filled.str.contains(r"[.!?]$", regex=True).mean() if len(filled) else 1.0
        values = self._corpus.item_values(name)
        values = values[values["item"].isin(self._fields.index)]
        repeats = len(values) / max(values["value"].nunique(), 1)
        if sentences > 0.2 or mean_words(filled) > 10 or repeats < 2 or values["value"].str.match(r"^[\d.+-]+$").mean() > 0.5:
            return None
        return values

    def _kinds(self) -> pd.Series:
        """Attribute values of each item in a row, by item token."""
        if not self.values:
            return self._column(None)
        values = pd.concat(self.values.values())
        return _joined(values, "item", "value").reindex(self._fields.index, fill_value="")

    def label(self) -> pd.Series:
        """How a user's profile refers to an item: title, or else the start of its description, with year and kinds."""
        description = self._column(self._columns.description).str.split().str[:8].str.join(" ")
        name = self.titles.where(self.titles != "", description)
        details = _row_text(self.years, self.kinds, separator=", ")
        return name.where((name == "") | (details == ""), name + " (" + details + ")")

    def profiles(self) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
        """Yield token, text and quoted pairs of each item."""
        title = self.titles.where(self.years == "", self.titles + " (" + self.years + ")").where(self.titles != "", "")
        parts = [title] + [self._attribute(name) for name in self._columns.attributes]
        description = self._column(self._columns.description).str.strip()
        reviews, pairs = self._reviews(description == "")
        texts = _sentences(*parts, description, reviews)
        for token, text in texts.items():
            yield token, text, pairs.get(token, [])

    def _attribute(self, name: str) -> pd.Series:
        column = self._fields[name].str.strip()
        if name in self.values:
            column = _joined(self.values[name], "item", "value").reindex(column.index, fill_value="")
        return column.where(column == "", f"{_words(name)}: " + column)

    def _reviews(self, wanted: pd.Series) -> tuple[pd.Series, dict[str, list[tuple[str, str]]]]:
        """A few training reviews of the items that have no description, the longest first, and whose they are."""
        empty = self._column(None)
        if not self._columns.reviews:
            return empty, {}
        rows = self._corpus.interactions
        rows = rows[rows["item"].isin(wanted.index[wanted])]
        rows = _longest_reviews(rows, self._columns.reviews, "item")
        pairs = {item: list(zip(group["user"], group["item"])) for item, group in rows.groupby("item")}
        return _joined(rows, "item", "review", " / ").reindex(empty.index, fill_value=""), pairs


class UserTexts:
    """Texts about users, from their training interactions alone."""

    def __init__(self, corpus: Corpus, columns: Columns, items: ItemTexts):
        self._corpus, self._columns, self._items = corpus, columns, items
        self._rows = corpus.interactions[["user", "item"]]
        self._ratings = self._own_ratings()

    def _own_ratings(self) -> pd.Series | None:
        if not self._columns.rating:
            return None
        ratings = pd.to_numeric(self._corpus.interactions[self._columns.rating], errors="coerce")
        return ratings if ratings.nunique() > 1 else None

    def profiles(self) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
        """Yield token, text and quoted pairs of each user."""
        parts = [self._about(), *(self._values(name) for name in self._items.values), self._eras(), *self._titles()]
        parts.append(self._reviews())
        parts = [part.reindex(self._corpus.users, fill_value="") for part in parts]
        texts = _sentences(*parts)
        history = {user: list(zip(g["user"], g["item"])) for user, g in self._rows.groupby("user", sort=False)}
        from_history = _sentences(*parts[1:]) != ""
        for token, text in texts.items():
            yield token, text, history.get(token, []) if from_history[token] else []

    def _about(self) -> pd.Series:
        """What .user says."""
        fields = self._corpus.user_fields
        if fields is None or not self._columns.user_attributes:
            return pd.Series("", index=self._corpus.users, dtype=object)
        known = fields.reindex(self._corpus.users, fill_value="")
        parts = [known[name].str.strip() for name in self._columns.user_attributes]
        names = [_words(name) for name in self._columns.user_attributes]
        return _sentences(*(p.where(p == "", f"{n}: " + p) for n, p in zip(names, parts)))

    def _values(self, name: str) -> pd.Series:
        """The most frequent values of an attribute, and those that the user chooses more often than others do."""
        counts = self._counts(self._items.values[name])
        most = counts.groupby("user", sort=False).head(N_VALUES)
        more = counts[(counts["lift"] >= LIFT) & (counts["count"] >= MIN_COUNT)]
        more = more.sort_values(["user", "lift", "value"], ascending=[True, False, True])
        more = more.groupby("user", sort=False).head(N_VALUES)
        label = _words(name)
        most, more = (_joined(part, "user", "value").reindex(self._corpus.users, fill_value="") for part in (most, more))
        return _sentences(
            most.where(most == "", f"{label}, most frequent: " + most),
            more.where(more == "", f"{label}, more than others: " + more),
        )

    def _counts(self, values: pd.DataFrame) -> pd.DataFrame:
        """Columns user, value, count and lift (share in the user's history over share in all), most frequent first."""
        rows = self._rows.merge(values, on="item")
        counts = rows.groupby(["user", "value"], sort=False).size().rename("count").reset_index()
        share = rows["value"].value_counts(normalize=True)
        counts["lift"] = counts["count"] / counts.groupby("user")["count"].transform("sum") / counts["value"].map(share)
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
        rows = _longest_reviews(self._corpus.interactions, self._columns.reviews, "user")
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
    return rows.groupby(key, sort=False)[column].agg(separator.join).astype(object)


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
