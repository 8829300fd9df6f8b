"""Data sets out of data frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recbole_rlmrec.exchange.convert.build import Choices, Converted, build_dataset
from recbole_rlmrec.exchange.convert.tables import Frame

__all__ = ["Converted", "from_frames"]


def from_frames(
    interactions,
    items=None,
    users=None,
    *,
    name: str,
    output: Path | str = "dataset",
    overwrite: bool = False,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    review: str | None = None,
    items_id: str | None = None,
    users_id: str | None = None,
    time_format: str | None = None,
    lists: Mapping[str, str] | None = None,
) -> Converted:
    """Write data frames as a data set of RecBole.

    Parameters
    ----------
    interactions : DataFrame or Table
        One row per interaction: pandas, Arrow, or polars.
    items, users : DataFrame or Table, optional
        One row each.
    name : str
        Of the data set.
    output : Path
        Folder above its own.
    overwrite : bool
        Whether to replace the atomic files of a data set that is there.
    user, item, rating, time, review : str, optional
        Columns of the interactions; those that are left out are guessed, ``none`` says that there is no such column.
    items_id, users_id : str, optional
        Columns of the other tables with the ids.
    time_format : str, optional
        How times in texts are written, as ``strptime`` says it.
    lists : mapping of str to str, optional
        Separators of columns whose texts hold lists.

    Returns
    -------
    Converted
        Printed, it says what was found; ``settings`` are the options that a run needs.

    Raises
    ------
    ConfigError, DataError
        See :func:`recbole_rlmrec.exchange.convert.build.build_dataset`.
    """
    roles = {"user": user, "item": item, "rating": rating, "time": time, "review": review}
    sources = (("interactions", interactions), ("items", items), ("users", users))
    frames = [None if frame is None else Frame(label, frame) for label, frame in sources]
    return build_dataset(*frames, name, output, Choices(roles, items_id, users_id, time_format, lists or {}), overwrite)
