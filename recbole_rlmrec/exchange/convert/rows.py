"""Tables that come as Python values, row by row: JSON lines, and what a database answers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.exchange.convert.source import ROWS, Broken, Source, in_columns


class JsonLines(Source):
    """One JSON object a line; a key that turns up later is a column, too.

    Raises
    ------
    DataError
        There is no object in it.
    """

    def __init__(self, path: Path):
        self._path = path
        super().__init__(str(path), [])
        for _, row in itertools.islice(self._objects(Broken()), ROWS):
            self._learn(row)
        if not self.columns:
            raise DataError(f"{path} holds no JSON object; it needs one a line.")

    def _learn(self, row: dict) -> None:
        self.columns += [name for name in row if name not in self.columns]

    def _objects(self, broken: Broken) -> Iterator[tuple[int, dict]]:
        with pa.input_stream(str(self._path), compression="detect") as stream:
            for number, line in enumerate(_lines(stream), 1):
                if number == 1 and line.lstrip().startswith(b"["):
                    raise DataError(
                        f"{self._path} is one JSON array; make one object a line of it: jq -c '.[]' {self._path.name} > a.jsonl"
                    )
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if isinstance(row, dict):
                    yield number, row
                else:
                    shown = line[:60].decode("utf-8", "replace")
                    broken.add("that are no JSON object", 1, f"{self._path}, line {number}: {shown!r}")

    def batches(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """See :class:`Source`."""
        objects = self._objects(broken)
        while rows := [row for _, row in itertools.islice(objects, ROWS)]:
            known, seen = set(self.columns), set().union(*rows)
            if seen - known:
                for row in rows:
                    self._learn(row)
            used = [name for name in self.columns if name in seen]
            yield in_columns([[row.get(name) for name in used] for row in rows], used), len(rows)


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(1 << 20):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


class Query(Source):
    """What a database answers to a query.

    Parameters
    ----------
    url : str
        Address as SQLAlchemy takes it, ``sqlite:///shop.db``.
    query : str

    Raises
    ------
    ConfigError
        SQLAlchemy or its driver is not installed, or the address is none.
    DataError
        The database refuses.
    """

    def __init__(self, url: str, query: str):
        try:
            import sqlalchemy
        except ModuleNotFoundError:
            raise ConfigError("Reading a database needs SQLAlchemy: pip install sqlalchemy.") from None
        self._errors = sqlalchemy.exc.SQLAlchemyError
        try:
            self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
        except ModuleNotFoundError as missing:
            raise ConfigError(f"This database needs the Python package {missing.name}: pip install {missing.name}.") from None
        except (self._errors, ValueError):
            raise ConfigError("SQLAlchemy knows no database of this address; write, for example, sqlite:///shop.db.") from None
        shown = self._engine.url.render_as_string(hide_password=True)
        if (file := self._engine.url.database) and self._engine.dialect.name == "sqlite" and file != ":memory:":
            if not Path(file).is_file() and not file.startswith("file:"):
                raise DataError(f"There is no database {file}; correct the address {shown}.")
        self._query = sqlalchemy.text(re.sub(r"(?<![:\\]):(?=\w)", r"\\:", query))
        super().__init__(shown, [])
        with self._asked() as answer:
            self.columns = list(answer.keys())
        if twice := [name for name in self.columns if self.columns.count(name) > 1]:
            raise DataError(f"The query has two columns named {twice[0]!r}; give one another name with AS.")

    def _asked(self):
        return _Answer(self)

    def batches(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """See :class:`Source`."""
        with self._asked() as answer:
            while rows := answer.fetchmany(ROWS):
                yield in_columns(rows, self.columns), len(rows)


class _Answer:
    """The answer of a database for as long as it is read; what goes wrong is a sentence without the address."""

    def __init__(self, source: Query):
        self._source = source

    def __enter__(self):
        try:
            self._connection = self._source._engine.connect()
        except self._source._errors as reason:
            raise self._refused(reason) from None
        try:
            return self._connection.execution_options(stream_results=True, max_row_buffer=ROWS).execute(self._source._query)
        except self._source._errors as reason:
            self._connection.close()
            raise self._refused(reason) from None

    def __exit__(self, kind, value, _) -> None:
        self._connection.close()
        if isinstance(value, self._source._errors):
            raise self._refused(value) from None

    def _refused(self, reason: Exception) -> DataError:
        said = " ".join(str(getattr(reason, "orig", None) or reason).split())
        if password := self._source._engine.url.password:
            said = said.replace(str(password), "***")
        return DataError(f"{self._source.name} refuses ({said}); correct the address or the query.")
