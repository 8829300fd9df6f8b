"""RecBole's atomic files as they are written; this package and, through it, RecBole read them by one rule."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pandas as pd
from pandas._libs.parsers import STR_NA_VALUES

from recbole_rlmrec.data.columnar import fits, read_plain
from recbole_rlmrec.data.files import hash_file
from recbole_rlmrec.data.lines import Lines, check_lines, line_of, quoting, undecoded, unquoted
from recbole_rlmrec.errors import DataError

# What pandas, and so RecBole, takes for missing.
MISSING = frozenset(STR_NA_VALUES)
_PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


class FeatureType(Enum):
    """Types of the fields of atomic files, as RecBole calls them."""

    TOKEN = "token"
    FLOAT = "float"
    TOKEN_SEQ = "token_seq"
    FLOAT_SEQ = "float_seq"


@dataclass
class AtomicFile:
    """The columns of one atomic file.

    Attributes
    ----------
    path : Path
        Where it was read.
    table : DataFrame
        One column of text per field; missing values (what RecBole takes for missing, too) are empty.
    types : dict of str to FeatureType
        Type of each field.
    """

    path: Path
    table: pd.DataFrame
    types: dict[str, FeatureType]


def read_atomic(path: Path, separator: str = "\t", encoding: str = "utf-8") -> AtomicFile:
    """Read an atomic file as text; how quotation marks are read is said in :mod:`recbole_rlmrec.data.lines`.

    Raises
    ------
    DataError
        The file is missing, its header is not ``name:type`` throughout, or a line cannot be read as it was meant.
    """
    types = read_header(path, separator, encoding)
    table = read_columns(path, list(types), separator, encoding)
    return AtomicFile(path, table.fillna("").astype(object), types)


def read_columns(
    path: Path,
    columns: Collection[str],
    separator: str = "\t",
    encoding: str = "utf-8",
    numbers: Collection[str] = (),
    tokens: Collection[str] = (),
) -> pd.DataFrame:
    """Read some columns of an atomic file.

    Parameters
    ----------
    path : Path
    columns : collection of str
        Names without types.
    separator, encoding : str
        RecBole's ``field_separator`` and ``encoding``.
    numbers : collection of str
        Columns to read as float64.
    tokens : collection of str
        Columns that may be read as categories, which takes less memory.

    Returns
    -------
    DataFrame
        The columns in the order of the file: float64, or objects or categories that are text; missing values are NaN.

    Raises
    ------
    DataError
        As :func:`read_atomic`, or a number is none.
    """
    path = Path(path)
    names = list(read_header(path, separator, encoding))
    lines = check_lines(path, separator, encoding)
    wanted = [name for name in names if name in columns]
    if wanted and fits(separator, encoding, lines):
        table = read_plain(path, names, wanted, numbers, tokens, MISSING, lines.rows)
        if table is not None:
            return table
    return _Reader(path, separator, encoding, names, wanted, set(numbers)).read(lines)


@dataclass
class _Reader:
    """One call of :func:`read_columns`."""

    path: Path
    separator: str
    encoding: str
    names: list[str]
    wanted: list[str]
    numbers: set[str]

    def read(self, lines: Lines) -> pd.DataFrame:
        if len(self.separator.encode()) > 1:
            return self._with_numbers(self._parse(self.path, engine="python"))
        if self.separator == "\t" and lines.lone_returns:
            text = self.path.read_bytes().decode(self.encoding).replace("\r\n", "\n")
            return self._tabbed(lines, lambda: io.StringIO(text), lineterminator="\n")
        return self._tabbed(lines, lambda: self.path)

    def _tabbed(self, lines: Lines, source: Callable, **options) -> pd.DataFrame:
        if self.separator == "\t" and lines.quotes:
            table = self._parse(source(), na_filter=False, **options)
            return self._with_numbers(table.apply(_without_quotes))
        try:
            return self._parse(source(), self.numbers, **options)
        except (ValueError, TypeError):  # a number that is none, or that only Python reads, such as 1_000
            return self._with_numbers(self._parse(source(), **options))

    def _parse(self, source, numbers: Collection[str] = (), **options) -> pd.DataFrame:
        if "engine" not in options and not _PANDAS_3:
            options["float_precision"] = "round_trip"
        return pd.read_csv(
            source,
            sep=self.separator,
            header=None,
            skiprows=1,
            names=self.names,
            usecols=self.wanted,
            index_col=False,
            dtype={name: np.float64 if name in numbers else object for name in self.wanted},
            encoding=self.encoding,
            quoting=quoting(self.separator),
            **options,
        )

    def _with_numbers(self, table: pd.DataFrame) -> pd.DataFrame:
        for name in self.numbers.intersection(table):
            table[name] = self._number(name, table[name])
        return table

    def _number(self, name: str, column: pd.Series) -> np.ndarray:
        values = np.full(len(column), np.nan)
        for row in np.flatnonzero(column.notna()):
            try:
                values[row] = float(column.iloc[row])
            except ValueError:
                raise DataError(
                    f"{self.path}, line {line_of(self.path, self.separator, self.encoding, row)}: {column.iloc[row]!r} in the "
                    f"column {name} is no number; correct it, or give the column another type in the header."
                ) from None
        return values


def _without_quotes(column: pd.Series) -> pd.Series:
    marked = np.flatnonzero(column.str.startswith('"').to_numpy(dtype=bool))
    if len(marked):
        column = column.copy()
        column.iloc[marked] = [unquoted(value) for value in column.iloc[marked]]
    return column.mask(column.isin(MISSING))


def field_text(value: str, separator: str) -> str:
    """A value as a field of a file, so that it is read as it is."""
    if separator == "\t":
        return value if unquoted(value) == value else '"' + value.replace('"', '""') + '"'
    if len(separator) == 1 and (value == "" or set(value) & {separator, '"', "\r", "\n"}):
        return '"' + value.replace('"', '""') + '"'
    return value


def read_header(path: Path, separator: str, encoding: str) -> dict[str, FeatureType]:
    """Fields of an atomic file and their types.

    Raises
    ------
    DataError
        As :func:`read_atomic`.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; put the atomic file there or correct data_path and dataset.")
    try:
        with open(path, encoding=encoding) as file:
            line = file.readline()
    except UnicodeError:
        raise DataError(undecoded(path, encoding)) from None
    if line.startswith("\ufeff"):
        raise DataError(
            f"{path} begins with a byte order mark, which would be part of a name; save it as UTF-8 without one, or set "
            "--encoding=utf-8-sig."
        )
    try:
        header = line.rstrip("\r\n").split(separator)
        fields = [field.split(":") for field in header]
        types = {name: FeatureType(kind) for name, kind in fields}
    except ValueError:
        marks = "; its first line may hold no quotation marks" if '"' in line else ""
        raise DataError(
            f"{path} does not start with a line of name:type fields, separated by {separator!r} (option field_separator); "
            f"types are token, token_seq, float and float_seq{marks}."
        ) from None
    if len(types) < len(header):
        raise DataError(f"{path} has two columns of one name; rename one of them.")
    return types


