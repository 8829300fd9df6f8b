"""Atomic files by Arrow's reader, in a third of the memory: tokens as codes, each distinct one kept once.

It reads what has no quotation marks and is UTF-8 between tabs, which is nearly every file. For all else, and wherever it would
read anything in another way than pandas does, there is :func:`recbole_rlmrec.data.atomic.read_columns`.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv

BLOCK = 1 << 22
_PLAIN = ("utf-8", "ascii")


def fits(separator: str, encoding: str, lines) -> bool:
    """Whether a file is one that Arrow reads as pandas does; ``lines`` is what `check_lines` found out about it."""
    return separator == "\t" and codecs.lookup(encoding).name in _PLAIN and not lines.quotes and not lines.lone_returns


def read_plain(
    path: Path,
    names: Sequence[str],
    wanted: Collection[str],
    numbers: Collection[str],
    tokens: Collection[str],
    missing: Collection[str],
    rows: int,
) -> pd.DataFrame | None:
    """Read some columns of a file that `fits`.

    Parameters
    ----------
    path : Path
    names : sequence of str
        All columns of the file.
    wanted : collection of str
        Those to read.
    numbers, tokens : collection of str
        Columns to read as float64 and as categories in the order of their first appearance; others are objects, equal ones
        once in memory.
    missing : collection of str
        Texts that stand for a missing value.
    rows : int
        How many there are.

    Returns
    -------
    DataFrame or None
        None where a number is written in a way that only Python reads, a line counts here that does not for pandas, or the
        distinct texts of a column are more than 2 GB.
    """
    coded = pa.dictionary(pa.int32(), pa.string())
    kinds = {name: pa.float64() if name in numbers else coded for name in wanted}
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK, skip_rows=1, column_names=list(names)),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=list(missing), strings_can_be_null=True
            ),
        )
        if len(table) != rows:
            return None
        frame = pd.DataFrame({name: _column(table[name], name in tokens) for name in kinds}, copy=False)
    except (pa.ArrowInvalid, pa.ArrowCapacityError):
        return None
    del table
    pa.default_memory_pool().release_unused()
    return frame


def _column(values: pa.ChunkedArray, as_categories: bool) -> np.ndarray | pd.Categorical | pd.Series:
    if pa.types.is_floating(values.type):
        return values.to_numpy()
    chunks = values.unify_dictionaries().chunks
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    codes = np.concatenate([np.empty(0, dtype=np.int32), *codes])
    tokens = chunks[0].dictionary.to_numpy(zero_copy_only=False) if chunks else np.empty(0)
    if as_categories:
        return pd.Categorical.from_codes(codes, categories=pd.Index(tokens, dtype=object))
    return pd.Series(np.append(tokens.astype(object), np.nan)[codes], dtype=object)


def concat_rows(frames: Sequence[pd.DataFrame], **options) -> pd.DataFrame:
    """``pandas.concat`` of the parts of a split that leaves categories what they are."""
    frames = list(frames)
    shared = [
        name
        for name in frames[0]
        if all(isinstance(frame.get(name, pd.Series()).dtype, pd.CategoricalDtype) for frame in frames)
    ]
    for name in shared:
        known = pd.api.types.union_categoricals([frame[name] for frame in frames]).categories
        frames = [frame.assign(**{name: frame[name].cat.set_categories(known)}) for frame in frames]
    return pd.concat(frames, **options)
