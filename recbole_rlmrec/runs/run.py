"""Run RecBole with this package's models and keep what the run showed.

``python run_recbole_rlmrec.py --model=LightGCN_RLMRec --dataset=ml-100k --result_file=result.json`` takes every
option of RecBole as ``--key=value``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recbole.data import create_dataset
from recbole.quick_start import quick_start

from recbole_rlmrec.data.files import read_yaml, write_json
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.plugin import launch, per_user, resume
from recbole_rlmrec.plugin.record import describe_run, plain
from recbole_rlmrec.runs.checks import check_data, check_target, read_config, reading, setting_up
from recbole_rlmrec.runs.command_line import command_line, config_files, split_options

OURS = ("model", "dataset", "config_files", "result_file", "per_user_file", *launch.OPTIONS)
DEFAULT_MODEL, DEFAULT_DATASET = "LightGCN_RLMRec", "ml-100k"


def main(argv: Sequence[str] | None = None) -> dict | None:
    """Run one model as RecBole's ``run_recbole.py`` does and write the result file, if one is asked for.

    Parameters
    ----------
    argv : sequence of str, optional
        Options ``--key=value``; the process's own by default.

    Returns
    -------
    dict or None
        The result, as it goes into the result file; None where another process has it.

    Raises
    ------
    ConfigError, DataError
        An option is malformed; files are missing.
    ProcessError
        One of several processes failed.
    """
    arguments = sys.argv[1:] if argv is None else argv
    options, rest = split_options(["--resume=True" if argument == "--resume" else argument for argument in arguments], OURS)
    files = config_files(options.get("config_files", ""))
    named = {}
    for file in files:
        named |= read_yaml(Path(file))
    options = {key: named[key] for key in launch.OPTIONS if key in named} | options
    run = {
        "model": options.get("model", named.get("model", DEFAULT_MODEL)),
        "dataset": options.get("dataset", named.get("dataset", DEFAULT_DATASET)),
        "files": files,
        "rest": rest,
        "target": check_target(options.get("result_file"), "result_file"),
        "users_target": check_target(options.get("per_user_file"), "per_user_file"),
    }
    given = {key: options[key] for key in launch.OPTIONS if key in options}
    return launch.in_processes(train, run, given, lambda: _gpus(run))


def _gpus(run: dict) -> list[str]:
    """GPUs of a run whose options and files were looked at before there are processes for it."""
    with command_line(run["rest"]), setting_up(), reading(run["dataset"]):
        config = read_config(run["model"], run["dataset"], run["files"])
        check_data(config)
        launch.check_trainer(config)
    return launch.gpus_of(config)


def train(
    model: str, dataset: str, files: list[str], rest: list[str], target: Path | None, users_target: Path | None
) -> dict | None:
    """Train and evaluate in this process, alone or as one of several, and write what the run showed."""
    with (
        command_line(rest),
        setting_up(),
        reading(dataset),
        resume.holding() as last,
        per_user.recording(users_target is not None) as users,
    ):
        config = read_config(model, dataset, files)
        check_data(config)
        _fetch(config)
        try:
            result = quick_start.run_recbole(model, dataset, config_file_list=files or None)
        except resume.RunEnded as ended:
            return _written_again(ended, target, users_target)
        if not parallel.first():
            return None
        result = {**result, **describe_run()}
    if target is not None:
        write_json(target, plain(result))
    if users is not None:
        users.write(users_target)
    last.finish(plain(result))
    return result


def _fetch(config) -> None:
    """Let one process of each machine download a data set that is missing."""
    if sum(parallel.counts_of_all(int(not Path(config["data_path"]).exists()))) and parallel.many():
        if parallel.local_rank() == 0:
            create_dataset(config)
        parallel.wait()


def _written_again(ended: resume.RunEnded, target: Path | None, users_target: Path | None) -> dict:
    """What a run left that had ended before it was to be resumed."""
    if users_target is not None and not users_target.is_file():
        raise ConfigError(f"{ended} --per_user_file is written by a run itself.")
    print(ended)
    if target is not None:
        write_json(target, ended.result)
    return ended.result
