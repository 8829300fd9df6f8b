"""Titles of items and what users wrote of them, as the atomic files have them; no split is drawn and RecBole not needed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.data.columns import guess_reviews, guess_title
from recbole_rlmrec.data.properties import reading_options, recbole_folder
from recbole_rlmrec.errors import DataError


class History:
    """Titles and interactions of a data set.

    Parameters
    ----------
    dataset : str
    options : mapping
        What a run would be given: ``data_path``, ``field_separator``, ``USER_ID_FIELD``, ``benchmark_filename`` ...

    Raises
    ------
    DataError
        The interactions are missing, or a file is no atomic file or has no column of ids.
    """

    def __init__(self, dataset: str, options: Mapping) -> None:
        self._options = reading_options(dataset, options)
        folder = Path(options.get("data_path") or "dataset") / dataset
        self._stem = (recbole_folder() / "dataset_example" / dataset if dataset == "ml-100k" else folder) / dataset
        self._ids = self._options["USER_ID_FIELD"], self._options["ITEM_ID_FIELD"]
        self._titles = self._read_titles()
        self._rows, self._details = self._read_interactions()

    def title(self, item: str) -> str:
        """Title of an item; empty where there is none."""
        return self._titles.get(item, "")

    def details(self, user: str, item: str, time: float | None = None) -> dict[str, str]:
        """Rating and reviews of a pair by column; empty where the files have not exactly one row of it (at that time)."""
        rows = self._rows.get((user, item), [])
        if time is not None and self._times is not None:
            rows = [row for row in rows if self._times[row] == time]
        return dict(zip(self._details.columns, self._details.iloc[rows[0]])) if len(rows) == 1 else {}

    def _read(self, suffix: str):
        path = self._stem.with_name(f"{self._stem.name}.{suffix}")
        return read_atomic(path, self._options["field_separator"] or "\t", self._options.get("encoding") or "utf-8")

    def _read_titles(self) -> dict[str, str]:
        if not self._stem.with_name(f"{self._stem.name}.item").is_file():
            return {}
        file, item = self._read("item"), self._ids[1]
        column = guess_title(file.table.drop(columns=item), file.types) if item in file.table else None
        return dict(zip(file.table[item], file.table[column])) if column else {}

    def _read_interactions(self) -> tuple[dict, pd.DataFrame]:
        parts = _parts(self._options.get("benchmark_filename"), self._stem)
        files = [self._read(f"{part}.inter" if part else "inter") for part in parts]
        table = pd.concat([file.table for file in files], ignore_index=True)
        if absent := [name for name in self._ids if name not in table]:
            raise DataError(f"{files[0].path} has no column {absent[0]!r}; set USER_ID_FIELD and ITEM_ID_FIELD.")
        time = self._options.get("TIME_FIELD")
        self._times = pd.to_numeric(table[time], errors="coerce").to_numpy() if time in table else None
        rating = [name for name in [self._options.get("RATING_FIELD")] if name in table]
        rest = table.drop(columns=[*self._ids, *rating])
        return table.groupby(list(self._ids)).indices, table[[*rating, *guess_reviews(rest, files[0].types)]]


def _parts(named: object, stem: Path) -> list[str]:
    """Parts of interactions that come split, the name of a part each; one that is empty for data that does not."""
    if isinstance(named, str):
        named = ast.literal_eval(named)
    if not named and not stem.with_name(f"{stem.name}.inter").is_file():
        named = [path.name[len(stem.name) + 1 : -len(".inter")] for path in sorted(stem.parent.glob(f"{stem.name}.*.inter"))]
    return list(named or [""])
