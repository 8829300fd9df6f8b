"""Run RecBole with this package's models and keep what the run showed.

``python run_recbole_rlmrec.py --model=LightGCN_RLMRec --dataset=ml-100k --result_file=result.json`` takes every
option of RecBole as ``--key=value``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from recbole.data import create_dataset
from recbole.quick_start import quick_start
from recbole.utils import init_seed

from recbole_rlmrec.data.files import read_yaml, write_json
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin import per_user
from recbole_rlmrec.plugin.record import describe_run, plain
from recbole_rlmrec.runs.checks import check_data, check_target, read_config, reading, whole_number

OURS = ("model", "dataset", "config_files", "result_file", "per_user_file")
DEFAULT_MODEL, DEFAULT_DATASET = "LightGCN_RLMRec", "ml-100k"
USAGE = """usage: run_recbole_rlmrec.py --model=NAME --dataset=NAME [--config_files="a.yaml b.yaml"]
[--result_file=PATH] [--key=value ...]

Trains and evaluates a model with RecBole. NAME_RLMRec is RecBole's NAME with an alignment loss.
Defaults: --model=LightGCN_RLMRec --dataset=ml-100k. Useful: --epochs=20 --alignment=con|gen|none --gpu_id= (empty:
CPU). Several GPUs: --nproc=2 --gpu_id=0,1; several machines: --world_size= --ip= --port= --group_offset=.
"""


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
    options, rest = split_options(
        sys.argv[1:] if argv is None else argv,
        (*OURS, "nproc", "world_size", "ip", "port", "group_offset"),
    )
    files = options.get("config_files", "").split()
    named = {}
    for file in files:
        named |= read_yaml(Path(file))
    model = options.get("model", named.get("model", DEFAULT_MODEL))
    dataset = options.get("dataset", named.get("dataset", DEFAULT_DATASET))
    target = check_target(options.get("result_file"), "result_file")
    users_target = check_target(options.get("per_user_file"), "per_user_file")
    processes = whole_number(options, "nproc", 1)
    if processes > 1 and not torch.cuda.is_available():
        raise ConfigError(f"--nproc={processes} needs GPUs, and torch finds none here; leave --nproc out.")
    with command_line(rest), reading(dataset), per_user.recording(users_target is not None) as users:
        check_data(read_config(model, dataset, files))
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
        result = result if result is None or "run" in result else {**result, **describe_run()}
    if target is not None and result is not None:
        write_json(target, plain(result))
    if users is not None:
        users.write(users_target)
    return result


def split_options(argv: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the options that are ours from those that RecBole reads from the command line itself.

    ``--key value`` is accepted for our names as well as ``--key=value``; RecBole takes the latter alone.

    Raises
    ------
    ConfigError
        An argument is no option, is given twice, or has a form that RecBole would silently drop.
    """
    ours, rest, seen = {}, [], set()
    arguments = iter(argv)
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if key in seen:
            raise ConfigError(f"--{key} is given twice; leave one of them out.")
        seen.add(key)
        if argument.startswith("--") and key in names:
            ours[key] = value if equals else next(arguments, "")
        elif not argument.startswith("--") or not equals:
            raise ConfigError(f"The argument {argument!r} is not understood; write options as --key=value.")
        elif "=" in value:
            raise ConfigError(f"The value of --{key} contains '=', which RecBole drops; put it into a --config_files file.")
        else:
            rest.append(argument)
    return ours, rest


@contextmanager
def command_line(options: Sequence[str]) -> Iterator[None]:
    """Let RecBole see these options as the command line: every ``Config`` parses ``sys.argv``."""
    before, sys.argv = sys.argv, [sys.argv[0], *options]
    try:
        yield
    finally:
        sys.argv = before


def load_split(dataset: str, options: Sequence[str], model: str = "BPR"):
    """Load a data set and draw the split that a run with the same options draws.

    Parameters
    ----------
    dataset : str
    options : sequence of str
        RecBole's options, ``--key=value``, ``--config_files=`` among them.
    model : str
        A model whose defaults apply; the split does not depend on it.

    Returns
    -------
    config : recbole.config.Config
    dataset : recbole.data.dataset.Dataset
        The filtered data.
    splits : list of recbole.data.dataset.Dataset
        Training, validation and test split; the training split knows the other two as ``rlmrec_heldout``.
    """
    ours, rest = split_options(options, ("config_files", "model", "dataset"))
    files = ours.get("config_files", "").split()
    for file in files:
        read_yaml(Path(file))
    with command_line(rest), reading(dataset):
        config = read_config(ours.get("model", model), dataset, files)
        init_seed(config["seed"], config["reproducibility"])
        check_data(config)
        data = create_dataset(config)
        return config, data, data.build()
