"""Defaults of options: RecBole's of the backbone, then this package's from properties/, then the data set's."""

from __future__ import annotations

import difflib
from logging import getLogger
from pathlib import Path

import recbole.config.configurator as configurator
from recbole.utils import ModelType

from recbole_rlmrec.data.properties import PROPERTIES, is_option
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.alignment import alignment_options
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX, SUFFIX, backbone_name, suffix_of

_original_load_defaults = configurator.Config._load_internal_config_dict

_original_convert = configurator.Config._convert_config_dict

_warned: set[str] = set()

# Columns that RecBole's defaults load, and the options that say what they are called.
_NAMES = {
    "user_id": "USER_ID_FIELD",
    "item_id": "ITEM_ID_FIELD",
    "rating": "RATING_FIELD",
    "timestamp": "TIME_FIELD",
    "label": "LABEL_FIELD",
}

# Options whose values are names and paths: text, whatever it looks like.
_TEXTS = ("data_path", "semantic_path", "semantic_tag", "semantic_encoder", "initial_embeddings", "checkpoint_dir")


def convert_options(self, config_dict: dict) -> dict:
    """``Config._convert_config_dict``, which evaluates text as Python: a folder may be called 2024 or key."""
    kept = {key: value for key in _TEXTS if isinstance(value := config_dict.get(key), str) and value.lower() != "none"}
    return {**_original_convert(self, config_dict), **kept}


def load_defaults(self, model: str, model_class: type, dataset: str) -> None:
    """``Config._load_internal_config_dict``: the backbone's defaults, then ours, then the data set's."""
    _original_load_defaults(self, backbone_name(model), model_class, dataset)
    theirs = Path(configurator.__file__).parents[1] / "properties" / "dataset"
    ours = [file for file in model_files(model) if file.is_file()]
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
    if "alignment" in self.internal_config_dict:
        kind = self.external_config_dict.get("alignment", self.internal_config_dict["alignment"])
        for key, option in alignment_options(kind).items():
            self.internal_config_dict.setdefault(key, option.default)
    if suffix_of(model) and model_class.type == ModelType.SEQUENTIAL:
        _suit_sequences(self, backbone_name(model))
    _rename_loaded(self)
    _warn_of_unknown_options(self)


def _suit_sequences(config, backbone: str) -> None:
    """What RecBole leaves to whoever runs a sequential recommender: times are loaded, CE comes without negatives.

    Of those on a knowledge graph it knows no protocol, so they have that of the others.
    """
    internal = config.internal_config_dict
    columns = internal.get("load_col")
    if isinstance(columns, dict) and isinstance(columns.get("inter"), list) and "timestamp" not in columns["inter"]:
        internal["load_col"] = {**columns, "inter": [*columns["inter"], "timestamp"]}
    _check_knowledge(config, backbone)
    if config.external_config_dict.get("loss_type", internal.get("loss_type")) == "CE":
        internal["train_neg_sample_args"] = None
    if internal.get("eval_args", {}).get("order") != "TO":
        internal["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}


def _check_knowledge(config, backbone: str) -> None:
    """Say what the recommenders on a knowledge graph need, which RecBole's readers take for granted."""
    weights = {"GRU4RecKG": ("ent_id",), "KSR": ("ent_id", "rel_id")}.get(backbone, ())
    options = {**config.internal_config_dict, **config.external_config_dict}
    loaded, preloaded = options.get("load_col") or {}, options.get("preload_weight") or {}
    if missing := [name for name in ("kg", "link") if weights and name not in loaded]:
        raise ConfigError(
            f"{backbone} reads a knowledge graph, but load_col has no {missing[0]}: give it inter, kg, link and the files with "
            "the embeddings of the graph, and name these in additional_feat_suffix and preload_weight."
        )
    if missing := [name for name in weights if name not in preloaded]:
        raise ConfigError(
            f"{backbone} begins with embeddings of the graph, but preload_weight has no {missing[0]}: set it to "
            f"{{{', '.join(f'{name}: COLUMN' for name in weights)}}} and load their files by additional_feat_suffix."
        )


def _rename_loaded(config) -> None:
    """Let the columns that are loaded by default go by the names that the run gives to users, items, ratings, times, labels."""
    loaded = config.internal_config_dict.get("load_col")
    if not isinstance(loaded, dict) or "load_col" in config.external_config_dict:
        return
    options = {**config.internal_config_dict, **config.external_config_dict}
    names = {default: options.get(key) or default for default, key in _NAMES.items()}
    config.internal_config_dict["load_col"] = {
        source: [names.get(column, column) for column in columns] if isinstance(columns, list) else columns
        for source, columns in loaded.items()
    }


def model_files(model: str) -> list[Path]:
    """Files of this package's defaults for a model, later ones winning; some do not exist."""
    suffix = suffix_of(model)
    backbone = backbone_name(model)
    names = [backbone, suffix[1:], model] if suffix else [model]
    if suffix == SEMANTIC_SUFFIX:
        names[1:1] = [SUFFIX[1:], backbone + SUFFIX]
    return [PROPERTIES / "model" / f"{name}.yaml" for name in names]


def plugin_defaults(loader) -> dict:
    """Options of this package that hold for every model, RecBole's own included."""
    import yaml

    return yaml.load((PROPERTIES / "plugin.yaml").read_text(encoding="utf-8"), Loader=loader)


def unknown_options(config) -> list[str]:
    """Names of the options of a run that neither RecBole nor this package knows."""
    unknown = set(config.external_config_dict) - _with_default(config) - set(alignment_options())
    return sorted(key for key in unknown if not is_option(key))


def _with_default(config) -> set[str]:
    return set(config.internal_config_dict) | {key for keys in config.parameters.values() for key in keys}


def _warn_of_unknown_options(config) -> None:
    known = _with_default(config) | set(alignment_options())
    unknown = [key for key in unknown_options(config) if key not in _warned]
    _warned.update(unknown)
    for key in unknown:
        near = difflib.get_close_matches(key, known, n=2, cutoff=0.7)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        getLogger().warning(f"Neither RecBole nor recbole-rlmrec knows the option {key!r}; it has no effect.{hint}")
