"""Successive halving: every trial gets few epochs, the better third of them three times as many, and so on.

Reference:
    Kevin Jamieson et al. "Non-stochastic Best Arm Identification and Hyperparameter Optimization." in AISTATS 2016.
"""

from __future__ import annotations

import math

import numpy as np

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.search.search import Search, Trial
from recbole_rlmrec.experiments.search.space import space_size

RATE = 3
FEWEST_EPOCHS = 5
_DRAWS = 100  # for each point that is wanted


def rungs(trials: int, epochs: int) -> list[tuple[int, int]]:
    """How many trials get how many epochs at most: ``[(16, 33), (6, 100), (2, 300)]`` for 16 trials and 300 epochs."""
    count = 1 + min(math.floor(math.log(trials, RATE) + 1e-9), max(math.floor(math.log(epochs / FEWEST_EPOCHS, RATE)), 0))
    return [(math.ceil(trials / RATE**k), max(round(epochs / RATE ** (count - 1 - k)), 1)) for k in range(count)]


class Halving(Search):
    """A search that ends hopeless trials early; its points are drawn at random, none twice.

    The parameters are those of `Search`. The trials of a rung are cells of their own and run side by side.
    """

    def __init__(self, study, model: str, variant: str, space: dict, algorithm: str, trials: int):
        if algorithm != "random":
            raise ConfigError(f"--prune draws its points at random; leave --algorithm {algorithm} or --prune out.")
        super().__init__(study, model, variant, space, algorithm, trials)

    def run(self) -> None:
        """Search; the points depend on the first seed alone."""
        alive = [Trial(params, None, []) for params in self.points()]
        self.trials = list(alive)
        for keep, epochs in rungs(len(alive), int(self.study.options["epochs"])):
            alive = sorted(alive, key=self._worse)[:keep]
            cells = [
                self.study.cell(self.model_name, self.variant, seed, keep=False, **{**trial.params, "epochs": epochs})
                for trial in alive
                for seed in self.study.seeds
            ]
            known = {outcome.cell.key: outcome for outcome in self.study.run(cells)}
            n_seeds = len(self.study.seeds)
            for position, trial in enumerate(alive):
                mine = [known.get(cell.key) for cell in cells[position * n_seeds : (position + 1) * n_seeds]]
                trial.epochs, trial.outcomes = epochs, [outcome for outcome in mine if outcome is not None]
                trial.score = self._score(trial.outcomes)
            best = min(alive, key=self._worse).score
            self.study.runner.say(
                f"{self.model_name} {self.variant}: {len(alive)} trials of {epochs} epochs at most, best validation score "
                f"{'none' if best is None else f'{best:.4f}'}"
            )

    def points(self) -> list[dict]:
        """Distinct points of the space, as many as there are trials or, in a small space, as are found."""
        from hyperopt.pyll.stochastic import sample

        rng = np.random.default_rng(self.study.seeds[0])
        most = min(self.max_evals, space_size(self.ranges) or self.max_evals)
        found: dict[str, dict] = {}
        for _ in range(_DRAWS * most):
            if len(found) == most:
                break
            point = self.plain(sample(self.space, rng))
            found.setdefault(repr(sorted(point.items())), point)
        return list(found.values())

    @property
    def best(self) -> Trial:
        """The best of those that got all epochs."""
        most = max((trial.epochs for trial in self.trials), default=0)
        return min((trial for trial in self.trials if trial.epochs == most), key=self._worse)

    def _worse(self, trial: Trial) -> float:
        """Sorts trials from the best on; those that have not run yet are alike, those that failed come last."""
        if not trial.epochs:
            return 0.0
        if trial.score is None:
            return math.inf
        return -trial.score if self.bigger else trial.score
