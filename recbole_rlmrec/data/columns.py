"""Which column of a dataset is the title, the description, a review, a rating: guessed from names, types and values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pandas as pd

from recbole_rlmrec.data.atomic import FeatureType

TITLES = (
    "title",
    "movie_title",
    "item_title",
    "book_title",
    "product_title",
    "original_title",
    "name",
    "item_name",
    "product_name",
    "business_name",
    "game_name",
    "app_name",
    "track_name",
    "song_name",
    "headline",
)
DESCRIPTIONS = (
    "description",
    "item_description",
    "product_description",
    "overview",
    "summary",
    "plot",
    "synopsis",
    "abstract",
    "text",
    "content",
    "body",
    "about",
    "blurb",
    "storyline",
)
REVIEWS = (
    "review",
    "review_text",
    "text_review",
    "review_body",
    "review_content",
    "text",
    "comment",
    "comments",
    "comment_text",
    "tip",
    "feedback",
    "review_title",
    "review_summary",
    "summary",
)
YEARS = (
    "release_year",
    "year",
    "publication_year",
    "published_year",
    "year_of_publication",
    "release_date",
    "publication_date",
    "publish_date",
    "release",
    "date",
)
# Counts and means of what users did, by name: who counted them may have counted held-out interactions, too.
_COUNTED = (
    r"(ratings?|reviews?|votes?|stars?|scores?|users?|members?|plays?|listens?|listeners?|purchases?|sales|orders?|clicks?|"
    r"views?|viewers?|watche[rds]s?|favou?rites?|fans?|likes?|dislikes?|followers?|subscribers?|downloads?|installs?|readers?|"
    r"interactions?|comments?|shelves|checkins?|tips?|wishlists?|recommendations?|playtime|bought|sold|purchased|shows?|"
    r"shares?|collects?|follows?|reports?|impressions?|exposures?)"
)
_AGGREGATE = re.compile(
    rf"^((avg|average|mean|median|num|total|count|cnt)_?|(number_of|no_of|nr_of|nr|n|nb|sum|share_of|times|positive|negative)_)"
    rf"(\w+_)?{_COUNTED}$|"
    rf"(^|_){_COUNTED}_(\w+_)?(avg|average|mean|median|num|number|n|nb|count|counts|cnt|total|sum|distribution|histogram)$|"
    r"(^|_)(popularity|pop_score|play_?count|num_?votes|num_?ratings|num_?reviews|scored_by|sales_?rank|(view|like|vote)_?count|"
    r"(ratings?|reviews?)_?count|bayes_average|weighted_(rating|score)|members|listeners|followers|subscribers|favou?rites|"
    r"upvotes|downvotes|helpful_votes|wishlisted|owners|checkins)$"
)
_AGGREGATE_IF_NUMBER = re.compile(
    r"^((overall|user|item|book|movie|community|imdb|tmdb|steam|goodreads|critics?|audience)_)?"
    r"(ratings?|scores?|stars|rank|ranking|votes|likes|fans|reviews|views|plays|sales|downloads|installs|useful|funny|cool|"
    r"recommendations|playtime)$"
)
_LISTS = re.compile(r"^(also_(buy|bought|view|viewed)|(frequently_)?bought_together|buy_after_viewing|related)$")
_UNREADABLE = re.compile(
    r"(^|_)(id|ids|url|urls|uri|link|links|href|image|images|img|poster|thumbnail|hash|asin|isbn|sku|uuid|guid|"
    r"embedding|emb|vector|feature|features|path|file|timestamp|unixtime|unix_time)$"
)
_ADDRESS = re.compile(r"^(https?://|www\.|/[\w.-]+/)")
_CODE = re.compile(r"^(?=\S*\d)(?=\S*[A-Za-z_-])[A-Za-z0-9_-]{6,}$|^[A-Za-z0-9_+/=-]{20,}$")
_NUMBER = re.compile(r"^[+-]?\d{4,}(\.\d+)?$")
_PLAIN_NUMBER = re.compile(r"^\s*[+-]?[\d,]*\.?\d+\s*$|^\W*[\d,]+ in \S")  # or a place among the sales, "850,624 in Books"
_DISTINCT = 0.5
SAMPLE = 2000


@dataclass
class Columns:
    """Roles of a dataset's columns; each is the name of a column or None, or a list of names.

    Attributes
    ----------
    title, description, year : str or None
        Columns of ``.item``.
    attributes : list of str
        Other readable columns of ``.item``, in the order of the file.
    user_attributes : list of str
        Readable columns of ``.user``, in the order of the file.
    reviews : list of str
        Columns of ``.inter`` that hold what the user wrote about the item, the longest form first.
    rating, timestamp : str or None
        Columns of ``.inter``.
    aggregates : list of str
        Columns of ``.item`` and ``.user`` that are left out unless they are named: see :func:`is_aggregate`.
    """

    title: str | None = None
    description: str | None = None
    attributes: list[str] = field(default_factory=list)
    reviews: list[str] = field(default_factory=list)
    rating: str | None = None
    timestamp: str | None = None
    year: str | None = None
    user_attributes: list[str] = field(default_factory=list)
    aggregates: list[str] = field(default_factory=list)


def pick(columns, names: tuple[str, ...]) -> str | None:
    """First of ``columns`` by the order of ``names``; case, dashes and camel case do not matter."""
    by_name = {snake(column): column for column in reversed(list(columns))}
    return next((by_name[name] for name in names if name in by_name), None)


def snake(name: str) -> str:
    """``reviewText`` or ``Review-Text`` as ``review_text``."""
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def sample(column: pd.Series) -> pd.Series:
    """At most 2,000 values of a column that are not empty, evenly spaced."""
    filled = column[column != ""]
    return filled.iloc[:: max(len(filled) // SAMPLE, 1)]


def mean_words(values: pd.Series) -> float:
    """Mean number of words, 0.0 for no values."""
    return float(values.str.count(r"\S+").mean()) if len(values) else 0.0


def is_readable(name: str, column: pd.Series, kind: FeatureType) -> bool:
    """Whether a column says something in words or plain numbers.

    Vectors, addresses, and columns of mostly distinct numbers or codes do not.

    Parameters
    ----------
    name : str
        Name of the column.
    column : Series of str
        Its values; empty means missing.
    kind : FeatureType
        Its type in the atomic file.
    """
    values = sample(column)
    if kind == FeatureType.FLOAT_SEQ or not len(values) or _UNREADABLE.search(snake(name)):
        return False
    if values.str.match(_ADDRESS).mean() > _DISTINCT:
        return False
    mostly_distinct = len(values) > 10 and values.nunique() / len(values) > _DISTINCT
    if not mostly_distinct:
        return True
    numeric = kind == FeatureType.TOKEN and values.str.match(_NUMBER).mean() > _DISTINCT
    return not numeric and values.str.match(_CODE).mean() <= _DISTINCT


def is_aggregate(name: str, column: pd.Series) -> bool:
    """Whether a column of ``.item`` or ``.user`` counts or averages interactions, such as ``avg_rating`` or ``members``.

    Whoever made it may have counted interactions that a run holds out. A ``rating`` is one where it is a number (4.2), not
    where it is a word (PG-13).

    Parameters
    ----------
    name : str
    column : Series of str
        Its values; empty means missing.
    """
    name, values = snake(name), sample(column)
    if _AGGREGATE.search(name):
        return True
    return bool(_AGGREGATE_IF_NUMBER.search(name)) and len(values) > 0 and values.str.match(_PLAIN_NUMBER).mean() > _DISTINCT


def name_of_lists(name: str) -> bool:
    """Whether a column is called as those of Amazon's data that list what else was bought or viewed."""
    return bool(_LISTS.search(snake(name)))


