"""``recbole-rlmrec experiment``: the paper's experiments on any dataset."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments import EXPERIMENTS, load

KEPT = ("first", "all", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    experiments = parser.add_subparsers(dest="experiment", required=True, metavar="NAME")
    for name in EXPERIMENTS:
        module = load(name)
        sub = experiments.add_parser(name, help=module.SUMMARY, description=f"{module.SUMMARY}.", allow_abbrev=False)
        _add_common(sub)
        module.add_arguments(sub)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, help="RecBole dataset; frozen into the output where it is not split yet")
    parser.add_argument("--output", required=True, type=Path, help="results folder; cells that are in it are not run again")
    parser.add_argument("--models", default="LightGCN", help="backbones, separated by commas (default: LightGCN)")
    parser.add_argument("--seeds", default="5", help="how many, from 2020 on, or a list such as 1,2,3 (default: 5)")
    parser.add_argument("--params", type=Path, help="file of options by model and variant, as `experiment tune` writes it")
    parser.add_argument("--jobs", type=int, default=1, help="cells that run side by side on this machine (default: 1)")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster; `local` starts one here")
    parser.add_argument("--resplit", action="store_true", help="draw a split, and template profiles, for every seed")
    parser.add_argument("--checkpoints", choices=KEPT, default="first", help="keep the models of these seeds (default: first)")
    parser.add_argument("--trust-cells", action="store_true", help="use cells that other code or other versions computed")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Run an experiment; returns the exit status, 1 where a cell failed."""
    from recbole_rlmrec.experiments.cells.launch import LocalLauncher, RayLauncher

    if args.jobs < 1:
        raise ConfigError(f"--jobs is the number of cells at a time, 1 or more, not {args.jobs}.")
    launcher = RayLauncher(args.ray) if args.ray else LocalLauncher(args.jobs)
    return run_experiment(args, options, launcher)


def run_experiment(args: argparse.Namespace, options: list[str], launcher) -> int:
    """Run an experiment with a launcher of cells; prints its tables and where they are."""
    from recbole_rlmrec.experiments.cells.options import parse_options, read_models, read_params, read_seeds
    from recbole_rlmrec.experiments.cells.runner import Runner
    from recbole_rlmrec.experiments.cells.study import Study
    from recbole_rlmrec.experiments.results.files import write_results

    run_options = parse_options(options)
    _refuse_misplaced(args, run_options)
    study = Study(
        name=args.experiment,
        dataset=args.dataset,
        runner=Runner(args.output.resolve(), launcher, args.trust_cells),
        models=read_models(args.models),
        seeds=read_seeds(args.seeds),
        options=run_options,
        params=read_params(args.params),
        resplit=args.resplit,
        checkpoints=args.checkpoints,
    )
    with study.runner.locked():
        study.claim()
        results = load(args.experiment).run(study, args)
        folder = write_results(study, results)
        study.finish()
    for table in results.tables:
        print(table.text())
    print(f"Tables, cells and settings: {folder}")
    return _tell_failures(study.runner.failed)


def _refuse_misplaced(args: argparse.Namespace, options: dict) -> None:
    """Refuse an option of the command, or one like it, that would silently go to RecBole."""
    from recbole_rlmrec.plugin.defaults import unknown_options
    from recbole_rlmrec.runs.run import OURS
    from recbole_rlmrec.runs.split import make_config

    parser = argparse.ArgumentParser(conflict_handler="resolve", add_help=False)
    _add_common(parser)
    for name in EXPERIMENTS:
        load(name).add_arguments(parser)
    ours = {action.dest for action in parser._actions}
    mine = set(vars(args))
    unknown = unknown_options(make_config("LightGCN_RLMRec", args.dataset, options))
    for key in options:
        if key in (*OURS, "nproc"):
            raise ConfigError(f"--{key} is of a single run; an experiment starts its runs itself, see --output and --jobs.")
        if key in unknown and key in ours:
            raise ConfigError(f"--{_dashed(key)} is no option of {args.experiment}, but of another experiment.")
        if key in unknown and (near := difflib.get_close_matches(key, sorted(mine), n=1, cutoff=0.75)):
            raise ConfigError(f"There is no option --{key}; did you mean --{_dashed(near[0])}?")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _tell_failures(failed: dict[str, dict]) -> int:
    for one in failed.values():
        print(f"FAILED {one['model']} {one['variant']} seed {one['seed']}: {one['reason']} (log: {one['log']})")
    if failed:
        print(f"{len(failed)} cells failed; the same command tries them again.")
    return 1 if failed else 0
