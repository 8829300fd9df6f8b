"""Run RecBole with this package's models and keep what the run showed.

``python run_recbole_rlmrec.py --model=LightGCN_RLMRec --dataset=ml-100k --result_file=result.json`` takes every
option of RecBole as ``--key=value``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from recbole.quick_start import quick_start

from recbole_rlmrec.data.files import read_yaml, write_json
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin import per_user, resume
from recbole_rlmrec.plugin.record import describe_run, plain
from recbole_rlmrec.runs.checks import check_data, check_target, read_config, reading, setting_up, whole_number
from recbole_rlmrec.runs.command_line import command_line, config_files, split_options

PROCESSES = ("nproc", "world_size", "ip", "port", "group_offset")
OURS = ("model", "dataset", "config_files", "result_file", "per_user_file", *PROCESSES)
DEFAULT_MODEL, DEFAULT_DATASET = "LightGCN_RLMRec", "ml-100k"


def main(argv: Sequence[str] | None = None) -> dict:
    """Run one model as RecBole's ``run_recbole.py`` does and write the result file, if one is asked for.

    Parameters
    ----------
    argv : sequence of str, optional
        Options ``--key=value``; the process's own by default.

    Returns
    -------
    dict
        The result, as it goes into the result file.

    Raises
    ------
    ConfigError, DataError
        An option is malformed; files are missing.
    """
    arguments = sys.argv[1:] if argv is None else argv
    options, rest = split_options(["--resume=True" if argument == "--resume" else argument for argument in arguments], OURS)
    files = config_files(options.get("config_files", ""))
    named = {}
    for file in files:
        named |= read_yaml(Path(file))
    model = options.get("model", named.get("model", DEFAULT_MODEL))
    dataset = options.get("dataset", named.get("dataset", DEFAULT_DATASET))
    target = check_target(options.get("result_file"), "result_file")
    users_target = check_target(options.get("per_user_file"), "per_user_file")
    processes = whole_number(options, "nproc", 1)
    if processes < 1:
        raise ConfigError(f"--nproc={processes} trains nothing; it is the number of processes, 1 or more.")
    if processes > 1 and not torch.cuda.is_available():
        raise ConfigError(f"--nproc={processes} needs GPUs, and torch finds none here; leave --nproc out.")
    with (
        command_line(rest),
        setting_up(),
        reading(dataset),
        resume.holding() as last,
        per_user.recording(users_target is not None) as users,
    ):
        check_data(read_config(model, dataset, files))
        try:
            result = quick_start.run(
                model,
                dataset,
                config_file_list=files or None,
                nproc=processes,
                world_size=whole_number(options, "world_size", -1),
                ip=options.get("ip", "localhost"),
                port=options.get("port", "5678"),
                group_offset=whole_number(options, "group_offset", 0),
            )
        except resume.RunEnded as ended:
            return _written_again(ended, target, users_target)
        result = result if result is None or "run" in result else {**result, **describe_run()}
    if target is not None and result is not None:
        write_json(target, plain(result))
    if users is not None:
        users.write(users_target)
    last.finish(plain(result))
    return result


def _written_again(ended: resume.RunEnded, target: Path | None, users_target: Path | None) -> dict:
    """What a run left that had ended before it was to be resumed."""
    if users_target is not None and not users_target.is_file():
        raise ConfigError(f"{ended} --per_user_file is written by a run itself.")
    print(ended)
    if target is not None:
        write_json(target, ended.result)
    return ended.result
