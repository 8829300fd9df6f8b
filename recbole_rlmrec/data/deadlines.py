"""From when on nothing may be known of a user: the time of the first interaction that a run holds out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import read_columns, read_header
from recbole_rlmrec.data.pairs import pair_key, targets, training_interactions

_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")


@dataclass(frozen=True)
class Deadlines:
    """The first held-out time of every user, where a split holds out the latest interactions.

    Attributes
    ----------
    at : float64 array [n_users]
        By internal id, in the run's own numbers; infinite where nothing of a user is held out. Where all of training comes
        before all that is held out, everybody has the first of these times.
    late : dict of str to array
        ``keys`` and ``times`` of training interactions that are as late as their users' deadlines: equal times.
    n_items : int
        Number of internal item ids.
    low, span : float
        What a run that scales times (``normalize_all``) has taken from them, and divided them by.
    """

    at: np.ndarray
    late: dict[str, np.ndarray]
    n_items: int
    low: float = 0.0
    span: float = 1.0

    @classmethod
    def of_splits(cls, train, heldout: Sequence, scale: tuple[float, float] = (0.0, 1.0)) -> Deadlines | None:
        """Deadlines of a run, before its times are rounded.

        Parameters
        ----------
        train : recbole.data.dataset.Dataset
            The training split.
        heldout : sequence of Dataset
            Validation and test split.
        scale : (float, float)
            See ``low`` and ``span``.

        Returns
        -------
        Deadlines or None
            None where no times are loaded, or where some training interaction is later than a held-out one of its user: such
            a split is not one in the order of time.
        """
        return cls._of(training_interactions(train), [targets(part) for part in heldout if len(part.inter_feat)], train, scale)

    @classmethod
    def of_files(cls, train) -> Deadlines | None:
        """Deadlines of a run whose data come split, by the times that its files have and that it has not loaded.

        Parameters
        ----------
        train : recbole.data.dataset.Dataset
            The training split.
        """
        parts, ids = [], [train.field2token_id[train.config[key]] for key in _FIELDS[:2]]
        for table in _read_parts(train.config):
            if table is None:
                return None
            users, items = (table[side].map(known) for side, known in zip(("user", "item"), ids))
            there = (users.notna() & items.notna() & table["time"].notna()).to_numpy()
            columns = (users.to_numpy()[there].astype(np.int64), items.to_numpy()[there].astype(np.int64))
            parts.append((*columns, table["time"].to_numpy()[there]))
        return cls._of(parts[0], [part for part in parts[1:] if len(part[0])], train, (0.0, 1.0))

    @classmethod
    def _of(cls, known, held: list, train, scale: tuple[float, float]) -> Deadlines | None:
        """Of (users, items, times) of training and of what is held out."""
        users, items, times = known
        if times is None or not held or any(part[2] is None for part in held):
            return None
        at = np.full(train.user_num, np.inf)
        for part in held:
            np.minimum.at(at, part[0], part[2])
        if (times > at[users]).any():
            return None
        if len(times) and times.max() <= at.min():
            at[:] = at.min()
        late = times >= at[users]
        keys = pair_key(users[late], items[late], train.item_num)
        return cls(at, {"keys": keys, "times": times[late]}, train.item_num, *scale)

    def passed(self, users: np.ndarray, items: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Which interactions come at or after their users' deadlines and are not of training.

        Parameters
        ----------
        users, items : int64 arrays [n]
            Internal ids; 0 for those that the run does not have.
        times : float64 array [n]
            As the files have them; nan where they are not known, which passes no deadline.

        Returns
        -------
        bool array [n]
        """
        times = times if (self.low, self.span) == (0.0, 1.0) else (times - self.low) / self.span
        found = (times >= self.at[users]) & (users > 0)
        keys = pair_key(users[found], items[found], self.n_items)
        found[found] = ~np.isin(keys + 1j * times[found], self.late["keys"] + 1j * self.late["times"])
        return found

    def time_of(self, user: int) -> float:
        """Deadline of a user as the files would have it."""
        return float(self.at[user] * self.span + self.low)


def earliest_in_files(config, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """When interactions first took place that filters have taken from a run, by the run's own files.

    Parameters
    ----------
    config : recbole.config.Config
    pairs : collection of (str, str)
        User and item tokens.

    Returns
    -------
    dict of (str, str) to float
        Those that the files have with a time.
    """
    found: dict[tuple[str, str], float] = {}
    for table in _read_parts(config):
        if table is None:
            continue
        table = table[table["user"].isin({user for user, _ in pairs}) & table["item"].isin({item for _, item in pairs})]
        for pair, time in zip(zip(table["user"], table["item"]), table["time"]):
            if pair in pairs and not np.isnan(time):
                found[pair] = min(time, found.get(pair, np.inf))
    return found


def _read_parts(config) -> Iterator[pd.DataFrame | None]:
    """``user``, ``item`` (tokens) and ``time`` of the files of a run's interactions; None for one without these columns."""
    stem = Path(config["data_path"]) / config["dataset"]
    parts = [f"{part}.inter" for part in config["benchmark_filename"] or ()] or ["inter"]
    form, names = (config["field_separator"] or "\t", config["encoding"] or "utf-8"), [config[key] for key in _FIELDS]
    for path in (stem.with_name(f"{stem.name}.{part}") for part in parts):
        if not path.is_file() or not set(names) <= set(read_header(path, *form)):
            yield None
            continue
        table = read_columns(path, names, *form, names[2:])[names].set_axis(["user", "item", "time"], axis=1)
        yield table.assign(time=pd.to_numeric(table["time"], errors="coerce"))
