"""The lines of an atomic file: one pass finds those that no reader would read as they were meant.

Quoting follows the separator. In tab-separated files, which is what RecBole means by atomic files, a field is what stands
between two tabs; a field that is in quotation marks as a whole is meant without them. With any other separator of one
character the rules of CSV hold, as pandas reads it for RecBole. Separators of several characters know no quoting.
"""

from __future__ import annotations

import csv
import functools
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_rlmrec.errors import DataError

BLOCK = 1 << 23
_QUOTE, _RETURN, _BREAK = 34, 13, 10


@dataclass(frozen=True)
class Lines:
    """What the pass found out about a file.

    Attributes
    ----------
    rows : int
        Rows of data; lines that are empty do not count.
    quotes : bool
        Whether there is a quotation mark in them.
    lone_returns : bool
        Whether there is a carriage return that does not end a line.
    """

    rows: int
    quotes: bool
    lone_returns: bool


def quoting(separator: str) -> int:
    """How fields are quoted in a file of this separator, as a constant of :mod:`csv`."""
    return csv.QUOTE_NONE if separator == "\t" or len(separator) > 1 else csv.QUOTE_MINIMAL


def check_lines(path: Path, separator: str = "\t", encoding: str = "utf-8") -> Lines:
    """Make sure that every line has as many fields as the header.

    Parameters
    ----------
    path : Path
    separator, encoding : str
        RecBole's ``field_separator`` and ``encoding``.

    Raises
    ------
    DataError
        A line has too many or too few fields, a NUL, a lone carriage return where that ends a row, bytes that are not in
        the encoding, or its quotation marks do not match; the message has file, line and what to do.
    """
    about = path.stat()
    return _checked(path, separator, encoding, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _checked(path: Path, separator: str, encoding: str, size: int, changed: int) -> Lines:
    try:
        if len(separator.encode()) > 1:
            return _each_line(path, separator, encoding)
        try:
            return _Pass(path, separator, encoding).run()
        except _Irregular:
            return _each_line(path, separator, encoding)
    except UnicodeError:
        raise DataError(undecoded(path, encoding)) from None


class _Irregular(Exception):
    """Quotation marks stand where only a reader of CSV can tell what they mean."""


class _Pass:
    """Blocks of a file, each of whole lines, and what is carried from one to the next."""

    def __init__(self, path: Path, separator: str, encoding: str):
        self.path, self.separator, self.encoding = path, separator, encoding
        self.csv = quoting(separator) != csv.QUOTE_NONE
        self.rows, self.quotes, self.lone_returns = 0, False, False
        self.line = 2  # of the block's first line
        self.open = 0  # whether the block begins inside quotation marks
        self.begun, self.start = 0, 2  # separators and first line of the row that the block before has begun

    def run(self) -> Lines:
        with open(self.path, encoding=self.encoding, newline="\n") as file:
            header = file.readline()
            if "\r" in header.rstrip("\r\n"):
                raise DataError(f"{self.path}: its lines end in carriage returns (CR) alone; save it with line feeds (LF).")
            self.expected = header.count(self.separator)
            while block := file.read(BLOCK):
                self._take((block + file.readline()).encode("utf-8", "surrogatepass"))
        if self.open:
            raise DataError(f"{self.path}, line {self.start}: a quotation mark is never closed; close or double it.")
        return Lines(self.rows, self.quotes, self.lone_returns)

    def _take(self, block: bytes) -> None:
        if not block.endswith(b"\n"):
            block += b"\n"
        if (at := block.find(b"\0")) >= 0:
            line = self.line + block.count(b"\n", 0, at)
            raise DataError(f"{self.path}, line {line}: there is a NUL byte; remove it (tr -d '\\000' < FILE does).")
        data = np.frombuffer(block, dtype=np.uint8)
        breaks = np.flatnonzero(data == _BREAK)
        marks = np.flatnonzero(data == ord(self.separator))
        ends, quotes = breaks, None
        if self.open or block.find(b'"') >= 0:
            self.quotes = True
            if self.csv:
                quotes = np.flatnonzero(data == _QUOTE)
                ends, marks = self._outside(data, quotes, breaks), self._outside(data, quotes, marks)
                self._check_quotes(data, quotes)
        if block.find(b"\r") >= 0:
            self._returns(data, quotes)
        self._count(block, breaks, ends, marks)
        if quotes is not None:
            self.open = (self.open + len(quotes)) % 2
        self.line += len(breaks)

    def _outside(self, data: np.ndarray, quotes: np.ndarray, places: np.ndarray) -> np.ndarray:
        return places[(np.searchsorted(quotes, places) + self.open) % 2 == 0]

    def _check_quotes(self, data: np.ndarray, quotes: np.ndarray) -> None:
        """Each mark opens a field, closes one, or is one half of a doubled mark; else only a reader of CSV can tell."""
        opening = (np.arange(len(quotes)) + self.open) % 2 == 0
        edges = np.array([ord(self.separator), _RETURN, _BREAK, _QUOTE], dtype=np.uint8)
        before = np.where(quotes > 0, data[quotes - 1], _BREAK)
        after = data[np.minimum(quotes + 1, len(data) - 1)]
        if not (np.isin(before[opening], edges).all() and np.isin(after[~opening], edges).all()):
            raise _Irregular

    def _returns(self, data: np.ndarray, quotes: np.ndarray | None) -> None:
        returns = np.flatnonzero(data == _RETURN)
        lone = returns[data[np.minimum(returns + 1, len(data) - 1)] != _BREAK]
        if self.csv:
            outside = lone if quotes is None and not self.open else self._outside(data, _or_none(quotes), lone)
            if len(outside):
                line = self.line + int((data[: outside[0]] == _BREAK).sum())
                raise DataError(_lone_return(self.path, line))
        self.lone_returns |= bool(len(lone))

    def _count(self, block: bytes, breaks: np.ndarray, ends: np.ndarray, marks: np.ndarray) -> None:
        if not len(ends):
            self.begun += len(marks)
            return
        upto = np.searchsorted(marks, ends)
        counts = np.diff(upto, prepend=0)
        counts[0] += self.begun
        lines = self.line + np.searchsorted(breaks, ends)  # the line that each row ends in
        starts = np.concatenate([[self.start], lines[:-1] + 1])
        self.rows += len(ends)
        firsts = np.concatenate([[0], ends[:-1] + 1])
        for row in np.flatnonzero((counts != self.expected) | (ends - firsts < 2)):
            text = block[firsts[row] : ends[row]]
            if not text.strip() and starts[row] == lines[row] and not counts[row]:
                self.rows -= 1
            elif counts[row] != self.expected:
                before = block[firsts[row - 1] : ends[row - 1]] if row else b""
                raise DataError(self._wrong(int(starts[row]), int(counts[row]) + 1, text.decode(), before.decode()))
        self.begun, self.start = len(marks) - int(upto[-1]), int(lines[-1]) + 1

    def _wrong(self, line: int, found: int, text: str, before: str) -> str:
        said = f"{self.path}, line {line}: {found} field{'s' * (found != 1)} where the header has {self.expected + 1}"
        if self.separator != "\t":
            return (
                f"{said}; put a text that holds {self.separator!r} into quotation marks, correct the line, or let "
                "recbole-rlmrec convert make the file out of CSV."
            )
        fields, last = text.rstrip("\r").split("\t"), before.rstrip("\r").rpartition("\t")[2]
        if any(map(_opens, fields)) or (_opens(last) and found <= self.expected) or any(map(_closes, fields)):
            return (
                f"{said}; a text in quotation marks there holds a tab or a line break, as pandas and spreadsheets write it, "
                "which an atomic file separated by tabs cannot: save it as CSV and let recbole-rlmrec convert make the file."
            )
        return f"{said}; no text may hold a tab or a line break: correct the line, or set field_separator."


def _or_none(quotes: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, dtype=np.int64) if quotes is None else quotes


def _opens(field: str) -> bool:
    return field.startswith('"') and unquoted(field) == field


def _closes(field: str) -> bool:
    return field.endswith('"') and field.count('"') % 2 == 1


def unquoted(field: str) -> str:
    """A field of a tab-separated file without the quotation marks around it; what is not in them as a whole stays."""
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1].replace('""', "\0")
    return field if '"' in inner else inner.replace("\0", '"')


