"""Training batches with uniform negatives, drawn on the training device without a Python loop over interactions.

`FastTrainDataLoader` stands in for RecBole's ``TrainDataLoader``: same fields, same order of the positives, same
distribution of the negatives. `LazySampler` stands in for RecBole's ``Sampler`` and knows who has which items without
a Python set per user.
"""

from __future__ import annotations

import copy
import itertools
from functools import cached_property

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.sampler import Sampler
from recbole.utils import InputType
from torch.utils.data import RandomSampler, SequentialSampler

from recbole_rlmrec.errors import ConfigError


class UserItems:
    """Which items each user has, as sorted rows.

    Parameters
    ----------
    keys : LongTensor [n_pairs]
        ``user * n_items + item`` of every pair, ascending, each once.
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
        keys = torch.unique_consecutive(torch.sort(users * n_items + items).values)
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


class FastTrainDataLoader(TrainDataLoader):
    """RecBole's training loader for uniform negatives, vectorised.

    Batches hold the fields that RecBole's hold, in its layout: pair-wise ones repeat the positives for each negative,
    point-wise ones list the positives first. Positives come in the order in which RecBole's loader gives them; the
    negatives are other numbers of the same distribution. Batches are on ``config["device"]``.

    Parameters
    ----------
    config : recbole.config.Config
    dataset : recbole.data.dataset.Dataset
        The training split.
    sampler : recbole.sampler.Sampler
        With phase ``train``.
    shuffle : bool
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self._negatives = None

    def update_config(self, config):
        """Take another run's settings.

        Raises
        ------
        ConfigError
            The settings ask for something other than uniform negatives.
        """
        if not wants_fast_loader(config, TrainDataLoader):
            raise ConfigError(
                "the saved data loaders draw uniform negatives with `fast_loader`, and this run asks for another way: "
                "delete the saved data loaders, or unset `dataloaders_save_path`"
            )
        super().update_config(config)
        if not config["single_spec"]:
            self.step = max(1, self.step // config["world_size"])
        self.batch_sampler.batch_size = self.step
        self._negatives = None

    def __iter__(self):
        device = self.config["device"]
        interactions = self._dataset.inter_feat.to(device)
        features = _Features(self._dataset, device)
        negatives = self._uniform_negatives(device)
        make = self._pairwise if self.dl_format == InputType.PAIRWISE else self._pointwise
        for rows in self._order().to(device).split(self.batch_sampler.batch_size):
            yield make(take(interactions, rows.repeat(self.times)), len(rows), features, negatives)

    def _uniform_negatives(self, device):
        if self._negatives is None:
            seed = np.random.SeedSequence([self.config["seed"], self.config["local_rank"]]).generate_state(1)[0]
            used = UserItems.of_sampler(self._sampler, self._dataset.item_num)
            self._negatives = UniformNegatives(used, device, int(seed))
        return self._negatives

    def _order(self) -> torch.Tensor:
        """Rows of the dataset in the order of this epoch, LongTensor [rows of this process]."""
        if isinstance(self.sampler, SequentialSampler):
            return torch.arange(self.sample_size)
        if not isinstance(self.sampler, RandomSampler):
            return torch.tensor(list(self.sampler), dtype=torch.long)
        if self.generator is None:  # RecBole takes it away when it saves data loaders
            self.generator = self.sampler.generator = torch.Generator().manual_seed(self.config["seed"])
        return _permutation(self.sample_size, self.generator)

    def _pairwise(self, batch, n_positives, features, negatives):
        features.join(batch)
        negative = Interaction({self.iid_field: negatives.draw(batch[self.uid_field])})
        features.join(negative)
        negative.add_prefix(self.neg_prefix)
        batch.update(negative)
        return batch

    def _pointwise(self, batch, n_positives, features, negatives):
        batch[self.iid_field][n_positives:] = negatives.draw(batch[self.uid_field][n_positives:])
        features.join(batch)
        labels = torch.zeros(len(batch), device=batch[self.iid_field].device)
        labels[:n_positives] = 1.0
        batch[self.label_field] = labels
        return batch


class _Features:
    """User and item features of a dataset on a device; nothing where the dataset has none."""

    def __init__(self, dataset, device):
        pairs = ((dataset.uid_field, dataset.user_feat), (dataset.iid_field, dataset.item_feat))
        self.tables = [(field, table.to(device)) for field, table in pairs if table is not None]

    def join(self, batch):
        for field, table in self.tables:
            if field in batch:
                batch.update(take(table, batch[field]))


def take(interaction: Interaction, rows: torch.Tensor) -> Interaction:
    """Some rows of an Interaction, without RecBole's detour over Python lists.

    Parameters
    ----------
    interaction : recbole.data.interaction.Interaction
    rows : LongTensor [k] on the device of the interaction

    Returns
    -------
    Interaction of length k
    """
    return Interaction({name: column.index_select(0, rows) for name, column in interaction.interaction.items()})


def _permutation(size, generator):
    """The order in which torch's loader visits a shuffled dataset.

    The loader draws a seed for its workers first, and `RandomSampler` permutes once more when it is used up.
    """
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    order = torch.randperm(size, generator=generator)
    torch.randperm(size, generator=generator)
    return order


def wants_fast_loader(config, loader_class: type) -> bool:
    """Whether `FastTrainDataLoader` gives what the run asks for.

    Parameters
    ----------
    config : recbole.config.Config
    loader_class : type
        The class that RecBole would use for training.
    """
    sampling = config["train_neg_sample_args"]
    return (
        bool(config["fast_loader"])
        and loader_class is TrainDataLoader
        and config["MODEL_INPUT_TYPE"] in (InputType.PAIRWISE, InputType.POINTWISE)
        and sampling["distribution"] == "uniform"
        and isinstance(sampling["sample_num"], int)
        and not sampling.get("dynamic", False)
        and config["transform"] is None
        and not config["worker"]
        and not config["repeatable"]
    )
