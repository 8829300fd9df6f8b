"""What is looked at before a run begins, so that a mistake is a sentence and not a traceback out of RecBole."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from urllib.error import URLError

from recbole.config import Config
from recbole.utils import EvaluatorType

from recbole_rlmrec.data.atomic import FeatureType, read_header
from recbole_rlmrec.data.files import read_yaml
from recbole_rlmrec.data.lines import check_lines, not_decoded
from recbole_rlmrec.errors import ConfigError, DataError, RLMRecError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.lookup import suffix_of
from recbole_rlmrec.model.options import number
from recbole_rlmrec.plugin.meeting import lost
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.option_types import check_types


def read_config(model: str, dataset: str, files: Sequence[str] = ()) -> Config:
    """RecBole's ``Config`` of a run, with the command line that it reads by itself.

    Raises
    ------
    ConfigError
        RecBole refuses an option, one that must be a number is text, or the split has not three parts.
    ModelError
        There is no such model.
    """
    settings: dict = {}
    for file in files:
        settings |= read_yaml(Path(file))
    check_types(settings)
    try:
        config = Config(model, dataset, config_file_list=list(files) or None)
    except RLMRecError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as reason:
        raise ConfigError(f"RecBole refuses the options: {str(reason).rstrip('.!') or type(reason).__name__}.") from reason
    check_types(config.external_config_dict, config.internal_config_dict)
    number(config, "learning_rate", 1e-12, "a number above 0, for example 0.001")
    _check_split(config)
    return config


def _check_split(config) -> None:
    if config["benchmark_filename"]:
        return
    shares = (config["eval_args"].get("split") or {}).get("RS")
    if shares is not None and len(shares) != 3:
        raise ConfigError(
            f"eval_args splits by {shares}, which are not the shares of training, validation and test; give three, for "
            "example 'split': {'RS': [0.8, 0.1, 0.1]}."
        )
    loaded, time = (config["load_col"] or {}).get("inter"), config["TIME_FIELD"]
    if config["eval_args"].get("order") == "TO" and loaded and time not in loaded:
        raise ConfigError(
            f"eval_args orders by time, but load_col leaves {time!r} out; load it, for example "
            f"load_col: {{inter: [{', '.join([*loaded, time])}]}}."
        )


@contextmanager
def reading(dataset: str) -> Iterator[None]:
    """Say in a sentence that files of the dataset are in another encoding, out of reach, or leave nothing."""
    try:
        yield
    except UnicodeDecodeError as reason:
        raise DataError(not_decoded(f"A file of {dataset}", reason.encoding)) from None
    except URLError as reason:
        raise DataError(
            f"{dataset} is not here and cannot be downloaded ({reason.reason}); put its atomic files into a folder {dataset}/ "
            "and set --data_path to the folder above it."
        ) from None
    except ValueError as reason:
        if not str(reason).startswith("Some feat is empty"):
            raise
        raise DataError(
            f"No interaction of {dataset} is left: its file is empty, or the filters take all of it; "
            "look at the file, val_interval, user_inter_num_interval and item_inter_num_interval."
        ) from None


@contextmanager
def setting_up() -> Iterator[None]:
    """Say in a sentence what RecBole fails over before a run's first epoch: options and data that do not fit together."""
    before = last_record()
    try:
        yield
    except RLMRecError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as reason:
        if parallel.many() and lost(reason):
            raise
        record = last_record()
        if str(reason) == "Training loss is nan":
            raise ConfigError("The training loss is no number any more; try a smaller learning_rate.") from reason
        if record is not before and record is not None and record.training:
            raise
        getLogger().debug("", exc_info=True)
        raise ConfigError(f"RecBole cannot work with these options and data: {_told(reason)}.") from reason


def _told(reason: BaseException) -> str:
    """What an exception says, and the line of RecBole or this package that it comes from."""
    said = " ".join(str(reason).split()).rstrip(".!")
    known = [frame for frame in traceback.extract_tb(reason.__traceback__) if "recbole" in frame.filename]
    where = f" (at line {known[-1].lineno} of {'/'.join(Path(known[-1].filename).parts[-2:])})" if known else ""
    return f"{type(reason).__name__}{said and ': '}{said[:300]}{where}"


