"""Tables whose columns have types: Parquet and data frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from recbole_rlmrec.errors import DataError
from recbole_rlmrec.exchange.convert.source import ROWS, Broken, Source, array_of


class Parquet(Source):
    """A Parquet file, or a folder of files with the same columns.

    Raises
    ------
    DataError
        There is none, or a file cannot be read.
    """

    def __init__(self, path: Path):
        self._paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self._paths:
            raise DataError(f"There are no .parquet files in {path}.")
        columns: dict[str, None] = {}
        for file in self._paths:
            columns |= dict.fromkeys(self._open(file).schema_arrow.names)
        super().__init__(str(path), list(columns))

    def _open(self, path: Path) -> pa.parquet.ParquetFile:
        try:
            return pa.parquet.ParquetFile(path)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as reason:
            raise DataError(f"{path} cannot be read ({' '.join(str(reason).split())}); write it again.") from None

    def batches(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """See :class:`Source`."""
        for path in self._paths:
            with self._open(path) as file:
                try:
                    for batch in file.iter_batches(ROWS, use_threads=False):
                        yield dict(zip(batch.schema.names, batch.columns)), batch.num_rows
                except (pa.ArrowInvalid, OSError) as reason:
                    raise DataError(f"{path} cannot be read ({' '.join(str(reason).split())}); write it again.") from None


class Frame(Source):
    """A pandas DataFrame, or what Arrow takes for a table: a ``pyarrow.Table``, a polars DataFrame.

    Parameters
    ----------
    name : str
        What it is called in messages.
    frame : DataFrame or Table

    Raises
    ------
    DataError
        It is neither, or has two columns of one name.
    """

    def __init__(self, name: str, frame):
        if not hasattr(frame, "iloc"):
            try:
                frame = pa.table(frame)
            except (TypeError, ValueError, pa.ArrowInvalid):
                raise DataError(f"{name} is a {type(frame).__name__}; give a DataFrame or a table of Arrow.") from None
        self._frame = frame
        columns = [str(column) for column in (frame.columns if hasattr(frame, "iloc") else frame.column_names)]
        if len(set(columns)) < len(columns):
            raise DataError(f"{name} has two columns of one name; rename one of them.")
        super().__init__(name, columns)

    def batches(self, broken: Broken) -> Iterator[tuple[dict[str, pa.Array], int]]:
        """See :class:`Source`."""
        if not hasattr(self._frame, "iloc"):
            for batch in self._frame.to_batches(ROWS):
                yield dict(zip(self.columns, batch.columns)), batch.num_rows
            return
        for start in range(0, len(self._frame), ROWS):
            part = self._frame.iloc[start : start + ROWS]
            arrays = (_of_pandas(part.iloc[:, position]) for position in range(part.shape[1]))
            yield dict(zip(self.columns, arrays)), len(part)


def _of_pandas(column) -> pa.Array:
    if column.dtype != object:
        found = pa.array(column, from_pandas=True)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return array_of([value.tolist() if hasattr(value, "tolist") and hasattr(value, "dtype") else value for value in column])
