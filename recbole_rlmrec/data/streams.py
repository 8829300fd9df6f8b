"""Atomic files as text, block by block: whatever their size, a few megabytes of them are in memory at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
from tqdm import tqdm

from recbole_rlmrec.data.atomic import MISSING, FeatureType, read_atomic, read_header
from recbole_rlmrec.data.lines import check_lines, unquoted
from recbole_rlmrec.data.memory import give_back
from recbole_rlmrec.data.text import plain_text
from recbole_rlmrec.data.texts import Texts, preview

BLOCK = 1 << 22
Block = dict[str, pa.Array]

logger = getLogger()


def stream_atomic(
    path: Path, take: Callable[[Iterator[Block]], object], separator: str = "\t", encoding: str = "utf-8", show: bool = False
):
    """Give the columns of a file to a function, block by block, and return what it returns.

    Texts are those of :func:`read_atomic`: without the quotation marks around them, missing ones empty. Files that are not
    separated by tabs, or not UTF-8, come in one block.

    Parameters
    ----------
    path : Path
    take : callable
        Called with an iterator of blocks, arrays of strings by name; it may be called again, from the beginning.
    separator, encoding : str
        RecBole's ``field_separator`` and ``encoding``.
    show : bool
        Whether to show a progress bar.

    Raises
    ------
    DataError
        As :func:`read_atomic`.
    """
    names = list(read_header(path, separator, encoding))
    lines = check_lines(path, separator, encoding)
    plain = separator == "\t" and codecs.lookup(encoding).name in ("utf-8", "ascii") and len(names) > 1
    if plain and not lines.lone_returns:
        try:
            with tqdm(total=lines.rows, desc=f"Read {path.name}", ncols=100, disable=not show, unit_scale=True) as bar:
                taken = take(_blocks(path, names, lines.quotes, bar))
            give_back()
            return taken
        except pa.ArrowInvalid:  # a line that is longer than a block
            pass
    table = read_atomic(path, separator, encoding).table
    return take(iter([{name: pa.array(table[name], type=pa.string()) for name in table}]))


def _blocks(path: Path, names: list[str], quotes: bool, bar) -> Iterator[Block]:
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK, skip_rows=1, column_names=names),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    missing = pa.array(sorted(MISSING))
    for batch in reader:
        columns = {name: _unquoted(batch.column(name)) if quotes else batch.column(name) for name in names}
        yield {name: pc.if_else(pc.is_in(column, value_set=missing), "", column) for name, column in columns.items()}
        bar.update(len(batch))


def _unquoted(column: pa.Array) -> pa.Array:
    marked = pc.starts_with(column, '"')
    if not pc.any(marked).as_py():
        return column
    texts = pa.array([unquoted(text) for text in column.filter(marked).to_pylist()], type=pa.string())
    return pc.replace_with_mask(column, marked, texts)


class Plain:
    """Reduces texts to plain ones, see :func:`recbole_rlmrec.data.text.plain_text`, and says at the end how many had markup."""

    def __init__(self, types: dict[str, FeatureType], where: str) -> None:
        self._where, self._rows = where, 0
        self._changed = {name: 0 for name, kind in types.items() if kind in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)}

    def __call__(self, block: Block) -> Block:
        """The block with plain texts."""
        self._rows += len(next(iter(block.values()), ()))
        return {name: self._column(name, column) if name in self._changed else column for name, column in block.items()}

    def _column(self, name: str, column: pa.Array) -> pa.Array:
        marked = pc.or_(pc.match_substring(column, "<"), pc.match_substring(column, "&"))
        if not pc.any(marked).as_py():
            return column
        before = column.filter(marked).to_pylist()
        after = [plain_text(text) for text in before]
        self._changed[name] += sum(old != new for old, new in zip(before, after))
        return pc.replace_with_mask(column, marked, pa.array(after, type=pa.string()))

    def tell(self) -> None:
        """Log it, once for each column."""
        for name, count in self._changed.items():
            if count:
                logger.info(f"{self._where}: {count:,} of {self._rows:,} values of {name} held markup; their text counts.")


class Entities:
    """``.item`` or ``.user``: ids, and the other columns as :class:`Texts`."""

    def __init__(self, path: Path, id_field: str, types: dict[str, FeatureType]) -> None:
        self.path, self.types = path, {name: kind for name, kind in types.items() if name != id_field}
        self._id_field = id_field
        self.ids = pa.array([], type=pa.string())
        self.columns: dict[str, Texts] = {}

    def take(self, blocks: Iterator[Block]) -> Entities:
        """Read it."""
        plain, ids = Plain(self.types, self.path.name), []
        self.columns = {name: Texts() for name in self.types}
        for block in blocks:
            ids.append(block.pop(self._id_field))
            for name, column in plain(block).items():
                self.columns[name].append(column)
        plain.tell()
        self.ids = pa.concat_arrays(ids) if ids else self.ids
        return self

    def rows_of(self, tokens: Sequence[str]) -> np.ndarray:
        """The first row of each token, int64 [n], -1 where there is none."""
        return pc.index_in(pa.array(tokens, type=pa.string()), value_set=self.ids).fill_null(-1).to_numpy().astype(np.int64)

    def first_rows(self) -> np.ndarray:
        """The first row of each distinct id that is not empty, int64 [k], in the order of the file."""
        first = pc.index_in(self.ids, value_set=self.ids).to_numpy() == np.arange(len(self.ids))
        return np.flatnonzero(first & pc.not_equal(self.ids, "").to_numpy(zero_copy_only=False))

    def frame(self, side: str, names: list[str] | None = None) -> pd.DataFrame:
        """Some or all columns, the first row of repeated ids, in memory; the index holds the ids."""
        ids = pd.Index(self.ids.to_numpy(zero_copy_only=False).astype(object), name=side)
        rows = self.first_rows()
        names = list(self.columns) if names is None else names
        return pd.DataFrame({name: self.columns[name].take(rows) for name in names}, index=ids[rows], dtype=object)

    def preview(self, most: int) -> pd.DataFrame:
        """Some values of each column, see :func:`recbole_rlmrec.data.texts.preview`."""
        return preview(self.columns, most)