def _lone_return(path: Path, line: int) -> str:
    return (
        f"{path}, line {line}: there is a carriage return (CR) within the line, which would end the row; remove it or put the "
        "text into quotation marks."
    )


def undecoded(path: Path, encoding: str) -> str:
    """The sentence for a file in another encoding, with the first line where that shows."""
    return not_decoded(f"{path}{_undecoded_line(path, encoding)}", encoding)


def not_decoded(what, encoding: str) -> str:
    """The sentence for text in another encoding."""
    return f"{what} is not in {encoding}; convert it, or say how it is encoded, for example --encoding=latin-1."


def _undecoded_line(path: Path, encoding: str) -> str:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return f", line {number}," if number > 1 or b"\0" not in line else ""  # two bytes a letter: no lines to count
    return ""


def rows_of(path: Path, separator: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number of the first line and fields of each row, header left out; slow, for what a pass cannot tell."""
    with open(path, encoding=encoding, newline="\n") as file:
        file.readline()
        if len(separator) > 1:
            pattern = re.compile(separator)
            yield from ((number, pattern.split(line.strip())) for number, line in enumerate(file, 2) if line.strip())
        elif quoting(separator) == csv.QUOTE_NONE:
            rows = ((number, line.rstrip("\r\n").split(separator)) for number, line in enumerate(file, 2))
            yield from ((number, row) for number, row in rows if len(row) > 1 or row[0].strip())
        else:
            yield from _csv_rows(file, separator)


def _csv_rows(file, separator: str) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(sys.maxsize if sys.maxsize <= 2**31 - 1 else 2**31 - 1)
    try:
        text = [""]
        reader, before = csv.reader(_kept(file, text), delimiter=separator, strict=True), 0
        for row in reader:
            if len(row) > 1 or text[0].strip():
                yield before + 2, row
            before = reader.line_num
    finally:
        csv.field_size_limit(limit)


def _kept(lines: Iterable[str], last: list[str]) -> Iterator[str]:
    """The lines, each left in ``last`` when it has been given."""
    for line in lines:
        last[0] = line
        yield line


def line_of(path: Path, separator: str, encoding: str, row: int) -> int:
    """Number of the line in which a row of data begins."""
    return next(number for position, (number, _) in enumerate(rows_of(path, separator, encoding)) if position == row)


def _each_line(path: Path, separator: str, encoding: str) -> Lines:
    with open(path, encoding=encoding, newline="\n") as file:
        expected = len(file.readline().rstrip("\r\n").split(separator))
    count, line, quotes = 0, 1, False
    try:
        for line, row in rows_of(path, separator, encoding):
            if any("\0" in field for field in row):
                raise DataError(f"{path}, line {line}: there is a NUL byte; remove it (tr -d '\\000' < FILE does).")
            if len(row) != expected:
                raise DataError(
                    f"{path}, line {line}: {len(row)} field{'s' * (len(row) != 1)} where the header has {expected}; correct "
                    "field_separator or the line."
                )
            count += 1
            quotes = quotes or any('"' in field for field in row)
    except csv.Error as reason:
        if "new-line" in str(reason):
            raise DataError(_lone_return(path, line + 1)) from None
        raise DataError(
            f"{path}, after line {line}: the quotation marks do not match ({reason}); double those inside a text in quotation "
            "marks, or remove them."
        ) from None
    return Lines(count, quotes, False)
