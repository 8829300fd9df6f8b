"""A search of one model and variant: trials that are cells, so that a stopped search continues."""

from __future__ import annotations

from functools import partial
from statistics import mean

import numpy as np
from recbole.trainer.hyper_tuning import HyperTuning, exhaustive_search

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Outcome
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.search.space import space_size

ALGORITHMS = ("grid", "random", "bayes")


class Trial:
    """A point of a search.

    Attributes
    ----------
    params : dict
    score : float or None
        Validation score, mean over seeds; None where a cell failed.
    outcomes : list of Outcome
    epochs : int
        At most how many epochs its cells had; 0 before they ran.
    """

    def __init__(self, params: dict, score: float | None, outcomes: list[Outcome], epochs: int = 0):
        self.params, self.score, self.outcomes, self.epochs = params, score, outcomes, epochs


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
        params = self.plain(params)
        cells = [self.study.cell(self.model_name, self.variant, seed, keep=False, **params) for seed in self.study.seeds]
        outcomes = self.study.run(cells)
        score = self._score(outcomes)
        self.trials.append(Trial(params, score, outcomes, int(self.study.options["epochs"])))
        self._say_progress()
        return {
            "model": f"{self.model_name} {self.variant}",
            "best_valid_score": (0.0 if self.bigger else 1e9) if score is None else score,
            "valid_score_bigger": self.bigger,
            "best_valid_result": outcomes[0].result["best_valid_result"] if outcomes else {},
            "test_result": outcomes[0].result["test_result"] if outcomes else {},
        }

    def plain(self, point: dict) -> dict:
        """A point in Python's numbers; what a range of whole numbers gives is one."""
        whole = {name for name, limits in self.ranges.get("quniform", {}).items() if all(type(one) is int for one in limits)}
        found = {name: value.item() if hasattr(value, "item") else value for name, value in point.items()}
        return {name: round(value) if name in whole else value for name, value in found.items()}

    def _score(self, outcomes: list[Outcome]) -> float | None:
        """Mean validation score over seeds; None where a cell failed."""
        if outcomes:
            self.bigger = bool(outcomes[0].result["valid_score_bigger"])
        if len(outcomes) < len(self.study.seeds):
            return None
        return mean(float(outcome.result["best_valid_score"]) for outcome in outcomes)

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
            {
                "params": trial.params,
                "score": trial.score,
                "epochs": trial.epochs,
                "cells": [outcome.cell.key for outcome in trial.outcomes],
            }
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
