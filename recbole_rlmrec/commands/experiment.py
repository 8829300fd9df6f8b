"""``recbole-rlmrec experiment``: the paper's experiments on any dataset."""

from __future__ import annotations

import argparse

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments import load
from recbole_rlmrec.experiments.cells.launch import LocalLauncher, RayLauncher
from recbole_rlmrec.experiments.cells.options import parse_options, read_models, read_options, read_params, read_seeds
from recbole_rlmrec.experiments.cells.runner import Runner
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.results.files import write_results
from recbole_rlmrec.runs.run import OURS


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Run an experiment; returns the exit status, 1 where a cell failed."""
    if args.jobs < 1:
        raise ConfigError(f"--jobs is the number of cells at a time, 1 or more, not {args.jobs}.")
    if args.cell_cpus < 1 or args.cell_gpus < 0:
        raise ConfigError("--cell-cpus is a whole number of at least 1, --cell-gpus one of at least 0, for example 0.5.")
    launcher = RayLauncher(args.ray, args.cell_cpus, args.cell_gpus) if args.ray else LocalLauncher(args.jobs)
    return run_experiment(args, options, launcher)


def run_experiment(args: argparse.Namespace, options: list[str], launcher) -> int:
    """Run an experiment with a launcher of cells; prints its tables and where they are."""
    run_options = parse_options(options)
    _refuse_misplaced(run_options)
    study = Study(
        name=args.experiment,
        dataset=args.dataset,
        runner=Runner(args.output.resolve(), launcher, args.trust_cells),
        models=read_models(args.models),
        seeds=read_seeds(args.seeds),
        options=run_options,
        given=frozenset(read_options(options)),
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


def _refuse_misplaced(options: dict) -> None:
    """Refuse an option of a single run, which a configuration file may hold."""
    for key in options:
        if key in OURS:
            raise ConfigError(f"--{key} is of a single run; an experiment starts its runs itself, see --output and --jobs.")


def _tell_failures(failed: dict[str, dict]) -> int:
    for one in failed.values():
        print(f"FAILED {one['model']} {one['variant']} seed {one['seed']}: {one['reason']} (log: {one['log']})")
    if failed:
        print(f"{len(failed)} cells failed; the same command tries them again.")
    return 1 if failed else 0
