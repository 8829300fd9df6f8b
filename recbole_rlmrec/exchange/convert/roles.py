"""Which column of a table is the user, the item, the rating, the time, the review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recbole_rlmrec.data.columns import REVIEWS, pick
from recbole_rlmrec.errors import ConfigError, DataError

_NAMES = {
    "user": (
        *("user_id", "user", "userid", "uid", "customer_id", "customer", "customerid", "reviewer_id", "reviewerid"),
        *("reviewer", "member_id", "member", "account_id", "account", "visitor_id", "visitorid", "client_id", "buyer_id"),
        *("shopper_id", "reader_id", "listener_id", "profile_id", "user_name", "username", "customer_email", "session_id"),
    ),
    "item": (
        *("item_id", "item", "itemid", "parent_asin", "asin", "product_id", "product", "productid", "movie_id", "movieid"),
        *("book_id", "isbn", "article_id", "article", "sku", "stock_code", "track_id", "song_id", "artist_id", "business_id"),
        *("gmap_id", "game_id", "app_id", "recipe_id", "news_id", "content_id", "video_id", "anime_id", "goods_id", "beer_id"),
    ),
    "rating": ("rating", "ratings", "stars", "star_rating", "score", "overall", "rate", "user_rating", "book_rating", "grade"),
    "time": (
        *("timestamp", "unix_review_time", "unixtime", "unix_time", "ts", "time", "datetime", "created_at", "event_time"),
        *("date", "date_added", "review_time", "review_date", "rated_at", "ordered_at", "order_date", "order_time"),
        *(
            "purchased_at",
            "bought_at",
            "purchase_date",
            "invoice_date",
            "date_updated",
            "date_created",
            "started_at",
            "updated_at",
        ),
    ),
    "review": tuple(name for name in REVIEWS if name not in ("summary", "review_title", "review_summary")),
}
_NEEDED = ("user", "item")


def find_roles(columns: Sequence[str], named: Mapping[str, str | None], where: str) -> dict[str, str]:
    """Columns of interactions by role.

    Parameters
    ----------
    columns : sequence of str
    named : mapping
        Columns by role, ``none`` for no such column; the others are guessed.
    where : str
        Name of the table.

    Raises
    ------
    ConfigError
        A column does not exist, or is to be two things.
    DataError
        None looks like the users or the items.
    """
    roles = {}
    for role, column in named.items():
        if column is None or (column == "none" and column not in columns):
            continue
        if column not in columns:
            raise ConfigError(f"--{role} {column}: {where} has no such column; it has {', '.join(columns)}.")
        roles[role] = column
    for role, names in _NAMES.items():
        if named.get(role) is None:
            free = [column for column in columns if column and column not in roles.values()]
            if found := pick(free, names):
                roles[role] = found
            elif role in _NEEDED:
                raise DataError(
                    f"No column of {where} looks like the {role}s; say which with --{role} COLUMN. It has "
                    f"{', '.join(filter(None, columns))}."
                )
    if len(set(roles.values())) < len(roles):
        raise ConfigError(f"Two roles have one column: {', '.join(f'{role} = {name}' for role, name in roles.items())}.")
    if missing := [role for role in _NEEDED if role not in roles]:
        raise ConfigError(f"--{missing[0]} needs a column of {where}.")
    return {role: roles[role] for role in _NAMES if role in roles}


def find_key(side: str, columns: Sequence[str], named: str | None, same: str, where: str) -> str:
    """The column with the ids of an item or user table: as named, like that of the interactions, or guessed.

    Raises
    ------
    ConfigError
        The column does not exist.
    DataError
        None looks like it.
    """
    if named is not None and named not in columns:
        raise ConfigError(f"--{side}s-id {named}: {where} has no such column; it has {', '.join(columns)}.")
    found = named or (same if same in columns else pick(columns, (*_NAMES[side], "id", "code", "key")))
    if found is None:
        raise DataError(
            f"No column of {where} looks like the ids of the {side}s; say which with --{side}s-id COLUMN. It has "
            f"{', '.join(filter(None, columns))}."
        )
    return found
