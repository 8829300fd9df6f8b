"""The leak check: what profiles may quote.

One rule, for profiles of users and of items alike. A quoted interaction leaks where it is

1. a validation or test interaction of the run that is not one of training's too, compared as a pair of user and item; or,
2. where the run holds out the latest interactions, any interaction at or after the first held-out one of its user that is
   not one of training's, whichever item it is of. Its time is the one that the profile records, else the first that the
   run's files have of the pair; where neither has one, the first rule is all there is.

Training interactions may be quoted, whatever they are used for. Those of augmented sequences are the targets of training rows
and what stands before them; a profile may quote the target of a training row, and interactions later than it, for everything
that is measured comes later. Interactions that a filter took from the run, or of whom it does not know, fall under the second
rule alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from logging import getLogger

import numpy as np
import pandas as pd

from recbole_rlmrec.data.deadlines import Deadlines, earliest_in_files
from recbole_rlmrec.data.pairs import heldout_keys, pair_keys, pair_of, split_keys
from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.errors import LeakageError, quoted
from recbole_rlmrec.semantic.origin import check_mode

logger = getLogger()


@dataclass(frozen=True)
class Quotes:
    """Interactions that profiles quote, repeats allowed, in little memory.

    Attributes
    ----------
    users, items : int64 arrays [n]
        The run's internal ids, 0 for those that it does not have.
    times : float64 array [n]
        As the profiles record them; nan where they do not.
    strangers : tuple of (str, str)
        User and item tokens of those without a time whose user the run has and whose item it does not.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    strangers: tuple[tuple[str, str], ...] = ()

    def plus(self, more: Quotes) -> Quotes:
        """These and others."""
        columns = (np.concatenate([getattr(part, name) for part in (self, more)]) for name in ("users", "items", "times"))
        return Quotes(*columns, self.strangers + more.strangers)


class QuoteReader:
    """Takes the interactions that profiles quote, and keeps no profile.

    Parameters
    ----------
    train : recbole.data.dataset.Dataset
        The training split.
    """

    def __init__(self, train) -> None:
        self._users, self._items = train.field2token_id[train.uid_field], train.field2token_id[train.iid_field]
        self._columns = array("i"), array("i"), array("i"), array("d")  # line, user, item, time
        self._strangers: list[tuple[int, tuple[str, str]]] = []

    def note(self, line: int, profile: Profile) -> None:
        """Take those of a profile, which is in a line of its file."""
        lines, users, items, times = self._columns
        for (user, item), time in zip(profile.pairs or (), profile.times or repeat(None)):
            lines.append(line)
            users.append(self._users.get(user, 0))
            items.append(self._items.get(item, 0))
            times.append(np.nan if time is None else time)
            if users[-1] > 0 and items[-1] == 0 and np.isnan(times[-1]):
                self._strangers.append((line, (user, item)))

    def quotes(self, lines: np.ndarray) -> Quotes:
        """Those of some lines, int [n]."""
        of_line, users, items = (np.frombuffer(column, dtype=np.intc) for column in self._columns[:3])
        counts = np.zeros(max(of_line.max(initial=-1), lines.max(initial=-1)) + 1, dtype=bool)
        counts[lines] = True
        chosen = counts[of_line]
        ids = (column[chosen].astype(np.int64) for column in (users, items))
        times = np.frombuffer(self._columns[3], dtype=np.float64)[chosen]
        return Quotes(*ids, times, tuple(pair for line, pair in self._strangers if counts[line]))


def check_leakage(pairs: pd.DataFrame, train, mode: str = "error", tag: str = "TAG") -> int | None:
    """As :func:`check_quotes`, for ``user`` and ``item`` tokens of quoted interactions whose times are not recorded."""
    reader = QuoteReader(train)
    reader.note(0, Profile("", "", pairs=list(zip(pairs["user"], pairs["item"]))))
    return check_quotes(reader.quotes(np.zeros(1, dtype=np.int64)), train, mode, tag)


