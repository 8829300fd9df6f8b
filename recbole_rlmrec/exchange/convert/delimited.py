"""CSV and its kin: all fields as text, read block by block."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.exchange.convert.source import ROWS, Broken, Source, in_columns

BLOCK = 1 << 23
_SEPARATORS = ",\t;|"
_LONE_RETURN = re.compile(r"\r(?!\n)")


@dataclass(frozen=True)
class Dialect:
    """How a file of separated values is written.

    Attributes
    ----------
    separator : str or None
        None: the one of comma, tab, semicolon and bar that is most often in the first line.
    quote : str
        Mark around texts; empty for none.
    escape : str
        Mark before a character that is meant as it is; empty for none.
    encoding : str
    """

    separator: str | None = None
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"

    def __post_init__(self):
        for name, wanted in (("separator", (1,)), ("quote", (0, 1)), ("escape", (0, 1))):
            value = getattr(self, name)
            if value is not None and len(value) not in wanted:
                raise ConfigError(f"--{name} is one character, not {value!r}.")


class Delimited(Source):
    """A file of separated values whose first line names the columns.

    Raises
    ------
    DataError
        It has no such line, or names two columns alike.
    """

    def __init__(self, path: Path, dialect: Dialect):
        self._path, self._dialect = path, dialect
        try:
            with self._open() as file:
                head = file.readline()
        except UnicodeError:
            raise DataError(self._undecoded()) from None
        except LookupError:
            raise ConfigError(f"There is no encoding {dialect.encoding!r}; try utf-8, latin-1 or cp1252.") from None
        self._separator = dialect.separator or max(_SEPARATORS, key=head.count)
        with self._open() as file:
            columns = next(csv.reader(file, **self._format()), [])
        columns = [name.strip() for name in columns]
        if not any(columns):
            raise DataError(f"{path} is empty; its first line names the columns.")
        twice = [name for name in columns if name and columns.count(name) > 1]
        if twice:
            raise DataError(f"{path} has two columns named {twice[0]!r}; rename one of them.")
        super().__init__(str(path), columns)

    def _open(self, newline: str = ""):
        encoding = "utf-8-sig" if self._dialect.encoding.lower() in ("utf-8", "utf8") else self._dialect.encoding
        return io.TextIOWrapper(_stream(self._path), encoding=encoding, newline=newline)

    def _format(self) -> dict:
        quote, escape = self._dialect.quote or None, self._dialect.escape or None
        quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
        return {"delimiter": self._separator, "quotechar": quote, "escapechar": escape, "quoting": quoting}

    def batches(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """See :class:`Source`."""
        try:
            for columns, rows in self._escaped(broken) if self._dialect.escape else self._plain(broken):
                self._check_swallowed(columns)
                yield columns, rows
        except UnicodeError:
            raise DataError(self._undecoded()) from None
        except csv.Error as reason:
            raise DataError(f"{self._path} cannot be read ({reason}); see --separator, --quote and --escape.") from None
        except pa.ArrowInvalid as reason:
            said = " ".join(str(reason).split())
            if "UTF8" in said or "utf8" in said:
                raise DataError(self._undecoded()) from None
            if "straddling" in said or "block" in said:
                said = f"a row is longer than {BLOCK >> 20} MB, or a quotation mark is never closed"
            raise DataError(f"{self._path} cannot be read ({said}); see --separator, --quote and --escape.") from None

    def _plain(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        def wrong(row) -> str:
            where = f"{self._path}, row {row.number}" if row.number else str(self._path)
            broken.add("with too many or too few fields", 1, f"{where}: {row.text[:60]!r}")
            return "skip"

        names = [f"{position}" for position in range(len(self.columns))]
        reader = pa.csv.open_csv(
            _stream(self._path),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=BLOCK, column_names=names, skip_rows=0, encoding=self._dialect.encoding
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=self._separator,
                quote_char=self._dialect.quote or False,
                newlines_in_values=bool(self._dialect.quote),
                invalid_row_handler=wrong,
            ),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        first, last = True, None
        for batch in reader:
            if first:
                batch, first = batch.slice(1), False
            if batch.num_rows:
                last = batch.column(len(names) - 1)[-1].as_py()
                yield dict(zip(self.columns, batch.columns)), batch.num_rows
        if last and last.endswith("\n") and not _ends_in(self._path, self._dialect.quote):
            raise DataError(
                f"{self._path}: a quotation mark is never closed; double it inside a text, or set --quote '' if quotation "
                "marks mean nothing there."
            )

    def _check_swallowed(self, columns: dict[str, pa.Array]) -> None:
        """Refuse a quoted value that seems to hold whole rows: one of its lines has as many separators as a row.

        Commas are ordinary in texts of several lines; other separators are not.
        """
        if not self._dialect.quote or self._separator == "," or len(self.columns) < 2:
            return
        row = f"\n(?:[^\n]*{re.escape(self._separator)}){{{len(self.columns) - 1}}}"
        for name, column in columns.items():
            found = pc.index(pc.match_substring_regex(column, row), True).as_py()
            if found >= 0:
                text = " ".join(column[found].as_py().split())
                raise DataError(
                    f"{self._path}: a value of {name} holds whole rows ({text[:60]!r}), since quotation marks stand at its "
                    "beginning and at that of a later one; set --quote '' if they mean nothing there."
                )

    def _escaped(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        rows: list[list[str]] = []
        try:
            with self._open(newline="\n") as file:
                # A return within a line, which csv takes for its end, is a space in the end.
                reader = csv.reader((_LONE_RETURN.sub(" ", line) for line in file), **self._format())
                next(reader, None)
                for row in reader:
                    if len(row) == len(self.columns):
                        rows.append(row)
                    elif row:
                        where = f"{self._path}, up to line {reader.line_num}: {self._separator.join(row)[:60]!r}"
                        broken.add("with too many or too few fields", 1, where)
                    if len(rows) == ROWS:
                        yield in_columns(rows, self.columns), len(rows)
                        rows = []
            if rows:
                yield in_columns(rows, self.columns), len(rows)
        finally:
            csv.field_size_limit(limit)

    def _undecoded(self) -> str:
        return f"{self._path} is not in {self._dialect.encoding}; say how it is encoded, for example --encoding latin-1."


def _stream(path: Path) -> pa.NativeFile:
    """The bytes of a file; one that is compressed, by its name, is read as what is in it."""
    return pa.input_stream(str(path), compression="detect")


def _ends_in(path: Path, mark: str) -> bool:
    tail = b""
    with _stream(path) as file:
        while block := file.read(1 << 20):
            tail = (tail + block)[-64:]
    return bool(mark) and tail.rstrip(b"\r\n").endswith(mark.encode())
