"""Outcomes side by side: tables of metrics, and tests against the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recbole_rlmrec.experiments.cells.cell import Cell, Outcome
from recbole_rlmrec.experiments.results.stats import METHOD, Comparison, compare, correct, mean_and_deviation
from recbole_rlmrec.experiments.results.tables import Table, in_brackets, percent, with_deviation


def grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes by model and name of variant, models and names in order of appearance."""
    models, names = ({of(outcome): None for outcome in outcomes} for of in (lambda o: o.cell.model, lambda o: o.cell.name))
    found: dict[tuple[str, str], list[Outcome]] = {(model, name): [] for model in models for name in names}
    for outcome in outcomes:
        found[outcome.cell.model, outcome.cell.name].append(outcome)
    return {key: members for key, members in found.items() if members}


def compare_all(outcomes: Sequence[Outcome], base: Callable[[Cell], str | None] = lambda cell: "base") -> list[Comparison]:
    """Every variant against the one whose name ``base`` returns for it, corrected for their number.

    Parameters
    ----------
    outcomes : sequence of Outcome
    base : callable
        Takes a cell; None where it is compared with nothing.
    """
    groups, comparisons = grouped(outcomes), []
    for (model, _), found in groups.items():
        against = groups.get((model, base(found[0].cell)))
        if against is not None and against is not found:
            comparisons += compare(found, against, list(found[0].metrics))
    correct(comparisons)
    return comparisons


def main_table(outcomes: Sequence[Outcome], comparisons: Sequence[Comparison], title: str = "Results at test") -> Table:
    """Mean and deviation of each metric, one row per model and variant."""
    metrics = list(outcomes[0].metrics) if outcomes else []
    known = {(one.model, one.variant, one.metric): one for one in comparisons}
    table = Table(title, ["model", "variant", "seeds", *metrics])
    for (model, name), found in grouped(outcomes).items():
        row = [model, name, len(found)]
        for metric in metrics:
            mean, deviation = mean_and_deviation([outcome.metrics[metric] for outcome in found])
            value, against = with_deviation(mean, deviation), known.get((model, name, metric))
            gain = in_brackets(against.gain, against.holm_users) if against else ""
            row.append(value + gain)
            about = {"model": model, "variant": name, "metric": metric, "mean": mean, "deviation": deviation}
            table.records.append({**about, "seeds": len(found), "gain": against and against.gain})
        table.rows.append(row)
    if comparisons:
        table.notes = [
            "Mean +- standard deviation over seeds; in brackets the relative gain over base, with * p < .05, ** p < .01, "
            "*** p < .001 of the test over users after correction."
        ]
    counts = {key: len(found) for key, found in grouped(outcomes).items()}
    if any({counts[one.model, name] for name in (one.variant, one.base)} != {one.seeds} for one in comparisons):
        table.notes.append("Where numbers of seeds differ, means are over a row's own, gains over those that both rows have.")
    elif comparisons and _by_row(outcomes):
        table.notes.append(
            "Users have several test rows: means are over rows, gains and tests take the mean of each user's first."
        )
    return table


def _by_row(outcomes: Sequence[Outcome]) -> bool:
    """Whether metrics are means over test rows, and users have several: by more than rounding not those over users."""
    return any(
        abs(users[name].mean() - outcome.metrics[name]) > 10.0 ** -int(outcome.cell.options["metric_decimal_place"])
        for outcome in outcomes
        for users in [outcome.users]
        for name in users.columns.intersection(list(outcome.metrics))
    )


def comparison_table(comparisons: Sequence[Comparison], title: str = "Tests against base") -> Table:
    """P values of every comparison."""
    columns = ["model", "variant", "against", "metric", "gain", "seeds", "p seeds", "Holm", "users", "p users", "Holm"]
    records = [one.as_dict() for one in comparisons]
    rows = [
        [
            *(one.model, one.variant, one.base, one.metric, percent(one.gain)),
            *(one.seeds, one.p_seeds, one.holm_seeds, one.users, one.p_users, one.holm_users),
        ]
        for one in comparisons
    ]
    return Table(title, columns, rows, [METHOD], records)
