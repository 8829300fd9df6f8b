"""RecBole's atomic files as text: every column, exactly as written."""

from __future__ import annotations

import csv
import functools
import hashlib
import warnings
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pandas as pd

from recbole_rlmrec.data.files import hash_file
from recbole_rlmrec.errors import DataError


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
    """Read an atomic file; quotation marks have no meaning in it.

    Raises
    ------
    DataError
        The file is missing, its header is not ``name:type`` throughout, or a line has more fields than the header.
    """
    types = read_header(path, separator, encoding)
    options = {"lineterminator": "\n"} if len(separator) == 1 else {"engine": "python"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
                header=None,
                skiprows=1,
                names=list(types),
                index_col=False,
                dtype=str,
                encoding=encoding,
                quoting=csv.QUOTE_NONE,
                **options,
            )
    except UnicodeDecodeError:
        raise DataError(not_decoded(path, encoding)) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as reason:
        raise DataError(
            f"{path} is not an atomic file ({' '.join(str(reason).split())}); "
            f"every line needs {len(types)} fields and no separator inside a field."
        ) from None
    table = table.fillna("").astype(object)
    if len(table) and types:
        first, last = table.columns[0], table.columns[-1]
        blank = (table[first] == "\r") & (table[table.columns[1:]] == "").all(axis=1)  # an empty line that ends in CR LF
        table = table[~blank].reset_index(drop=True)
        table[last] = table[last].str.rstrip("\r")
    return AtomicFile(path, table, types)


def not_decoded(what, encoding: str) -> str:
    """The sentence for text in another encoding."""
    return f"{what} is not in {encoding}; convert it, or say how it is encoded, for example --encoding=latin-1."


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
    except UnicodeDecodeError:
        raise DataError(not_decoded(path, encoding)) from None
    if line.startswith("\ufeff"):
        raise DataError(f"{path} begins with a byte order mark, which would be part of a name; save it as UTF-8 without one.")
    try:
        header = line.rstrip("\r\n").split(separator)
        fields = [field.split(":") for field in header]
        types = {name: FeatureType(kind) for name, kind in fields}
    except ValueError:
        raise DataError(
            f"{path} does not start with a line of name:type fields, separated by {separator!r} (option field_separator); "
            "types are token, token_seq, float and float_seq."
        ) from None
    if len(types) < len(header):
        raise DataError(f"{path} has two columns of one name; rename one of them.")
    return types


PARTS = ("train", "valid", "test")


@functools.cache
def digest_files(folder: Path, dataset: str) -> str:
    """SHA-256 over the atomic files of a dataset, 16 digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(f"{dataset}.*")):
        if path.suffix in (".inter", ".item", ".user"):
            digest.update(path.name.encode() + b"\0")
            hash_file(digest, path)
    return digest.hexdigest()[:16]


def write_atomic(path: Path, like: AtomicFile, table: pd.DataFrame, separator: str = "\t", encoding: str = "utf-8") -> None:
    """Write rows of text as an atomic file with the header of another."""
    header = separator.join(f"{name}:{kind.value}" for name, kind in like.types.items())
    lines = (separator.join(row) for row in table.itertuples(index=False, name=None))
    with open(path, "w", encoding=encoding, newline="\n") as file:
        file.write("\n".join([header, *lines]) + "\n")
