"""Rows of the interaction file that belong to a run's training split, as they are written."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import AtomicFile, FeatureType
from recbole_rlmrec.data.pairs import heldout_keys, pair_keys, pair_of, split_keys
from recbole_rlmrec.errors import DataError


def training_rows(config, train, file: AtomicFile) -> tuple[pd.DataFrame, dict[str, FeatureType]]:
    """Raw rows of the training pairs and the types of their columns.

    Parameters
    ----------
    config : recbole.config.Config
    train : recbole.data.dataset.Dataset
        The training split.
    file : AtomicFile
        All interactions, or those of training where the data come split.

    Returns
    -------
    rows : DataFrame
        See ``interactions`` of :class:`~recbole_rlmrec.data.corpus.Corpus`.
    types : dict of str to FeatureType

    Raises
    ------
    DataError
        The file is not the one of this run.
    """
    fields = (train.uid_field, train.iid_field)
    if missing := [name for name in fields if name not in file.table]:
        raise DataError(f"{file.path} has no column {missing[0]!r}; add it, or set USER_ID_FIELD and ITEM_ID_FIELD.")
    raw_keys = pair_keys(train, *(_internal_ids(train, name, file.table[name]) for name in fields))
    times = _times(file.table, config["TIME_FIELD"])
    if f"{train.iid_field}{config['LIST_SUFFIX']}" in file.table and hasattr(train, "item_list_length_field"):
        return _rows_of_sequences(config, train, file, raw_keys, times)
    rows, blank = _matching_rows(train, raw_keys, times, config["rm_dup_inter"])
    if (rows < 0).any():
        lost = int((rows < 0).sum())
        raise DataError(f"{file.path} lacks {lost} training interactions of the run; it is not the file of this run.")
    extras = [name for name in file.table if name not in ("user", "item", *fields)]
    table = file.table.iloc[rows].reset_index(drop=True)
    table.loc[blank, extras] = ""
    return _with_tokens(train, raw_keys[rows], table[extras]), {name: file.types[name] for name in extras}


def _matching_rows(train, raw_keys: np.ndarray, times: np.ndarray, keep: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The raw row of each distinct training pair.

    Parameters
    ----------
    raw_keys : int64 [n]
        Key of each raw row's pair.
    times : float64 [n]
        Of each raw row; nan where there is none.
    keep : str or None
        Which of several rows of a pair counts, ``first`` or ``last`` (also the default).

    Returns
    -------
    rows : int64 [pairs]
        Row of each pair by user and then time; -1 where there is none.
    blank : bool [pairs]
        Whether the row might be another one's, held out: the raw file has more rows of the pair than training has, and
        the pair is in a held-out split or the run does not know its held-out splits. Rows from the time on at which the
        run holds out what their users did are none of training's. Such a pair stands where its first row does.
    """
    keys, counts = np.unique(split_keys(train), return_counts=True)
    order = np.argsort(times, kind="stable")
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    known = raw_keys > 0
    deadlines = getattr(train, "rlmrec_deadlines", None)
    if deadlines is not None:
        known &= ~deadlines.passed(*pair_of(raw_keys, train.item_num), times)
    heldout = heldout_keys(train)
    risky = np.ones(len(keys), dtype=bool) if heldout is None else np.isin(keys, heldout)
    found = pd.Series(order, index=raw_keys[order])[known[order]]
    blank = (found.index.value_counts().reindex(keys, fill_value=0).to_numpy() > counts) & risky
    ends = {which: found[~found.index.duplicated(keep=which)].reindex(keys, fill_value=-1) for which in ("first", "last")}
    rows = np.where(blank, ends["first"], ends[keep or "last"])
    by_user = np.lexsort((position[rows], keys // train.item_num))
    return rows[by_user], blank[by_user]


def _rows_of_sequences(config, train, file: AtomicFile, raw_keys: np.ndarray, times: np.ndarray):
    """As `training_rows`, of a file whose rows have the sequence before them in columns of their own.

    An item that is no target of any row has no values but the time, where the file lists times. A pair stands where it comes
    last: the later the row, the later in its sequence.
    """
    suffix, separator = config["LIST_SUFFIX"], config["seq_separator"] or " "
    lists = file.table[[name for name in (train.iid_field, config["TIME_FIELD"]) if f"{name}{suffix}" in file.table]]
    split = [file.table[f"{name}{suffix}"].str.split(separator) for name in lists]
    items = split[0]
    same = len(split) > 1 and bool((items.str.len() == split[1].str.len()).all())
    order = np.argsort(times, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    before = pd.DataFrame({"rank": rank, "user": raw_keys // train.item_num, "item": items.to_numpy(), "row": -1})
    before["time"] = split[1].to_numpy() if same else ""
    before = before.explode(["item", "time"] if same else "item", ignore_index=True)
    before["key"] = pair_keys(train, before["user"].to_numpy(), _internal_ids(train, train.iid_field, before["item"]))
    own = pd.DataFrame({"rank": rank, "key": raw_keys, "row": np.arange(len(rank)), "time": ""})
    events = pd.concat([before[["rank", "key", "row", "time"]], own]).sort_values("rank", kind="stable", ignore_index=True)
    events = events[events["key"] > 0]
    target = events[events["row"] >= 0].drop_duplicates("key", keep="last").set_index("key")["row"]
    last = events.drop_duplicates("key", keep="last")
    last = last.iloc[np.lexsort((last.index, last["key"].to_numpy() // train.item_num))]
    rows = target.reindex(last["key"], fill_value=-1).to_numpy()
    fields = (train.uid_field, train.iid_field)
    extras = [name for name in file.table if name not in ("user", "item", *fields) and not name.endswith(suffix)]
    table = file.table[extras].iloc[rows].reset_index(drop=True)
    table.loc[rows < 0, extras] = ""
    if config["TIME_FIELD"] in extras:
        table.loc[rows < 0, config["TIME_FIELD"]] = last["time"].to_numpy()[rows < 0]
    return _with_tokens(train, last["key"].to_numpy(), table), {name: file.types[name] for name in extras}


def _with_tokens(train, keys: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    ids = pair_of(keys, train.item_num)
    users, items = (train.field2id_token[name].astype(object) for name in (train.uid_field, train.iid_field))
    return pd.concat([pd.DataFrame({"user": users[ids[0]], "item": items[ids[1]]}), table], axis=1)


def _times(table: pd.DataFrame, time_field: str | None) -> np.ndarray:
    """The time of each row, float64; nan where there is none, so that rows without a time keep the order of the file."""
    if time_field not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[time_field], errors="coerce").to_numpy(dtype=np.float64)


def _internal_ids(train, field: str, tokens: pd.Series) -> np.ndarray:
    """Internal ids of raw tokens, int64 [n], 0 for those that the run does not have."""
    return tokens.map(train.field2token_id[field]).fillna(0).to_numpy(dtype=np.int64)
