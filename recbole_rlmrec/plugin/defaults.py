"""Defaults of options: RecBole's of the backbone, then this package's from properties/, then the data set's."""

from __future__ import annotations

import difflib
from logging import getLogger
from pathlib import Path

import recbole.config.configurator as configurator

from recbole_rlmrec.data.properties import PROPERTIES, is_option
from recbole_rlmrec.model.lookup import backbone_name, suffix_of

_original_load_defaults = configurator.Config._load_internal_config_dict

_warned: set[str] = set()


def load_defaults(self, model: str, model_class: type, dataset: str) -> None:
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
    unknown = set(config.external_config_dict) - _with_default(config)
    return sorted(key for key in unknown if not is_option(key))


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