PARTS = ("train", "valid", "test")


def atomic_files(folder: Path, dataset: str) -> list[Path]:
    """Files of a dataset, ``DATASET.*``, sorted; the name is taken as it is, whatever it holds."""
    return sorted(path for path in folder.iterdir() if path.name.startswith(f"{dataset}.")) if folder.is_dir() else []


def digest_files(folder: Path, dataset: str, names: Collection[str] | None = None) -> str:
    """SHA-256 over atomic files of a dataset, 16 digits: its interactions, items and users, or those of these names."""
    files = atomic_files(folder, dataset)
    if names is None:
        files = [path for path in files if path.suffix in (".inter", ".item", ".user")]
    else:
        files = [path for path in files if path.name in names]
    return _digest(tuple((path, about.st_size, about.st_mtime_ns) for path in files for about in [path.stat()]))


@functools.lru_cache(maxsize=256)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(path.name.encode() + b"\0")
        hash_file(digest, path)
    return digest.hexdigest()[:16]


def write_atomic(path: Path, like: AtomicFile, table: pd.DataFrame, separator: str = "\t", encoding: str = "utf-8") -> None:
    """Write rows of text as an atomic file with the header of another; it is read as what was written."""
    header = separator.join(f"{name}:{kind.value}" for name, kind in like.types.items())
    columns = [_fields(table[name], separator) for name in table]
    with open(path, "w", encoding=encoding, newline="\n") as file:
        file.write("\n".join([header, *map(separator.join, zip(*columns, strict=True))]) + "\n")


def _fields(column: pd.Series, separator: str) -> list[str]:
    values = column.tolist()
    if separator == "\t" and not column.str.startswith('"').any():
        return values
    return [field_text(value, separator) for value in values]