def named_as_prose(name: str) -> bool:
    """Whether a column is called as a title, a description or a review, which are texts and no lists of values."""
    return snake(name) in {*TITLES, *DESCRIPTIONS, *REVIEWS}


def left_out(aggregates: list[str]) -> str:
    """The sentence for columns that are left out."""
    return f"left out, because they may count held-out interactions: {', '.join(aggregates)}"


def guess_title(table: pd.DataFrame, types: dict[str, FeatureType]) -> str | None:
    """The title by name, else the first short text that is different for nearly every item."""
    readable = _readable(table, types)
    named = pick(_texts(table, types), TITLES)
    named = named or next((column for column in readable if snake(column).endswith(("_title", "_name"))), None)
    if named:
        return named
    for column in readable:
        values = sample(table[column])
        if values.nunique() >= 0.9 * len(values) and 1 <= mean_words(values) <= 12 and _has_letters(values):
            return column
    return None


def guess_description(table: pd.DataFrame, types: dict[str, FeatureType]) -> str | None:
    """The description by name, else the first column of at least 15 words on average."""
    named = pick(_texts(table, types), DESCRIPTIONS)
    return named or next((c for c in _readable(table, types) if mean_words(sample(table[c])) >= 15), None)


def guess_reviews(table: pd.DataFrame, types: dict[str, FeatureType]) -> list[str]:
    """Columns of interactions that are reviews by name, in that order, then texts of 5 words or more on average."""
    order = {name: rank for rank, name in enumerate(REVIEWS)}
    named = [column for column in _texts(table, types) if snake(column) in order]
    named.sort(key=lambda column: order[snake(column)])
    return named + [c for c in _readable(table, types) if c not in named and mean_words(sample(table[c])) >= 5]


def _texts(table: pd.DataFrame, types: dict[str, FeatureType]) -> list[str]:
    """Columns of a text type that are not empty; a name that says what they hold is believed."""
    kinds = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
    return [column for column in table if types.get(column) in kinds and (table[column] != "").any()]


def _readable(table: pd.DataFrame, types: dict[str, FeatureType]) -> list[str]:
    return [column for column in table if column in types and is_readable(column, table[column], types[column])]


def _has_letters(values: pd.Series) -> bool:
    return values.str.contains(r"[^\W\d_]", regex=True).mean() > _DISTINCT
