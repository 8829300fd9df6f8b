"""The report's first section: does alignment help, how much, how sure is that, what does it cost, where?"""

from __future__ import annotations

from collections.abc import Sequence

from recbole_rlmrec.experiments.results.stats import difference_interval, mean_and_deviation, smaller_is_better
from recbole_rlmrec.experiments.results.tables import percent, stars
from recbole_rlmrec.report.sources import Findings, Sources

LEVEL = 0.05
_NOTE = (
    "Gains are relative to base. Interval: 95% confidence interval of the gain over seeds, from the t distribution, with the "
    "base's mean taken as it is; too wide: it would begin below -100%, which is no gain that a metric can have. p: paired "
    "t-tests over users (would other users differ?) and over seeds (would another training?), Holm's correction over all "
    "rows. Helps, hurts: both are below .05; perhaps: one of them."
)


def glance_table(sources: Sources) -> dict | None:
    """One row for each comparison with base in the metric of validation; None where nothing was compared.

    Costs are of `efficiency`, the place where the gain is largest of `groups`, where these were run.
    """
    rows, columns = [], ["model", "variant", "gain", "answer", "interval", "base", "mean", "p users", "p seeds", "seeds"]
    costs, places = _costs(sources), _places(sources)
    columns += ["time per epoch"] * bool(costs) + ["gains most for"] * bool(places)
    compared = sources.of("compare")
    metrics = list(dict.fromkeys(one.metric for one in compared))
    if len(metrics) > 1:
        columns.insert(2, "metric")
    for one in compared:
        for found in one.results.get("comparisons", []):
            if found["metric"] == one.metric:
                pair = found["model"], found["variant"]
                row = [
                    *pair,
                    *[one.metric] * (len(metrics) > 1),
                    percent(found["gain"]),
                    verdict(found),
                    _interval_text(one, found),
                ]
                row += [found[name] for name in ("base_mean", "mean", "holm_users", "holm_seeds", "seeds")]
                rows.append(row + [costs.get(pair)] * bool(costs) + [places.get(pair)] * bool(places))
    title = f"{metrics[0]} at test" if len(metrics) == 1 else "At test, each in the metric of its validation"
    return {"title": title, "columns": columns, "rows": rows, "notes": [_NOTE]} if rows else None


def verdict(comparison: dict) -> str:
    """What both corrected tests say together."""
    users, seeds = (_below(comparison[name]) for name in ("holm_users", "holm_seeds"))
    more = comparison["mean"] > comparison["base_mean"]
    word = "hurts" if more == smaller_is_better(comparison["metric"]) else "helps"
    if users and seeds:
        return word
    if users and comparison["seeds"] == 1:
        return f"{word} in one training; more seeds would tell"
    if users or seeds:
        return f"perhaps {word}: over {'users' if users else 'seeds'} alone"
    return "no significant difference"


def _below(p: float | None) -> bool:
    return p is not None and p < LEVEL


def gain_interval(values: Sequence[float], base: Sequence[float]) -> tuple[float, float] | None:
    """95% confidence interval of the relative gain.

    Parameters
    ----------
    values, base : sequence of float [n]
        Pairs, one per seed.

    Returns
    -------
    (float, float) or None
        None with fewer than two pairs, without spread of their differences, or where the base's mean is 0.
    """
    interval, level = difference_interval(values, base), sum(base) / len(base)
    if interval is None or not level:
        return None
    return interval[0] / level, interval[1] / level


def _interval_text(one: Findings, comparison: dict) -> str | None:
    sides = [
        {row["seed"]: row["metrics"][one.metric] for row in one.rows if _plain(row, comparison["model"], variant)}
        for variant in (comparison["variant"], comparison["base"])
    ]
    seeds = sorted(set(sides[0]) & set(sides[1]))
    interval = gain_interval(*([side[seed] for seed in seeds] for side in sides)) if seeds else None
    if interval is None:
        return None
    return f"{percent(interval[0])} to {percent(interval[1])}" if interval[0] >= -1 else "too wide"


def _plain(row: dict, model: str, variant: str) -> bool:
    return (row["model"], row["variant"], bool(row["setting"])) == (model, variant, False)


def _costs(sources: Sources) -> dict[tuple[str, str], str]:
    """Time per epoch by model and variant, as a multiple of base's."""
    found = {}
    for one in sources.of("efficiency"):
        seconds: dict[tuple[str, str], list[float]] = {}
        for row in one.rows:
            seconds.setdefault((row["model"], row["variant"]), []).append(row["epoch_seconds"])
        means = {pair: mean_and_deviation(values)[0] for pair, values in seconds.items()}
        for (model, variant), mean in means.items():
            if variant != "base" and means.get((model, "base")):
                found[model, variant] = f"{mean / means[model, 'base']:.1f} x base"
    return found


def _places(sources: Sources) -> dict[tuple[str, str], str]:
    """The group with the largest gain by model and variant, among those with a gain that is significant over users."""
    best: dict[tuple[str, str], dict] = {}
    for one in sources.of("groups"):
        for row in one.results.get("groups", []):
            test = row["comparison"]
            if test and row["metric"] == one.metric and (test["gain"] or 0) > 0 and _below(test["holm_users"]):
                kept = best.get((row["model"], row["variant"]))
                if kept is None or test["gain"] > kept["comparison"]["gain"]:
                    best[row["model"], row["variant"]] = row
    return {pair: _place(row) for pair, row in best.items()}


def _place(row: dict) -> str:
    test, whose = row["comparison"], "users" if row["by"] == "user activity" else "items"
    return f"{whose} with {row['from']} to {row['to']} interactions, {percent(test['gain'])}{stars(test['holm_users'])}"
