"""Training batches with uniform negatives, drawn on the training device without a Python loop over interactions.

`FastTrainDataLoader` stands in for RecBole's ``TrainDataLoader``: same fields, same order of the positives, same
distribution of the negatives.
"""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch.utils.data import RandomSampler, SequentialSampler

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin.batch_size import settle
from recbole_rlmrec.plugin.sampler import UniformNegatives, UserItems


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
        settle(config, self._dataset)
        super().update_config(config)
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

    def prepare(self) -> None:
        """Make what the first batch would make, so that a random state can be put into it."""
        self._uniform_negatives(self.config["device"])

    def _uniform_negatives(self, device):
        if self._negatives is None:
            seed = np.random.SeedSequence([self.config["seed"], 0]).generate_state(1)[0]
            used = UserItems.of_sampler(self._sampler, self._dataset.item_num)
            self._negatives = UniformNegatives(used, device, int(seed))
        return self._negatives

    def _order(self) -> torch.Tensor:
        """Rows of the dataset in the order of this epoch, LongTensor [rows]."""
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
