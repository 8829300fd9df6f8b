"""RQ1: does alignment help? Base, con and gen of each backbone, with tests over seeds and over users."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cell import Outcome
from recbole_rlmrec.experiments.report import Report
from recbole_rlmrec.experiments.stats import METHOD, Comparison, compare, correct, mean_and_deviation
from recbole_rlmrec.experiments.study import VARIANTS, Study
from recbole_rlmrec.experiments.tables import Table, percent, stars, with_deviation

SUMMARY = "base, con and gen of each backbone, with significance over seeds and users"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the experiment."""
    parser.add_argument("--variants", default="base,con,gen", help="of base, con, gen (default: all three)")


def run(study: Study, args: argparse.Namespace) -> Report:
    """Run base and aligned models and compare them."""
    variants = read_variants(args.variants)
    study.check_models(variants)
    cells = [study.cell(model, variant, seed) for seed in study.seeds for model in study.models for variant in variants]
    outcomes = study.run(cells)
    comparisons = compare_all(outcomes)
    tables = [main_table(outcomes, comparisons), comparison_table(comparisons)]
    return Report(outcomes, tables[: 1 + bool(comparisons)], {"comparisons": [one.as_dict() for one in comparisons]})


def read_variants(text: str) -> list[str]:
    """Names of variants, in the order of tables.

    Raises
    ------
    ConfigError
        One is unknown.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in VARIANTS]
    if unknown or not wanted:
        raise ConfigError(f"--variants takes {', '.join(VARIANTS)}, not {text!r}.")
    return [name for name in VARIANTS if name in wanted]


def grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes by model and variant, in order of appearance."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.cell.model, outcome.cell.variant), []).append(outcome)
    return dict(sorted(found.items(), key=lambda entry: _order(outcomes, entry[0])))


def _order(outcomes: Sequence[Outcome], key: tuple[str, str]) -> tuple[int, int]:
    models = list(dict.fromkeys(outcome.cell.model for outcome in outcomes))
    variants = list(dict.fromkeys(outcome.cell.variant for outcome in outcomes))
    return models.index(key[0]), variants.index(key[1])


def compare_all(outcomes: Sequence[Outcome], base: str = "base") -> list[Comparison]:
    """Every variant against the base of its model, corrected for their number."""
    groups, comparisons = grouped(outcomes), []
    for (model, variant), found in groups.items():
        if variant != base and (model, base) in groups:
            comparisons += compare(found, groups[model, base], list(found[0].metrics))
    correct(comparisons)
    return comparisons


def main_table(outcomes: Sequence[Outcome], comparisons: Sequence[Comparison], title: str = "Results at test") -> Table:
    """Mean and deviation of each metric, one row per model and variant."""
    metrics = list(outcomes[0].metrics) if outcomes else []
    known = {(one.model, one.variant, one.metric): one for one in comparisons}
    table = Table(title, ["model", "variant", "seeds", *metrics])
    for (model, variant), found in grouped(outcomes).items():
        row = [model, variant, len(found)]
        for metric in metrics:
            value = with_deviation(*mean_and_deviation([outcome.metrics[metric] for outcome in found]))
            against = known.get((model, variant, metric))
            gain = f" ({percent(against.gain)}{stars(against.holm_users)})" if against and against.gain is not None else ""
            row.append(value + gain)
        table.rows.append(row)
    if comparisons:
        table.notes = [
            "Mean +- standard deviation over seeds; in brackets the relative gain over base, with * p < .05, ** p < .01, "
            "*** p < .001 of the test over users after correction."
        ]
    return table


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """P values of every comparison."""
    columns = ["model", "variant", "metric", "gain", "seeds", "p seeds", "Holm", "users", "p users", "Holm"]
    rows = [
        [
            *(one.model, one.variant, one.metric, percent(one.gain)),
            *(one.seeds, one.p_seeds, one.holm_seeds, one.users, one.p_users, one.holm_users),
        ]
        for one in comparisons
    ]
    return Table("Tests against base", columns, rows, [METHOD])
