"""Every seam at which RecBole is extended, one function each; nothing else patches it but repairs.

RecBole binds its look-up functions by name in several modules (``from recbole.utils import get_model``), so a seam
replaces a function wherever a loaded module holds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, partialmethod

import recbole.config.configurator as configurator
import recbole.data.dataset as recbole_datasets
import recbole.data.utils as data_utils
import recbole.quick_start.quick_start as quick_start
import recbole.utils.utils as recbole_utils
from recbole.config import Config
from recbole.data.dataset import Dataset, SequentialDataset, customized_dataset
from recbole.model.loss import EmbLoss
from recbole.utils.argument_list import dataset_arguments

from recbole_rlmrec.errors import DataError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.lookup import SUFFIXES, backbone_name, find_model, original_get_model
from recbole_rlmrec.plugin import loading, saving, shards
from recbole_rlmrec.plugin.batch_size import settle
from recbole_rlmrec.plugin.defaults import convert_options, load_defaults
from recbole_rlmrec.plugin.evaluation import FastFullSortEvalDataLoader, create_samplers, wants_fast_evaluation
from recbole_rlmrec.plugin.launch import Plan, gpus_of, together
from recbole_rlmrec.plugin.loader import FastTrainDataLoader, wants_fast_loader
from recbole_rlmrec.semantic.preloaded import check_preloaded

_original_get_trainer = recbole_utils.get_trainer
_original_get_dataloader = data_utils.get_dataloader
_original_build = Dataset.build
_original_augment = SequentialDataset.data_augmentation
_original_run = quick_start.run
_original_init_logger = quick_start.init_logger
_original_get_local_time = recbole_utils.get_local_time
_original_get_tensorboard = recbole_utils.get_tensorboard


def apply() -> None:
    """Put every seam in place; calling it again changes nothing."""
    if Dataset.build is not _original_build:
        return
    _replace(original_get_model, find_model)
    _replace(_original_get_trainer, find_trainer)
    _replace(_original_get_dataloader, find_dataloader)
    _replace(data_utils.create_samplers, create_samplers)
    _replace(_original_run, run)
    _replace(_original_init_logger, init_logger)
    _replace(recbole_utils.ensure_dir, saving.ensure_dir)
    EmbLoss.forward = shards.emb_loss
    _replace(_original_get_local_time, saving.get_local_time)
    _replace(_original_get_tensorboard, saving.get_tensorboard)
    configurator.Config._load_internal_config_dict = load_defaults
    configurator.Config._convert_config_dict = convert_options
    Dataset.build = _build
    Dataset._remap = partialmethod(partial(loading.remap, Dataset._remap))
    Dataset._filter_by_inter_num = loading.filter_by_inter_num
    Dataset.split_by_ratio = loading.split_by_ratio
    Dataset.leave_one_out = loading.leave_one_out
    Dataset.time_based_split = loading.time_based_split
    SequentialDataset.data_augmentation = _augment
    _name_datasets()
    dataset_arguments.extend(["fast_loader", "test_mask"])  # compared before a cached split is used again


def _replace(original: Callable, replacement: Callable) -> None:
    """Rebind a function of RecBole in every loaded module that holds it."""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)


# --- models --------------------------------------------------------------------------------------------------------


# --- defaults ------------------------------------------------------------------------------------------------------


# --- data ----------------------------------------------------------------------------------------------------------


def _build(self):
    """``Dataset.build``: the training split learns of the held-out ones, and what is preloaded is checked for leaks.

    Its size settles ``train_batch_size: auto``.
    """
    datasets = _original_build(self)
    settle(self.config, datasets[0])
    if len(datasets) == 3:
        datasets[0].rlmrec_heldout = tuple(datasets[1:])
        datasets[0].rlmrec_preloaded = check_preloaded(self.config, datasets[0])
    return datasets


def _augment(self):
    """``SequentialDataset.data_augmentation``, which needs times, and says so."""
    if self.time_field not in self.inter_feat:
        raise DataError(
            f"{self.config['model']} reads each user's interactions in the order of their times, but no {self.time_field!r} is "
            f"loaded from {self.dataset_name}.inter: name the column of the times in TIME_FIELD and add it to load_col."
        )
    return _original_augment(self)


def _name_datasets() -> None:
    """RecBole looks a model's data set up as MODELDataset: those of its own models serve ours, built on them, too."""
    for name, cls in vars(customized_dataset).items():
        if getattr(cls, "__module__", None) == customized_dataset.__name__:
            for suffix in SUFFIXES:
                setattr(recbole_datasets, f"{name.removesuffix('Dataset')}{suffix}Dataset", cls)


class _NamedAs:
    """A config that goes by the name of the backbone, for RecBole's look-ups by model name."""

    def __init__(self, config):
        self._config = config

    def __getitem__(self, key):
        return backbone_name(self._config["model"]) if key == "model" else self._config[key]


def find_dataloader(config, phase: str) -> type:
    """RecBole's ``get_dataloader`` by the backbone's name; the fast ones where the options allow them."""
    loader = _original_get_dataloader(_NamedAs(config), phase)
    if phase == "train":
        return FastTrainDataLoader if wants_fast_loader(config, loader) else loader
    return FastFullSortEvalDataLoader if wants_fast_evaluation(config, loader) else loader


# --- trainers and processes ----------------------------------------------------------------------------------------


def find_trainer(model_type, model_name: str) -> type:
    """RecBole's ``get_trainer`` by the backbone's name, extended by what this package records and logs."""
    from recbole.trainer import Trainer

    from recbole_rlmrec.plugin import record, trainer

    own = vars(trainer).get(f"{model_name}Trainer")
    own = own if own is not None and issubclass(own, trainer.RLMRecTrainer) else None
    theirs = _original_get_trainer(model_type, backbone_name(model_name))
    # Trees (XGBoost, LightGBM) have a trainer that is not of this kind, and models that are no modules.
    if own is None and not issubclass(theirs, Trainer):
        record.forget()
        return theirs
    return own or trainer.recording(theirs)


def run(
    model,
    dataset,
    config_file_list=None,
    config_dict=None,
    saved=True,
    nproc=1,
    world_size=-1,
    ip="localhost",
    port="5678",
    group_offset=0,
):
    """RecBole's ``run``: the processes are this package's, which train as one would."""
    arguments = {"model": model, "dataset": dataset, "config_file_list": config_file_list, "config_dict": config_dict}
    plan = Plan.of_options({"nproc": nproc, "world_size": world_size, "ip": ip, "port": port, "group_offset": group_offset})
    if plan is None:
        return quick_start.run_recbole(**arguments, saved=saved)
    return together(plan, run_described, {**arguments, "saved": saved}, gpus=gpus_of(Config(**arguments)))


def init_logger(config) -> None:
    """RecBole's ``init_logger``; of several processes the first one has the log."""
    if parallel.first():
        _original_init_logger(config)
    else:
        saving.quiet_logger()


def run_described(**arguments) -> dict:
    """RecBole's ``run_recbole`` with the description of the run in its result."""
    from recbole_rlmrec.plugin.record import describe_run

    return {**quick_start.run_recbole(**arguments), **describe_run()}
