"""Options of an experiment's runs: what the command line says over what experiments take for granted."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from recbole_rlmrec.data.files import read_yaml
from recbole_rlmrec.data.properties import check_names
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.model.alignment import alignment_options
from recbole_rlmrec.model.lookup import SUFFIX, find_model
from recbole_rlmrec.runs.command_line import config_files, split_options

# The paper's sizes; validation every 3 epochs and a patience of 50 of them for every variant alike, because graph
# recommenders can stay on a popularity plateau for their first 50 epochs, and on sparse data with gen for longer than 60
# after an early peak; scores are compared with six decimals.
DEFAULTS = {
    "embedding_size": 32,
    "train_batch_size": 4096,
    "learning_rate": 0.001,
    "epochs": 3000,
    "eval_step": 3,
    "stopping_step": 50,
    "metrics": ["Recall", "NDCG"],
    "topk": [5, 10, 20],
    "valid_metric": "Recall@20",
    "metric_decimal_place": 6,
    "show_progress": False,
}
TEXTS = ("initial_embeddings", "semantic_tag", "semantic_encoder", "data_path", "semantic_path")
PROFILES = ("semantic_tag", "semantic_encoder", "semantic_dim", "semantic_device", "leakage")
FIRST_SEED = 2020
LOCATIONS = ("data_path", "semantic_path", "initial_embeddings", "checkpoint_dir", "gpu_id", "use_gpu")
QUIET = ("show_progress", "state")
_INSTEAD = {"model": "--models", "dataset": "--dataset", "seed": "--seeds", "alignment": "--variants"}
SHARED = {"mask_ratio"}
"""Options of alignments that recommenders have too: BERT4Rec and S3Rec mask that share of a sequence."""
SEMANTIC = "semantic"
"""``initial_embeddings`` that are no folder but the run's profiles."""


def read_options(arguments: Sequence[str]) -> dict:
    """Options of RecBole, ``--key=value`` and ``--config_files=``, as Python objects.

    Raises
    ------
    ConfigError
        An argument or a configuration file is malformed.
    DataError
        A configuration file does not exist.
    """
    ours, rest = split_options(arguments, ("config_files",))
    options = {}
    for file in config_files(ours.get("config_files", "")):
        options |= (found := read_yaml(Path(file)))
        check_names(found, file)
    return options | dict(_parse(argument) for argument in rest)


def check_cell_options(names: Iterable[str], where: str) -> None:
    """Refuse options of cells that an experiment sets itself, that are one for all cells, or that nobody knows.

    Raises
    ------
    ConfigError
    """
    names = list(map(str, names))
    for key in names:
        if key in ("model", "dataset", "seed"):
            raise ConfigError(f"{where} has {key}, which an experiment sets for each of its runs; say {_INSTEAD[key]} instead.")
        if key in ("semantic_tag", "semantic_encoder"):
            raise ConfigError(f"{where} names {key}, which is one for all cells: say --{key}=NAME.")
    check_names(names, where)


def parse_options(arguments: Sequence[str]) -> dict:
    """Options of RecBole over the defaults of experiments; ``gpu_id`` is empty where there is no GPU.

    Raises
    ------
    ConfigError
        As `read_options`; or an experiment sets the option itself.
    """
    given = read_options(arguments)
    for key, instead in _INSTEAD.items():
        if key in given:
            raise ConfigError(f"An experiment sets {key} for each of its runs; say {instead} instead.")
    options = {**DEFAULTS, **({} if torch.cuda.is_available() else {"gpu_id": ""}), **given}
    _check_validation(options)
    return options


def _parse(argument: str) -> tuple[str, object]:
    key, _, value = argument.removeprefix("--").partition("=")
    return key, value if key in TEXTS else parse_value(value)


def parse_value(text: str):
    """A Python literal, ``true``, ``false`` or ``none`` in any case for what is not text, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _check_validation(options: dict) -> None:
    """Make lists of topk and metrics and refuse a valid_metric that is not among them."""
    name, _, k = str(options["valid_metric"]).partition("@")
    for key in ("topk", "metrics"):
        options[key] = options[key] if isinstance(options[key], list) else [options[key]]
    topk, metrics = options["topk"], [str(metric).lower() for metric in options["metrics"]]
    if name.lower() not in metrics or (k and k not in map(str, topk)):
        raise ConfigError(
            f"valid_metric {options['valid_metric']} is not among metrics {options['metrics']} at topk {topk}; "
            "add it or choose one of them."
        )


def relevant(options: dict, text: bool = False) -> dict:
    """Options that make a difference to a run's figures: not where files lie, and no alignment's without one.

    Parameters
    ----------
    options : dict
    text : bool
        Whether the run uses profiles though it has no alignment, as input or to begin with.
    """
    kept = {key: value for key, value in options.items() if key not in (*LOCATIONS, *QUIET)}
    if options.get("alignment") == "none":
        unread = {*alignment_options(), *(() if text else PROFILES)} - SHARED
        kept = {key: value for key, value in kept.items() if key not in unread}
    if options.get("initial_embeddings") == SEMANTIC:
        kept["initial_embeddings"] = SEMANTIC
    return {**kept, "gpu": options.get("gpu_id") != ""}


def read_models(text: str) -> list[str]:
    """Names separated by commas, each once."""
    models = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not models:
        raise ConfigError("--models needs at least one backbone, for example --models LightGCN,SGL.")
    return models


def read_seeds(text: str) -> list[int]:
    """Seeds of ``5`` (2020 to 2024) or ``1,2,3``.

    Raises
    ------
    ConfigError
        It is neither.
    """
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or max(numbers) >= 1 << 32 or numbers == [0]:
        raise ConfigError(f"--seeds is a number of seeds, 1 or more, or a list such as 1,2,3, not {text!r}.")
    return list(range(FIRST_SEED, FIRST_SEED + numbers[0])) if len(numbers) == 1 else list(dict.fromkeys(numbers))


def read_params(path: Path | None) -> dict:
    """Options by model and variant, from YAML or JSON.

    Raises
    ------
    ConfigError
        The file is not of this form, or an option is misspelt.
    """
    if path is None:
        return {}
    found = read_yaml(path)
    values = list(found.values())
    if not all(isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()) for value in values):
        raise ConfigError(f"{path} does not hold options by model and variant, as LightGCN: {{con: {{mask_ratio: 0.1}}}}.")
    for model, variants in found.items():
        find_model(f"{model}{SUFFIX}")
        if unknown := set(variants) - set(VARIANTS):
            known = ", ".join(VARIANTS)
            raise ConfigError(f"{path} has options of {model} for {', '.join(sorted(unknown))}; variants are {known}.")
        for variant, options in variants.items():
            check_cell_options(options, f"{path}, {model} {variant},")
    return found
