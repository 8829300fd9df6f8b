"""Every seam at which RecBole is extended, one function each; nothing else patches it but compat.

RecBole binds its look-up functions by name in several modules (``from recbole.utils import get_model``), so a seam
replaces a function wherever a loaded module holds it.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
from collections.abc import Callable
from logging import getLogger
from pathlib import Path

import recbole.config.configurator as configurator
import recbole.data.utils as data_utils
import recbole.quick_start.quick_start as quick_start
import recbole.utils.utils as recbole_utils
from recbole.data.dataset import Dataset
from recbole.utils.argument_list import dataset_arguments

from recbole_rlmrec.evaluation import FastFullSortEvalDataLoader, create_samplers, wants_fast_evaluation
from recbole_rlmrec.loader import FastTrainDataLoader, wants_fast_loader
from recbole_rlmrec.model.lookup import backbone_name, find_model, original_get_model, suffix_of

_PLACES = Path(__file__).parent / "properties", Path(__file__).parents[1] / "properties"
PROPERTIES = next((path for path in _PLACES if path.is_dir()), _PLACES[0])

_original_get_trainer = recbole_utils.get_trainer
_original_get_dataloader = data_utils.get_dataloader
_original_build = Dataset.build
_original_load_defaults = configurator.Config._load_internal_config_dict
_original_run_recboles = quick_start.run_recboles

_warned: set[str] = set()


def apply() -> None:
    """Put every seam in place; calling it again changes nothing."""
    if Dataset.build is not _original_build:
        return
    _replace(original_get_model, find_model)
    _replace(_original_get_trainer, find_trainer)
    _replace(_original_get_dataloader, find_dataloader)
    _replace(data_utils.create_samplers, create_samplers)
    _replace(_original_run_recboles, run_recboles)
    configurator.Config._load_internal_config_dict = _load_defaults
    Dataset.build = _build
    dataset_arguments.extend(["fast_loader", "test_mask"])  # compared before a cached split is used again


def _replace(original: Callable, replacement: Callable) -> None:
    """Rebind a function of RecBole in every loaded module that holds it."""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)


# --- models --------------------------------------------------------------------------------------------------------


# --- defaults ------------------------------------------------------------------------------------------------------


def _load_defaults(self, model: str, model_class: type, dataset: str) -> None:
    """``Config._load_internal_config_dict``: the backbone's defaults, then ours, then the data set's."""
    _original_load_defaults(self, backbone_name(model), model_class, dataset)
    theirs = Path(configurator.__file__).parents[1] / "properties" / "dataset"
    ours = [file for file in _model_files(model) if file.is_file()]
    # RecBole lets the data set's defaults win over the model's, and those of a type of models over both: where ours came
    # in between, the data set's are due again; other models are left as RecBole made them.
    again = [file for file in (theirs / "sample.yaml", theirs / f"{dataset}.yaml") if file.is_file()] if ours else []
    for file in (*ours, *again):
        self._update_internal_config_dict(file)
    own = PROPERTIES / "dataset" / f"{dataset}.yaml"
    if own.is_file():
        self._update_internal_config_dict(own)
    for key, value in plugin_defaults(self.yaml_loader).items():
        self.internal_config_dict.setdefault(key, value)
    _warn_of_unknown_options(self)


def _model_files(model: str) -> list[Path]:
    suffix = suffix_of(model)
    names = [backbone_name(model), suffix[1:], model] if suffix else [model]
    return [PROPERTIES / "model" / f"{name}.yaml" for name in names]


def plugin_defaults(loader) -> dict:
    """Options of this package that hold for every model, RecBole's own included."""
    import yaml

    return yaml.load((PROPERTIES / "plugin.yaml").read_text(encoding="utf-8"), Loader=loader)


def unknown_options(config) -> list[str]:
    """Names of the options of a run that neither RecBole nor this package knows."""
    unknown = set(config.external_config_dict) - _with_default(config) - {"model", "dataset", "config_files"}
    return sorted(unknown - _options_in_source() - _options_of_models()) if unknown else []


def _with_default(config) -> set[str]:
    return set(config.internal_config_dict) | {key for keys in config.parameters.values() for key in keys}


def _warn_of_unknown_options(config) -> None:
    known = _with_default(config)
    unknown = [key for key in unknown_options(config) if key not in _warned]
    _warned.update(unknown)
    for key in unknown:
        near = difflib.get_close_matches(key, known, n=2, cutoff=0.7)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        getLogger().warning(f"Neither RecBole nor recbole-rlmrec knows the option {key!r}; it has no effect.{hint}")


@functools.cache
def _options_in_source() -> frozenset[str]:
    """Every option that the source of RecBole reads, whether or not it has a default."""
    root = Path(configurator.__file__).parents[1]
    pattern = re.compile(r"""(?:config|config_dict|final_config_dict)(?:\.get)?[\[(]\s*["'](\w+)["']""")
    text = "\n".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    return frozenset(pattern.findall(text)) | {"nproc", "world_size", "ip", "port", "group_offset", "offset"}


@functools.cache
def _options_of_models() -> frozenset[str]:
    """Every option that a model of this package has a default for."""
    import yaml

    texts = [path.read_text(encoding="utf-8") for path in (PROPERTIES / "model").glob("*.yaml")]
    return frozenset(key for text in texts for key in yaml.safe_load(text) or {})


# --- data ----------------------------------------------------------------------------------------------------------


def _build(self):
    """``Dataset.build``: the training split learns of the held-out ones, for the leak check."""
    datasets = _original_build(self)
    if len(datasets) == 3:
        datasets[0].rlmrec_heldout = tuple(datasets[1:])
    return datasets


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

    from recbole_rlmrec import trainer
    from recbole_rlmrec.plugin import record

    own = getattr(trainer, f"{model_name}Trainer", None)
    theirs = _original_get_trainer(model_type, backbone_name(model_name))
    # Trees (XGBoost, LightGBM) have a trainer that is not of this kind, and models that are no modules.
    if own is None and not issubclass(theirs, Trainer):
        record.forget()
        return theirs
    return own or trainer.recording(theirs)


def run_recboles(rank: int, *args):
    """Entry point of the processes that RecBole spawns for several GPUs.

    It is looked up by name in this module, so a spawned process imports this package before it needs our models.
    """
    from recbole_rlmrec.plugin.record import spawned

    return spawned(_original_run_recboles, rank, *args)
