"""What users did last, in the order of time: the input of a sequential recommender that recommends."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.data.pairs import Interactions, interactions_of


def alone_of(dataset) -> np.ndarray:
    """Users with one interaction, whom RecBole's sequences leave out, and its items, int64 [2, n]."""
    found = getattr(dataset, "rlmrec_alone", None)
    return np.zeros((2, 0), dtype=np.int64) if found is None else found


@dataclass(frozen=True)
class Histories:
    """Sequences of the users of a run, and what came later.

    Attributes
    ----------
    rows : Interaction
        Rows of the run's splits, whose lists and targets the sequences are.
    row_of : int64 array [n_users]
        The latest row of each user; -1 where there is none.
    sequences : dict of int to list of int
        Items of users without a row, the oldest first.
    later : dict of int to list of int
        Items that follow what a user's row has.
    names : dict of str
        ``user``, ``item`` and ``length``: columns; ``suffix`` of lists.
    longest : int
        Items that the model takes.
    n_known : int
        Users from this id on are none that the model has met.
    """

    rows: Interaction
    row_of: np.ndarray
    sequences: Mapping[int, list[int]]
    names: Mapping[str, str]
    longest: int
    n_known: int
    later: Mapping[int, list[int]] = field(default_factory=dict)

    @classmethod
    def of_splits(cls, dataset, splits: Sequence, parts: int) -> Histories:
        """Histories up to the end of a split.

        Parameters
        ----------
        dataset : recbole.data.dataset.SequentialDataset
        splits : sequence of SequentialDataset
            Training, validation and test.
        parts : int
            How many of them users' sequences take in.
        """
        feats = [part.inter_feat.interaction for part in splits[:parts]]
        columns = {name: torch.cat([feat[name] for feat in feats]) for name in feats[0]}
        number = np.repeat(np.arange(parts), [len(part.inter_feat) for part in splits[:parts]])
        times = columns.get(dataset.time_field)
        times = np.zeros(len(number)) if times is None else times.numpy()
        order = np.lexsort((times, number))
        row_of = np.full(dataset.user_num, -1)
        row_of[columns[dataset.uid_field].numpy()[order]] = order
        known = functools.reduce(Interactions.plus, interactions_of(splits[:parts]))
        alone = np.flatnonzero(row_of[known.users] < 0)
        alone = alone if known.times is None else alone[np.argsort(known.times[alone], kind="stable")]
        sequences: dict[int, list[int]] = {}
        for user, item in zip(known.users[alone].tolist(), known.items[alone].tolist()):
            sequences.setdefault(user, []).append(item)
        for user, item in zip(*alone_of(dataset).tolist()):
            sequences.setdefault(user, [item])
        names = {"user": dataset.uid_field, "item": dataset.iid_field, "length": dataset.item_list_length_field}
        names["suffix"] = dataset.config["LIST_SUFFIX"]
        return cls(Interaction(columns), row_of, sequences, names, dataset.max_item_list_len, dataset.user_num)

    @property
    def item_list(self) -> str:
        """Name of the column of the items of a sequence."""
        return f"{self.names['item']}{self.names['suffix']}"

    def inputs(self, users: torch.Tensor) -> Interaction:
        """What a sequential recommender takes of users [k]; without their ids where one of them is new to it.

        Users without a history have a sequence of length 0.
        """
        names, suffix, longest = self.names, self.names["suffix"], self.longest
        columns, rows = self.rows.interaction, torch.from_numpy(self.row_of[users.numpy()])
        there, rows = rows >= 0, rows.clamp(min=0)
        lengths = torch.where(there, columns[names["length"]][rows] + 1, 0)
        found = {}
        for name in [name for name in columns if f"{name}{suffix}" in columns]:
            lists, last = columns[f"{name}{suffix}"][rows], columns[name][rows]
            whole = torch.cat([lists, torch.zeros_like(lists[:, :1])], dim=1)
            whole[torch.arange(len(rows)), (lengths - 1).clamp(min=0)] = last
            whole[~there] = 0
            found[f"{name}{suffix}"] = whole
        for place, user in enumerate(users.tolist()):
            if more := [*self.sequences.get(user, ()), *self.later.get(user, ())]:
                self._append(found, place, int(lengths[place]), more)
                lengths[place] += len(more)
        found = {name: _last(values, lengths, longest) for name, values in found.items()}
        found[names["length"]] = lengths.clamp(max=longest)
        if bool((users < self.n_known).all()):
            found[names["user"]] = users
        return Interaction(found)

    def _append(self, found: dict[str, torch.Tensor], place: int, length: int, items: list[int]) -> None:
        """Put items behind a sequence, and zeros where nothing else is known of them."""
        for name, values in found.items():
            missing = length + len(items) - values.shape[1]
            if missing > 0:
                values = torch.cat([values, values.new_zeros(len(values), missing, *values.shape[2:])], dim=1)
            if name == self.item_list:
                values[place, length : length + len(items)] = torch.tensor(items)
            found[name] = values


def _last(values: torch.Tensor, lengths: torch.Tensor, longest: int) -> torch.Tensor:
    """The last ``longest`` entries of rows that are filled from the left, filled from the left again."""
    columns = torch.arange(longest)
    places = (lengths - longest).clamp(min=0).unsqueeze(1) + columns
    inside = columns < lengths.unsqueeze(1)
    places = places.clamp(max=values.shape[1] - 1)
    found = values[torch.arange(len(values)).unsqueeze(1), places]
    found[~inside] = 0
    return found
