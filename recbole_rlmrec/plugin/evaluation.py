"""Full-sort evaluation in blocks of users, and what the test phase masks.

Metrics stay RecBole's own: from the same scores they are equal to the last digit.
"""

from __future__ import annotations

import copy
from functools import cached_property
from logging import getLogger

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers as recbole_create_samplers
from recbole.sampler import Sampler
from recbole.utils import ModelType, get_model

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.model.lookup import backbone_name
from recbole_rlmrec.plugin.loader import take
from recbole_rlmrec.plugin.sampler import LazySampler, UserItems

SCORES_PER_BLOCK = 2**22
PHASES = ("train", "valid", "test")
TEST_MASKS = ("train_valid", "train")

_BLOCKWISE = (ModelType.GENERAL, ModelType.TRADITIONAL)
_EXPANDING = ("AbstractRecommender.full_sort_predict", "ENMF.full_sort_predict")


class FastFullSortEvalDataLoader(FullSortEvalDataLoader):
    """RecBole's full-sort loader with more than one or two users in a batch and no Python loop over users.

    A batch holds as many users as give `SCORES_PER_BLOCK` scores (16 MB), or more where ``eval_batch_size`` asks for
    more. Models that expand every user with every item keep RecBole's ``eval_batch_size``.

    Parameters
    ----------
    config : recbole.config.Config
    dataset : recbole.data.dataset.Dataset
        The validation or test split; sorted by user in place, as RecBole does.
    sampler : recbole.sampler.Sampler
        With the phase set; its used items are masked, save the split's own.
    shuffle : bool
        Not supported, as in RecBole.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        if shuffle:
            self.logger.warning("FastFullSortEvalDataLoader can't shuffle")
        dataset.sort(by=self.uid_field, ascending=True)
        self._positives = UserItems.of_datasets([dataset])
        self._history = UserItems.of_sampler(sampler, dataset.item_num).without(self._positives)
        self.uid_list = torch.unique_consecutive(dataset.inter_feat[self.uid_field])
        self.uid2items_num = self._positives.counts.numpy()
        self.user_df = dataset.join(Interaction({self.uid_field: self.uid_list}))
        self.sample_size = len(self.user_df)
        super(FullSortEvalDataLoader, self).__init__(config, dataset, sampler, shuffle=False)

    def _init_batch_size_and_step(self):
        n_items = self._dataset.item_num
        scores = self.config["eval_batch_size"]
        if not expands_pairs(self.config):
            scores = max(scores, SCORES_PER_BLOCK)
        self.step = max(scores // n_items, 1)
        self.set_batch_size(self.step * n_items)

    def collate_fn(self, index):
        """Users of a batch with their masked and their positive items.

        Parameters
        ----------
        index : sequence of int [k]
            Positions in ``uid_list``.

        Returns
        -------
        user_df : Interaction of length k
        history_index : tuple of LongTensor [h], LongTensor [h]
            Position in the batch and item of all that is masked.
        positive_u, positive_i : LongTensor [p], LongTensor [p]
        """
        index = torch.as_tensor(index)
        users = self.uid_list[index]
        return take(self.user_df, index), self._history.rows(users), *self._positives.rows(users)

    @cached_property
    def uid2history_item(self) -> np.ndarray:
        """Masked items of every user, object array [n_users] of LongTensor; of users outside this split too."""
        return _object_array(self._history.items.split(self._history.counts.tolist()))

    @cached_property
    def uid2positive_item(self) -> np.ndarray:
        """Positive items of the users of this split, object array [n_users] of LongTensor or None."""
        items = self._positives.items.split(self._positives.counts.tolist())
        return _object_array([part if len(part) else None for part in items])


def _object_array(values):
    return np.fromiter(values, object, len(values))


def expands_pairs(config):
    """Whether the model may hold a vector for every user-item pair of a batch to score it."""
    if config["MODEL_TYPE"] not in _BLOCKWISE:
        return True
    try:
        model = get_model(backbone_name(config["model"]))  # what is put before it may hide its way of scoring
    except ValueError:
        return True
    return model.full_sort_predict.__qualname__ in _EXPANDING


def wants_fast_evaluation(config, loader_class: type) -> bool:
    """Whether `FastFullSortEvalDataLoader` gives what the run asks for.

    Parameters
    ----------
    config : recbole.config.Config
    loader_class : type
        The class that RecBole would use for the phase.
    """
    return (
        bool(config["fast_loader"])
        and loader_class is FullSortEvalDataLoader
        and config["MODEL_TYPE"] != ModelType.SEQUENTIAL
        and not config["repeatable"]
    )


def create_samplers(config, dataset, built_datasets) -> tuple:
    """Samplers of the three phases: RecBole's, or lazy ones where ``fast_loader`` is on, with the run's ``test_mask``.

    Parameters
    ----------
    config : recbole.config.Config
    dataset : recbole.data.dataset.Dataset
    built_datasets : list of Dataset
        The training, validation and test split.

    Returns
    -------
    tuple of Sampler or None
        For training, validation and test.

    Raises
    ------
    ConfigError
        ``test_mask`` is unknown.
    DataError
        A user has every item, so that nothing is left to draw.
    """
    if not config["repeatable"]:
        _refuse_users_of_everything(config, built_datasets)
    if config["fast_loader"] and not config["repeatable"]:
        samplers = _lazy_samplers(config, built_datasets)
    else:
        samplers = recbole_create_samplers(config, dataset, built_datasets)
    return apply_test_mask(config, samplers)


def _refuse_users_of_everything(config, built_datasets) -> None:
    samples = [config[f"{phase}_neg_sample_args"]["distribution"] for phase in PHASES]
    counts = UserItems.of_datasets(built_datasets).counts
    n_items = built_datasets[0].item_num - 1
    if set(samples) == {"none"} or not (counts >= n_items).any():
        return
    user = built_datasets[0].field2id_token[built_datasets[0].uid_field][int((counts >= n_items).nonzero()[0])]
    raise DataError(
        f"User {str(user)!r} has interacted with all items of {config['dataset']} ({n_items}), so there is no negative item "
        f'for that user; leave such users out, for example user_inter_num_interval: "[1,{n_items - 1}]".'
    )


def _lazy_samplers(config, built_datasets):
    """As RecBole makes them: all phases share the first sampler, and with it the training's ``alpha``."""
    sampler, samplers = None, []
    for phase in PHASES:
        sampling = config[f"{phase}_neg_sample_args"]
        if sampling["distribution"] == "none":
            samplers.append(None)
            continue
        if sampler is None:
            alpha = sampling["alpha"] if phase == "train" else 1.0
            sampler = LazySampler(list(PHASES), built_datasets, sampling["distribution"], alpha)
        elif sampling["distribution"] != sampler.distribution:
            sampler.set_distribution(sampling["distribution"])
        samplers.append(sampler.set_phase(phase))
    return tuple(samplers)


def apply_test_mask(config, samplers: tuple) -> tuple:
    """Let the test phase mask what ``test_mask`` says.

    Parameters
    ----------
    config : recbole.config.Config
        ``test_mask``: ``train_valid`` (RecBole's way and the default) masks the items that the user has in training
        or validation, ``train`` those in training alone (the paper's way).
    samplers : tuple of Sampler or None
        For training, validation and test.

    Returns
    -------
    tuple of Sampler or None

    Raises
    ------
    ConfigError
        ``test_mask`` is something else.
    """
    mask = config["test_mask"] or "train_valid"
    if mask not in TEST_MASKS:
        raise ConfigError(f"`test_mask` is {mask!r}: set it to one of {', '.join(TEST_MASKS)}")
    train, valid, test = samplers
    if mask == "train_valid" or not isinstance(test, Sampler):
        return samplers
    parts = dict(zip(test.phases, test.datasets, strict=True))
    used = UserItems.of_datasets([parts["train"], parts["test"]])
    if isinstance(test, LazySampler):
        return train, valid, test.with_used(used)
    test = copy.copy(test)
    test.used_ids = used.sets()
    return train, valid, test
