"""Hyper-parameter search with RecBole's HyperTuning, the same number of trials for base and aligned models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import yaml
from recbole.trainer.hyper_tuning import HyperTuning, exhaustive_search

from recbole_rlmrec.data.files import read_yaml, replacing
from recbole_rlmrec.data.properties import PROPERTIES
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Outcome
from recbole_rlmrec.experiments.cells.options import read_variants
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.results.files import Report
from recbole_rlmrec.experiments.results.tables import Table

ALGORITHMS = ("grid", "random", "bayes")
KINDS = {"choice": None, "uniform": 2, "quniform": 3, "loguniform": 2}  # how many numbers a range takes


def run(study: Study, args: argparse.Namespace) -> Report:
    """Search for every model and variant; writes ``tune/best.yaml`` for ``--params``."""
    variants = read_variants(args.variants)
    if args.trials < 1:
        raise ConfigError(f"--trials is 1 or more, not {args.trials}.")
    _require_hyperopt()
    study.check_models(variants)
    given = read_yaml(args.space) if args.space else None
    searches = [
        Search(study, model, variant, search_space(model, variant, given), args.algorithm, args.trials)
        for model in study.models
        for variant in variants
    ]
    for seed in study.seeds:
        study.cell(study.models[0], variants[-1], seed)
    _run_all(searches, study)
    best: dict[str, dict] = {}
    for search in searches:
        if search.best.score is not None:
            best.setdefault(search.model_name, {})[search.variant] = search.best.params
    _write_best(study.output / study.name / "best.yaml", best)
    outcomes = [outcome for search in searches for trial in search.trials for outcome in trial.outcomes]
    findings = {"searches": [search.as_dict() for search in searches]}
    return Report(outcomes, [best_table(searches)], findings)


def _require_hyperopt() -> None:
    try:
        import hyperopt  # noqa: F401
    except ImportError:
        raise ConfigError("tune needs hyperopt, which is not installed: pip install 'recbole-rlmrec[tune]'.") from None


def _run_all(searches: Sequence[Search], study: Study) -> None:
    """Run as many searches side by side as there are jobs; each proposes one point after the other."""
    with ThreadPoolExecutor(max_workers=study.runner.jobs) as pool:
        waiting = [pool.submit(search.run) for search in searches]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            study.runner.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# --- spaces --------------------------------------------------------------------------------------------------------


def search_space(model: str, variant: str, given: dict | None = None) -> dict:
    """Search space in RecBole's form, ``{"choice": {"align_weight": [0.01, 0.1]}, "loguniform": {...}}``.

    A variant with profiles searches what its base searches and the options of its alignment, or of KAR.

    Parameters
    ----------
    model : str
        Backbone.
    variant : str
    given : dict, optional
        Spaces by variant, in place of the shipped ones.

    Raises
    ------
    ConfigError
        A space is not of this form.
    """
    if given is not None:
        return _checked(given.get(variant), f"The search space of {variant}")
    folder = PROPERTIES / "hyper"
    backbone = folder / f"{model}.yaml"
    files = [backbone if backbone.is_file() else folder / "backbone.yaml"]
    if variant != "base":
        files.append(folder / f"{variant}.yaml")
    space: dict = {}
    for file in files:
        for kind, ranges in _checked(read_yaml(file), str(file)).items():
            space[kind] = {**space.get(kind, {}), **ranges}
    return space


def _checked(space, where: str) -> dict:
    if not isinstance(space, dict) or not space or not all(isinstance(ranges, dict) for ranges in space.values()):
        raise ConfigError(f"{where} is missing or not of the form choice: {{align_weight: [0.01, 0.1]}}.")
    if unknown := sorted(set(map(str, space)) - set(KINDS)):
        raise ConfigError(f"{where} has {', '.join(unknown)}; a range is one of {', '.join(KINDS)}.")
    for kind, ranges in space.items():
        for name, limits in ranges.items():
            if not isinstance(limits, list) or not limits or (KINDS[kind] and not _is_range(limits, KINDS[kind])):
                form = {None: "a list of values", 2: "[low, high]", 3: "[low, high, step]"}[KINDS[kind]]
                raise ConfigError(f"{where}: {name} under {kind} needs {form}, not {limits!r}.")
    return space


def _is_range(limits: list, size: int) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in limits)
    return numbers and len(limits) == size and limits[0] < limits[1]


def space_size(space: dict) -> int | None:
    """Number of points of a grid; None where a range is continuous."""
    return int(np.prod([len(values) for values in space["choice"].values()])) if set(space) == {"choice"} else None


# --- searches ------------------------------------------------------------------------------------------------------


class Trial:
    """A point of a search.

    Attributes
    ----------
    params : dict
    score : float or None
        Validation score, mean over seeds; None where a cell failed.
    outcomes : list of Outcome
    """

    def __init__(self, params: dict, score: float | None, outcomes: list[Outcome]):
        self.params, self.score, self.outcomes = params, score, outcomes


class Search(HyperTuning):
    """RecBole's HyperTuning whose trials are cells, so that a stopped search continues.

    Parameters
    ----------
    study : Study
    model, variant : str
    space : dict
        See `search_space`.
    algorithm : str
        ``grid`` (points of the grid in random order, none twice), ``random`` or ``bayes``.
    trials : int
        How many points.
    """

    def __init__(self, study: Study, model: str, variant: str, space: dict, algorithm: str, trials: int):
        if algorithm == "grid" and space_size(space) is None:
            raise ConfigError(f"The search space of {model} {variant} has a continuous range, which has no grid.")
        algo = {"grid": partial(exhaustive_search, nbMaxSucessiveFailures=1000)}.get(algorithm, algorithm)
        super().__init__(self._objective, params_dict=space, algo=algo, max_evals=trials, early_stop=trials + 1)
        self.study, self.model_name, self.variant, self.ranges, self.algorithm = study, model, variant, space, algorithm
        self.trials: list[Trial] = []
        self.bigger = True

    def run(self) -> None:
        """Search; the points depend on the first seed alone."""
        from hyperopt import fmin

        rng = np.random.default_rng(self.study.seeds[0])
        fmin(self.trial, self.space, algo=self.algo, max_evals=self.max_evals, rstate=rng, show_progressbar=False)

    @property
    def best(self) -> Trial:
        """The trial with the best validation score."""
        worst = -np.inf if self.bigger else np.inf
        key = lambda trial: worst if trial.score is None else trial.score  # noqa: E731
        return (max if self.bigger else min)(self.trials, key=key)

    def _objective(self, params: dict, config_files=None) -> dict:
        params = {name: value.item() if hasattr(value, "item") else value for name, value in params.items()}
        cells = [self.study.cell(self.model_name, self.variant, seed, keep=False, **params) for seed in self.study.seeds]
        outcomes = self.study.run(cells)
        score = mean(float(one.result["best_valid_score"]) for one in outcomes) if len(outcomes) == len(cells) else None
        if outcomes:
            self.bigger = bool(outcomes[0].result["valid_score_bigger"])
        self.trials.append(Trial(params, score, outcomes))
        self._say_progress()
        return {
            "model": f"{self.model_name} {self.variant}",
            "best_valid_score": (0.0 if self.bigger else 1e9) if score is None else score,
            "valid_score_bigger": self.bigger,
            "best_valid_result": outcomes[0].result["best_valid_result"] if outcomes else {},
            "test_result": outcomes[0].result["test_result"] if outcomes else {},
        }

    def _say_progress(self) -> None:
        score, best = ("none" if value is None else f"{value:.4f}" for value in (self.trials[-1].score, self.best.score))
        number = f"{len(self.trials)} of {self.max_evals}"
        self.study.runner.say(f"{self.model_name} {self.variant}, trial {number}: validation score {score}, best {best}")

    @staticmethod
    def _print_result(result_dict: dict) -> None:
        """What RecBole prints of a new best is in the runner's lines and in the table."""

    def as_dict(self) -> dict:
        """JSON-able form."""
        trials = [
            {"params": trial.params, "score": trial.score, "cells": [outcome.cell.key for outcome in trial.outcomes]}
            for trial in self.trials
        ]
        return {
            "model": self.model_name,
            "variant": self.variant,
            "algorithm": self.algorithm,
            "space": self.ranges,
            "best": self.best.params if self.trials else None,
            "trials": trials,
        }


def best_table(searches: Sequence[Search]) -> Table:
    """What each search found."""
    metric = str(searches[0].study.options["valid_metric"]).lower()
    table = Table("Best of each search", ["model", "variant", "trials", f"valid {metric}", f"test {metric}", "options"])
    for search in searches:
        best = search.best
        test = mean(o.metrics[metric] for o in best.outcomes) if best.score is not None else None
        options = ", ".join(f"{name} {plain(value)}" for name, value in sorted(best.params.items()))
        table.rows.append([search.model_name, search.variant, len(search.trials), best.score, test, options])
    table.notes = [
        f"Chosen by the validation score alone, mean over {len(searches[0].study.seeds)} seed(s). "
        "Say --params OUTPUT/tune/best.yaml to use them."
    ]
    return table


def plain(value) -> str:
    """A value of an option, floats without needless digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _write_best(path: Path, best: dict) -> None:
    """Write the best options; those of models that were not searched this time stay."""
    known = read_yaml(path) if path.is_file() else {}
    for model, variants in best.items():
        known[model] = {**known.get(model, {}), **variants}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(known), encoding="utf-8")
