"""What every table that comes in is to its reader: named columns, batches of Arrow arrays, and rows that are broken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import pandas as pd
import pyarrow as pa

ROWS = 1 << 16


@dataclass
class Broken:
    """Rows that are left out: how many for which reason, and where the first of each stands."""

    counts: Counter = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, count: int, where: str) -> None:
        """Count rows; ``where`` tells of the first of them."""
        if count:
            self.counts[reason] += count
            self.first.setdefault(reason, where)

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {reason} (first: {self.first[reason]})" for reason, count in self.counts.items())


class Source:
    """A table that is read in batches, as often as need be.

    Attributes
    ----------
    name : str
        What people call it.
    columns : list of str
        Names in the order of the table; one that turns up later is appended.
    """

    def __init__(self, name: str, columns: Sequence[str]):
        self.name, self.columns = name, list(columns)

    def batches(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """Read the table from its beginning.

        Parameters
        ----------
        broken : Broken
            Takes the rows that cannot be read.

        Yields
        ------
        columns : dict of str to Array
            Arrays of one length; columns may be missing where all their values are.
        length : int
        """
        raise NotImplementedError


def array_of(values: list) -> pa.Array:
    """Python values as an Arrow array; where they are of several types, as text."""
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
        kinds = {type(value) for value in values if value is not None}
        if list in kinds:
            return pa.array([_texts(value) for value in values], pa.list_(pa.string()))
        return pa.array([None if _missing(value) else _text(value) for value in values], pa.string())
    if pa.types.is_floating(found.type) and any(type(value) is int for value in values):
        return pa.array([None if _missing(value) else _text(value) for value in values], pa.string())
    return found


def _missing(value) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _texts(value) -> list[str] | None:
    if value is None:
        return None
    return [_text(one) for one in value if not _missing(one)] if isinstance(value, list) else [_text(value)]


def _text(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, Decimal):
        value = format(value, "f")
    return str(value).encode("utf-8", "replace").decode()


def in_columns(rows: Sequence[Sequence], columns: Sequence[str]) -> dict[str, pa.Array]:
    """Rows of Python values as columns."""
    return {name: array_of(list(values)) for name, values in zip(columns, zip(*rows))}
