"""Means, spreads and paired tests of what cells measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from recbole_rlmrec.experiments.cells.cell import Outcome

METHOD = (
    "Paired two-sided t-tests, over seeds (each seed's mean over users) and over users (each user's mean over seeds); "
    "p values are corrected by Holm's method over the comparisons of one metric. None where there are fewer than two pairs or "
    "all differences are the same."
)


@dataclass
class Comparison:
    """One variant against its base.

    Attributes
    ----------
    model, variant, base, metric : str
    mean, base_mean : float
        Over the seeds that both have.
    gain : float or None
        Relative, ``mean / base_mean - 1``; None where the base's mean is 0.
    seeds, users : int
        Number of pairs of either test.
    p_seeds, p_users : float or None
        Uncorrected; None where the test says nothing, see `paired_test`.
    holm_seeds, holm_users : float or None
        Corrected.
    """

    model: str
    variant: str
    base: str
    metric: str
    mean: float
    base_mean: float
    gain: float | None
    seeds: int
    users: int
    p_seeds: float | None
    p_users: float | None
    holm_seeds: float | None = None
    holm_users: float | None = None

    def as_dict(self) -> dict:
        """JSON-able form."""
        return asdict(self)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the latter with one value."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def relative_gain(value: float, base: float) -> float | None:
    """How much more, as a share of the base."""
    return value / base - 1 if base else None


def smaller_is_better(metric: str) -> bool:
    """Whether RecBole counts less of a metric, ``giniindex@10``, as better."""
    from recbole.evaluator.register import metrics_dict

    return bool(getattr(metrics_dict.get(metric.partition("@")[0].lower()), "smaller", False))


def paired_test(values: Sequence[float], base: Sequence[float]) -> float | None:
    """Two-sided p value of the paired t-test.

    Parameters
    ----------
    values, base : sequence of float [n]
        Pairs.

    Returns
    -------
    float or None
        1 where all pairs are equal; None where the test says nothing: fewer than two pairs, or differences without spread.
    """
    values, base = np.asarray(values, dtype=np.float64), np.asarray(base, dtype=np.float64)
    if len(values) > 1 and np.array_equal(values, base):
        return 1.0
    result = _ttest(values, base)
    return None if result is None else float(result.pvalue)


def difference_interval(values: Sequence[float], base: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Confidence interval of the mean difference, from the paired t-test.

    Parameters
    ----------
    values, base : sequence of float [n]
        Pairs.
    level : float
        Of confidence.

    Returns
    -------
    (float, float) or None
        None with fewer than two pairs, or differences without spread.
    """
    result = _ttest(np.asarray(values, dtype=np.float64), np.asarray(base, dtype=np.float64))
    return None if result is None else tuple(map(float, result.confidence_interval(level)))


def _ttest(values: np.ndarray, base: np.ndarray):
    """SciPy's result; None where there is no spread to compare with, beyond the rounding of values kept as float32."""
    if len(values) < 2:
        return None
    rounding = np.finfo(np.float32).eps * max(np.abs(values).max(), np.abs(base).max())
    if not (values - base).std(ddof=1) > rounding:
        return None
    from scipy.stats import ttest_rel

    return ttest_rel(values, base)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values corrected by Holm's step-down method; None stays None and does not count."""
    known = sorted((p, position) for position, p in enumerate(values) if p is not None)
    corrected, worst = [None] * len(values), 0.0
    for rank, (p, position) in enumerate(known):
        worst = max(worst, min(p * (len(known) - rank), 1.0))
        corrected[position] = worst
    return corrected


def compare(outcomes: Sequence[Outcome], base: Sequence[Outcome], metrics: Sequence[str]) -> list[Comparison]:
    """Compare a variant with its base over the seeds that both have; see `compare_tables`.

    Metrics that have no value for a user, as coverage of the items, are tested over seeds alone.
    """
    cell, against = outcomes[0].cell, base[0].cell
    by_user = [metric for metric in metrics if all(metric in one.users for one in (*outcomes, *base))]
    mine, theirs = ({outcome.cell.seed: outcome.users for outcome in side} for side in (outcomes, base))
    found = {one.metric: one for one in compare_tables(mine, theirs, by_user, cell.model, cell.name, against.name)}
    sides = [{outcome.cell.seed: outcome.metrics for outcome in side} for side in (outcomes, base)]
    seeds = sorted(set(sides[0]) & set(sides[1]))
    for metric in set(metrics) - set(by_user) if seeds else ():
        values, reference = ([side[seed][metric] for seed in seeds] for side in sides)
        means = [float(np.mean(side)) for side in (values, reference)]
        sizes = {"seeds": len(seeds), "users": 0, "p_seeds": paired_test(values, reference), "p_users": None}
        names = (cell.model, cell.name, against.name, metric)
        found[metric] = Comparison(*names, *means, relative_gain(*means), **sizes)
    return [found[metric] for metric in metrics if metric in found]


def compare_tables(
    mine: Mapping[int, pd.DataFrame],
    theirs: Mapping[int, pd.DataFrame],
    metrics: Sequence[str],
    model: str,
    variant: str,
    base: str,
) -> list[Comparison]:
    """Compare metrics by user, one table per seed, over the seeds that both sides have.

    Parameters
    ----------
    mine, theirs : mapping of int to DataFrame
        By seed: one column per metric, indexed by user token.
    metrics : sequence of str
    model, variant, base : str
        Names.

    Returns
    -------
    list of Comparison
        One per metric, without correction; empty where no seed is common.
    """
    seeds = sorted(set(mine) & set(theirs))
    if not seeds:
        return []
    sides = [[side[seed].astype(np.float64) for seed in seeds] for side in (mine, theirs)]
    averaged = [pd.concat(tables).groupby(level=0).mean() for tables in sides]
    common = averaged[0].index.intersection(averaged[1].index)
    found = []
    for metric in metrics:
        values, reference = ([float(table[metric].mean()) for table in tables] for tables in sides)
        mean, base_mean = float(np.mean(values)), float(np.mean(reference))
        users = [table.loc[common, metric] for table in averaged]
        tests = {"p_seeds": paired_test(values, reference), "p_users": paired_test(*users)}
        gain = relative_gain(mean, base_mean)
        found.append(Comparison(model, variant, base, metric, mean, base_mean, gain, len(seeds), len(common), **tests))
    return found


def correct(comparisons: Sequence[Comparison]) -> None:
    """Fill in the corrected p values, metric by metric."""
    for metric in {comparison.metric for comparison in comparisons}:
        family = [comparison for comparison in comparisons if comparison.metric == metric]
        for name in ("seeds", "users"):
            for comparison, p in zip(family, holm([getattr(one, f"p_{name}") for one in family]), strict=True):
                setattr(comparison, f"holm_{name}", p)
