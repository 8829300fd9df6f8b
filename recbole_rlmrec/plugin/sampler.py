"""Who has which items, and the negatives drawn from the rest: vectorised, without a Python set per user.

`LazySampler` stands in for RecBole's ``Sampler``; `UniformNegatives` draws on the training device.
"""

from __future__ import annotations

import copy
import itertools
from functools import cached_property

import numpy as np
import torch
from recbole.sampler import Sampler

from recbole_rlmrec.data.pairs import pair_key


class UserItems:
    """Which items each user has, as sorted rows.

    Parameters
    ----------
    keys : LongTensor [n_pairs]
        `data.pairs.pair_key` of every pair, ascending, each once.
    n_users, n_items : int
        Numbers of internal ids, padding included.

    Attributes
    ----------
    ptr : LongTensor [n_users + 1]
        Pairs of user ``u`` are ``ptr[u]`` up to ``ptr[u + 1]``.
    """

    def __init__(self, keys: torch.Tensor, n_users: int, n_items: int):
        self.keys, self.n_users, self.n_items = keys, n_users, n_items
        firsts = torch.arange(n_users + 1, device=keys.device) * n_items
        self.ptr = torch.searchsorted(keys, firsts)

    @classmethod
    def of_pairs(cls, users: torch.Tensor, items: torch.Tensor, n_users: int, n_items: int) -> UserItems:
        """From pairs in any order, with or without repeats."""
        keys = torch.unique_consecutive(torch.sort(pair_key(users, items, n_items)).values)
        return cls(keys, n_users, n_items)

    @classmethod
    def of_datasets(cls, datasets) -> UserItems:
        """From the interactions of built RecBole datasets."""
        first = datasets[0]
        users = torch.cat([part.inter_feat[first.uid_field] for part in datasets])
        items = torch.cat([part.inter_feat[first.iid_field] for part in datasets])
        return cls.of_pairs(users, items, first.user_num, first.item_num)

    @classmethod
    def of_sampler(cls, sampler, n_items: int) -> UserItems:
        """What a RecBole sampler, whose phase is set, must not draw."""
        if isinstance(sampler, LazySampler):
            return sampler.used
        sizes = np.fromiter(map(len, sampler.used_ids), np.int64)
        items = np.fromiter(itertools.chain.from_iterable(sampler.used_ids), np.int64)
        users = np.repeat(np.arange(len(sizes)), sizes)
        return cls.of_pairs(torch.from_numpy(users), torch.from_numpy(items), len(sizes), n_items)

    @property
    def counts(self) -> torch.Tensor:
        """Number of items of each user, LongTensor [n_users]."""
        return self.ptr.diff()

    @property
    def items(self) -> torch.Tensor:
        """Items of all pairs, user by user, LongTensor [n_pairs]."""
        return self.keys % self.n_items

    def contains(self, keys: torch.Tensor) -> torch.Tensor:
        """Which of the ``keys`` are pairs, BoolTensor of the same shape."""
        if not len(self.keys):
            return torch.zeros_like(keys, dtype=torch.bool)
        position = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return self.keys[position] == keys

    def without(self, other: UserItems) -> UserItems:
        """The pairs that are not in ``other``."""
        return UserItems(self.keys[~other.contains(self.keys)], self.n_users, self.n_items)

    def rows(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Items of some users, as index pairs.

        Parameters
        ----------
        users : LongTensor [k]

        Returns
        -------
        position, item : LongTensor [m], LongTensor [m]
            ``users[position]`` has ``item``.
        """
        start = self.ptr[users]
        count = self.ptr[users + 1] - start
        position = torch.repeat_interleave(torch.arange(len(users)), count)
        shift = start - (count.cumsum(0) - count)
        return position, self.keys[torch.arange(len(position)) + shift[position]] % self.n_items

    def sets(self) -> np.ndarray:
        """Object array [n_users] of Python sets, RecBole's ``used_ids``."""
        items, ptr = self.items.tolist(), self.ptr.tolist()
        return np.fromiter((set(items[a:b]) for a, b in itertools.pairwise(ptr)), object, self.n_users)


class _PhaseSets(dict):
    """RecBole's ``used_ids`` before a phase is set: phase -> array of sets, each made when it is asked for."""

    def __init__(self, sampler):
        super().__init__()
        self.sampler = sampler

    def __missing__(self, phase):
        self[phase] = self.sampler.used_until(phase).sets()
        return self[phase]


class LazySampler(Sampler):
    """RecBole's ``Sampler`` whose used items are sorted rows; its sets are made only when something asks for them.

    Attributes
    ----------
    used : UserItems
        What must not be drawn in this sampler's phase; there once `set_phase` was called.
    """

    def get_used_ids(self):
        """Used items by phase, as RecBole counts them: those of the phase and of the phases before.

        Raises
        ------
        ValueError
            Some user has every item, so that there is nothing left to draw.
        """
        self._used = {}
        if (self.used_until(self.phases[-1]).counts + 1 == self.item_num).any():
            raise ValueError(
                "Some users have interacted with all items, which leaves no negative item for them. "
                "Please set `user_inter_num_interval` to filter those users."
            )
        return _PhaseSets(self)

    def used_until(self, phase: str) -> UserItems:
        """Items of the phase and of the phases before it."""
        if phase not in self._used:
            end = self.phases.index(phase) + 1
            self._used[phase] = UserItems.of_datasets(self.datasets[:end])
        return self._used[phase]

    def set_phase(self, phase: str) -> LazySampler:
        """Copy of this sampler for one phase."""
        if phase not in self.phases:
            raise ValueError(f"Phase [{phase}] not exist.")
        sampler = self.with_used(self.used_until(phase))
        sampler.phase = phase
        return sampler

    def with_used(self, used: UserItems) -> LazySampler:
        """Copy of this sampler that must not draw ``used``."""
        sampler = copy.copy(self)
        sampler.used = used
        vars(sampler).pop("used_ids", None)
        return sampler

    @cached_property
    def used_ids(self) -> np.ndarray:
        return self.used.sets()


class _SortedRows:
    """A sorted list in rows, so that a search walks a short index and reads one row."""

    width = 32

    def __init__(self, values, device):
        filler = values.new_full((-(len(values) + 1) % self.width,), torch.iinfo(values.dtype).max)
        padded = torch.cat((values.new_full((1,), -1), values, filler))
        self.rows = padded.reshape(-1, self.width).to(device)
        self.heads = self.rows[:, 0].contiguous()

    def count_up_to(self, limits):
        """How many values are at most each of the limits, LongTensor like ``limits``; both are not negative."""
        row = torch.searchsorted(self.heads, limits, right=True) - 1
        return row * self.width + (self.rows.index_select(0, row) <= limits.unsqueeze(1)).sum(1) - 1


class UniformNegatives:
    """Draws items that a user does not have, each with the same probability, in one pass and without rejection.

    With a user's items ``s_0 < s_1 < ...`` the free item of rank ``r`` is ``1 + r + #{j : s_j - 1 - j <= r}``, because
    ``s_j - 1 - j`` free items lie below ``s_j``. So a user who lacks a single item costs what any other costs.

    Parameters
    ----------
    used : UserItems
        What must not be drawn.
    device : torch.device
        Where users come from and items go to.
    seed : int
        Seed of this object's own generator; nothing else is drawn from it.
    """

    def __init__(self, used: UserItems, device, seed: int):
        self.n_items = used.n_items
        owner = torch.repeat_interleave(torch.arange(used.n_users), used.counts)
        rank = torch.arange(len(used.keys)) - used.ptr[owner]
        self.gaps = _SortedRows(used.keys - 1 - rank, device)
        self.users = torch.stack((used.n_items - 1 - used.counts, 1 - used.ptr[:-1]), dim=1).to(device)
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, users: torch.Tensor) -> torch.Tensor:
        """One item for each of the users.

        Parameters
        ----------
        users : LongTensor [k]

        Returns
        -------
        LongTensor [k]
        """
        part = torch.rand(len(users), dtype=torch.float64, device=users.device, generator=self.generator)
        free, shift = self.users.index_select(0, users).unbind(1)
        rank = (part * free).long()
        return rank + shift + self.gaps.count_up_to(users * self.n_items + rank)

    def __getstate__(self):
        return {**vars(self), "generator": self.generator.get_state()}

    def __setstate__(self, state):
        vars(self).update(state)
        self.generator = torch.Generator(self.users.device)
        self.generator.set_state(state["generator"])
