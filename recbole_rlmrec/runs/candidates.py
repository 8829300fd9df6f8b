"""Which items may be recommended: lists of ids, and conditions over the columns of .item."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from recbole_rlmrec.data.where import rows_where
from recbole_rlmrec.errors import ConfigError, DataError


def allowed_items(
    trained, only: Path | None = None, exclude: Path | None = None, where: str | None = None
) -> tuple[torch.Tensor | None, list[str]]:
    """Items that may be shown.

    Parameters
    ----------
    trained : recbole_rlmrec.runs.trained.Trained
    only, exclude : Path, optional
        Files with ids of items, one a line.
    where : str, optional
        Condition, see :func:`recbole_rlmrec.data.where.rows_where`; items that ``.item`` lacks do not fit.

    Returns
    -------
    allowed : BoolTensor [n_items] or None
        By internal id; None where all may be shown.
    notes : list of str
        How many ids of the files the model does not know, and how many items have no columns to fit by.

    Raises
    ------
    ConfigError
        A file is no list of ids, the condition is none, or no item is left.
    DataError
        A file is missing, or there is no ``.item`` file.
    """
    if only is None and exclude is None and where is None:
        return None, []
    tokens = pd.Series(trained.tokens("item")[1:]).astype(str)
    allowed, notes = pd.Series(True, index=tokens.index), []
    for option, path in (("--only-items", only), ("--exclude", exclude)):
        if path is not None:
            listed = _read_ids(path, option)
            found = tokens.isin(listed)
            allowed &= found if path is only else ~found
            if unknown := len(listed) - int(found.sum()):
                notes.append(f"{path}: the model does not know {unknown:,} of {len(listed):,} items.")
    if where is not None:
        file = trained.item_file
        if file is None:
            raise DataError(f"--where needs {trained.config['dataset']}.item with the ids of the items; there is none.")
        fits = rows_where(where, file.table, file.types, trained.config["seq_separator"] or " ")
        allowed &= tokens.isin(file.table.index[fits])
        if rowless := int((~tokens.isin(file.table.index)).sum()):
            notes.append(f"{rowless:,} of {len(tokens):,} items have no row with columns, so --where leaves them out.")
    if not allowed.any():
        raise ConfigError("No item of the model is left by --only-items, --exclude and --where; loosen them.")
    return torch.tensor([False, *allowed]), notes


def _read_ids(path: Path, option: str) -> set[str]:
    try:
        ids = {line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()} - {""}
    except UnicodeDecodeError:
        raise ConfigError(f"{option} {path} is no text in UTF-8; write one id a line.") from None
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{option} {path} is no file; write one id a line into it.") from None
    if not ids:
        raise ConfigError(f"{option} {path} is empty; write one id a line.")
    return ids
