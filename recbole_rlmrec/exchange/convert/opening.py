"""What people name on the command line, as a source."""

from __future__ import annotations

from pathlib import Path

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.exchange.convert.delimited import Delimited, Dialect
from recbole_rlmrec.exchange.convert.rows import JsonLines, Query
from recbole_rlmrec.exchange.convert.source import Source
from recbole_rlmrec.exchange.convert.tables import Parquet

_DELIMITED = (".csv", ".tsv", ".txt", ".tab")
_JSON = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")


def is_url(place: str) -> bool:
    """Whether a place is the address of a database."""
    return "://" in place


def open_source(place: str, dialect: Dialect | None = None) -> Source:
    """A file, by the end of its name.

    Parameters
    ----------
    place : str
        CSV, JSON lines or Parquet; a folder holds Parquet files. Names may end in .gz, .bz2 or .zst besides.
    dialect : Dialect, optional
        How CSV is written.

    Raises
    ------
    ConfigError
        The name does not say what is in it.
    DataError
        It is missing, or cannot be read.
    """
    path = Path(place)
    if path.is_dir():
        return Parquet(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file of CSV, JSON lines or Parquet.")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSED]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _DELIMITED:
        return Delimited(path, dialect or Dialect())
    if suffix in _JSON:
        return JsonLines(path)
    if suffix in _PARQUET:
        return Parquet(path)
    raise ConfigError(f"{path}: the name does not say what it holds; let it end in .csv, .tsv, .jsonl or .parquet.")


def open_query(url: str, query: str) -> Source:
    """What a database answers, see :class:`~recbole_rlmrec.exchange.convert.rows.Query`."""
    return Query(url, query)