def check_data(config) -> None:
    """Refuse missing and malformed files and filters that RecBole would ignore; what RecBole can download may be missing.

    Raises
    ------
    DataError
        The folder or the interaction file is missing, or its header is malformed or lacks users or items.
    ConfigError
        Filters are set beside ``benchmark_filename``, where RecBole ignores them.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    if not folder.exists() and name in _downloadable(config):
        return
    _check_modes(config)
    parts = config["benchmark_filename"]
    wanted = [f"{name}.{part}.inter" for part in parts] if parts else [f"{name}.inter"]
    missing = [file for file in wanted if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"The data set {name} is not at {folder}: {', '.join(missing)} missing. Put RecBole atomic files there or set "
            "--data_path to the folder above it."
        )
    form = config["field_separator"] or "\t", config["encoding"] or "utf-8"
    for file in wanted:
        known = read_header(folder / file, *form)
        if absent := [config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD") if config[key] not in known]:
            raise DataError(
                f"{folder / file} has no column {absent[0]!r} but {', '.join(known)}; "
                "set USER_ID_FIELD and ITEM_ID_FIELD to what its header calls them."
            )
        for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
            if known[config[key]] is not FeatureType.TOKEN:
                raise DataError(
                    f"{folder / file} calls {config[key]} a {known[config[key]].value}, but ids are tokens; write "
                    f"{config[key]}:token in its first line."
                )
        if not check_lines(folder / file, *form).rows and file == wanted[0]:
            raise DataError(
                f"No interaction of {name} is left: {folder / file} holds none; put a line for each below its first."
            )
    for path in _other_files(config, folder / name):
        read_header(path, *form)
        check_lines(path, *form)
    filters = ("val_interval", "user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter")
    ignored = [key for key in filters if config.external_config_dict.get(key)]
    if parts and ignored:
        raise ConfigError(
            f"{', '.join(ignored)} cannot be combined with benchmark_filename: RecBole applies no filter to a split that is "
            "given. Filter the files first (`recbole-rlmrec split` does) or drop the option."
        )


def _other_files(config, stem: Path) -> list[Path]:
    """Files beside ``.inter`` that the run reads: those that it loads, and what profiles are made from where it needs any."""
    loaded = config["load_col"]
    sides = [side for side in ("item", "user") if loaded is None or side in loaded or suffix_of(config["model"])]
    files = [stem.with_name(f"{stem.name}.{suffix}") for suffix in (*sides, *(config["additional_feat_suffix"] or ()))]
    return [file for file in files if file.is_file()]


def _check_modes(config) -> None:
    """Refuse labels that are not loaded, or ranked, which RecBole finds out when it looks for them."""
    if "labeled" in config["eval_args"]["mode"].values():
        if config["eval_type"] == EvaluatorType.RANKING:
            raise ConfigError(
                "eval_args has mode labeled, which needs metrics of values (AUC, LogLoss, MAE, RMSE); set metrics and "
                "valid_metric to such, or the mode to full."
            )
        loaded = (config["load_col"] or {}).get("inter")
        if not config["threshold"] and loaded not in (None, "*") and config["LABEL_FIELD"] not in loaded:
            raise ConfigError(
                f"eval_args has mode labeled, but no labels are loaded: add {config['LABEL_FIELD']!r} to load_col, or set "
                "threshold, for example threshold: {rating: 4}."
            )


def _downloadable(config) -> dict:
    """Data sets that RecBole itself can download, by name."""
    import yaml
    from recbole import config as recbole_config

    urls = Path(recbole_config.__file__).parents[1] / "properties" / "dataset" / "url.yaml"
    return yaml.load(urls.read_text(encoding="utf-8"), Loader=config.yaml_loader)


def check_target(target: str | None, option: str) -> Path | None:
    """Path of a file that will be written when the run has ended; its folder is made and tried now.

    Raises
    ------
    ConfigError
        It is no path of a file, or its folder cannot be written to.
    """
    if target is None:
        return None
    path = Path(target)
    if not target or path.is_dir():
        raise ConfigError(f"--{option} needs the path of a file to write, for example --{option}={option[:-5]}.json.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as reason:
        raise ConfigError(f"--{option}={target} cannot be written ({reason.strerror}); choose another folder.") from None
    return path