def check_quotes(quotes: Quotes, train, mode: str = "error", tag: str = "TAG") -> int | None:
    """Look for quoted interactions that a run must not know.

    Parameters
    ----------
    quotes : Quotes
    train : recbole.data.dataset.Dataset
        The training split; its ``rlmrec_heldout`` holds the validation and the test split, its ``rlmrec_deadlines`` from when
        on they hold interactions of each user.
    mode : str
        ``error`` or ``warn``.
    tag : str
        Name of the profiles, for the message.

    Returns
    -------
    int or None
        Number of leaked interactions; None where the training split does not know the held-out ones.

    Raises
    ------
    LeakageError
        There is a leak and the mode is ``error``; the message has the count, an example and the remedy.
    ConfigError
        The mode is another one.
    """
    mode = check_mode(mode)
    heldout = heldout_keys(train)
    if heldout is None:
        logger.warning(
            "The training split does not know the held-out splits, so the profiles could not be checked for leaks; "
            "build the dataset with recbole_rlmrec imported."
        )
        return None
    keys, known = pair_keys(train, quotes.users, quotes.items), split_keys(train)
    leaked = np.setdiff1d(np.intersect1d(keys, heldout), known)
    late = _late(quotes, keys, known, leaked, train)
    if len(leaked) or late:
        _report(leaked, late, mode, tag, train)
    return len(leaked) + len(late)


def _late(quotes: Quotes, keys: np.ndarray, known: np.ndarray, leaked: np.ndarray, train) -> list[tuple[int, str, float]]:
    """What the second rule finds beside the first: user ids, items and times, each once."""
    timeless = np.unique(keys[np.isnan(quotes.times) & (keys > 0)])
    timeless = timeless[~np.isin(timeless, known) & ~np.isin(timeless, leaked)]
    if not (len(timeless) or quotes.strangers or np.isfinite(quotes.times).any()):
        return []
    deadlines: Deadlines | None = getattr(train, "rlmrec_deadlines", None)
    if deadlines is None and train.config["benchmark_filename"] and train.time_field not in train.inter_feat:
        # most recommenders load no times, and the files may still be split by them
        deadlines = train.rlmrec_deadlines = Deadlines.of_files(train)
    if deadlines is None:
        return []
    found = deadlines.passed(quotes.users, quotes.items, quotes.times) & ~np.isin(keys, leaked)
    names = train.field2id_token[train.iid_field]
    late = {
        (int(user), str(names[item]) if item else "", float(time))
        for user, item, time in zip(quotes.users[found], quotes.items[found], quotes.times[found])
    }
    return sorted(late | _late_in_files([*quotes.strangers, *_tokens(timeless, train)], deadlines, train))


def _late_in_files(pairs: Sequence[tuple[str, str]], deadlines: Deadlines, train) -> set[tuple[int, str, float]]:
    """Of interactions that the run does not have, those that its files date at or after a deadline."""
    if not pairs:
        return set()
    ids, items = train.field2token_id[train.uid_field], train.field2token_id[train.iid_field]
    times = earliest_in_files(train.config, set(pairs))
    there = [(ids[user], items.get(item, 0), item, time) for (user, item), time in times.items()]
    columns = [np.array([row[place] for row in there]) for place in (0, 1, 3)]
    passed = deadlines.passed(*columns) if there else []
    return {(user, item, time) for (user, _, item, time), late in zip(there, passed) if late}


def _tokens(keys: np.ndarray, train) -> list[tuple[str, str]]:
    users, items = pair_of(keys, train.item_num)
    names = (train.field2id_token[field] for field in (train.uid_field, train.iid_field))
    return [tuple(map(str, pair)) for pair in zip(*(tokens[ids] for tokens, ids in zip(names, (users, items))))]


def _report(leaked: np.ndarray, late: list[tuple[int, str, float]], mode: str, tag: str, train) -> None:
    clauses = []
    if len(leaked):
        (user, item), count = _tokens(leaked[:1], train)[0], len(leaked)
        clauses.append(
            f"{count} interaction{'s' if count > 1 else ''} of this run's validation or test split, for example user {user!r} "
            f"with item {item!r}"
        )
    if late:
        number, item, time = late[0]
        user, count = str(train.field2id_token[train.uid_field][number]), len(late)
        with_item, first = f" with item {item!r}" if item else "", train.rlmrec_deadlines.time_of(number)
        clauses.append(
            f"{count} interaction{'s' if count > 1 else ''} from the time on at which this run holds out what their users did, "
            f"for example user {user!r}{with_item} at {time:.15g}, held out from {first:.15g} on"
        )
    found = f"The profiles of tag {tag!r} quote {' and '.join(clauses)}"
    if mode == "warn":
        logger.warning(f"{found}; the results are too good to be true (leakage: warn).")
        return
    model = f"--model={train.config['model']} and " if hasattr(train, "item_list_length_field") else ""
    raise LeakageError(
        f"{found}. Make profiles for this split (recbole-rlmrec profile --dataset {quoted(train.dataset_name)} --tag NEW with "
        f"{model}this run's options), run with the split and seed they were made for, or set leakage: warn to go on regardless."
    )
