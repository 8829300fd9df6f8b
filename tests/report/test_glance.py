"""The report's first answer: what the tests say together, and how wide the gain is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recbole_rlmrec.experiments.results.tables import shown
from recbole_rlmrec.report.glance import gain_interval, glance_table, verdict
from recbole_rlmrec.report.sources import Findings, Sources


@pytest.mark.parametrize(
    ("users", "seeds", "mean", "said"),
    [
        (0.01, 0.02, 0.3, "helps"),
        (0.01, 0.02, 0.1, "hurts"),
        (0.01, 0.05, 0.3, "perhaps helps: over users alone"),
        (0.2, 0.01, 0.1, "perhaps hurts: over seeds alone"),
        (0.2, 0.3, 0.3, "no significant difference"),
        (0.001, None, 0.3, "helps in one training; more seeds would tell"),
        (None, 0.01, 0.3, "perhaps helps: over seeds alone"),
    ],
)
def test_verdict_needs_both_tests(users, seeds, mean, said):
    found = {"metric": "recall@20", "holm_users": users, "holm_seeds": seeds, "mean": mean, "base_mean": 0.2}
    assert verdict({**found, "seeds": 1 if seeds is None else 2}) == said


def test_seeds_that_say_nothing_are_not_too_few():
    found = {"metric": "recall@20", "holm_users": 0.001, "holm_seeds": None, "mean": 0.3, "base_mean": 0.2, "seeds": 2}
    assert verdict(found) == "perhaps helps: over users alone"


def test_less_of_some_metrics_is_better():
    tests = {"holm_users": 0.01, "holm_seeds": 0.01, "mean": 0.3, "base_mean": 0.2}
    assert verdict({**tests, "metric": "giniindex@10"}) == "hurts"


def test_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(1)
    base = rng.normal(0.2, 0.01, 5)
    values = base + rng.normal(0.01, 0.004, 5)
    expected = stats.ttest_rel(values, base).confidence_interval(0.95)
    low, high = gain_interval(values.tolist(), base.tolist())
    assert (low * base.mean(), high * base.mean()) == pytest.approx((expected.low, expected.high))
    assert gain_interval([0.3], [0.2]) is None and gain_interval([0.3, 0.4], [0.0, 0.0]) is None
    assert gain_interval([0.3, 0.4], [0.2, 0.3]) is None


def comparison(variant, gain, p, **more):
    names = {"model": "LightGCN", "variant": variant, "base": "base", "metric": "recall@20", "seeds": 2}
    return {**names, "mean": 0.2 * (1 + gain), "base_mean": 0.2, "gain": gain, "holm_users": p, "holm_seeds": p, **more}


def test_costs_and_places_of_other_experiments(tmp_path):
    def cells(seconds):
        pairs = [("base", seed) for seed in (1, 2)] + [("con", seed) for seed in (1, 2)]
        return [
            {
                **{"key": f"{variant}{seed}", "model": "LightGCN", "variant": variant, "seed": seed, "setting": {}},
                **{"metrics": {"recall@20": 0.2 + 0.02 * (variant == "con") + 0.001 * seed * (variant == "con")}},
                "epoch_seconds": seconds[variant],
            }
            for variant, seed in pairs
        ]

    group = {"model": "LightGCN", "variant": "con", "metric": "recall@20", "by": "item popularity"}
    groups = [
        {**group, "from": 1, "to": 7, "comparison": comparison("con", 0.9, 0.2)},
        {**group, "from": 8, "to": 17, "comparison": comparison("con", 0.5, 0.004)},
        {**group, "from": 18, "to": 90, "comparison": comparison("con", 0.1, 0.004)},
    ]
    settings = {"settings": {"valid_metric": "Recall@20"}, "cells": cells({"base": 1.0, "con": 2.5})}
    found = [
        Findings("compare", tmp_path, {**settings, "comparisons": [comparison("con", 0.1, 0.01)]}),
        Findings("efficiency", tmp_path, settings),
        Findings("groups", tmp_path, {**settings, "groups": groups}),
    ]
    table = glance_table(Sources("d", [tmp_path], found))
    (row,) = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert row["answer"] == "helps" and row["gain"] == "+10.0%"
    assert row["time per epoch"] == "2.5 x base"
    assert row["gains most for"] == "items with 8 to 17 interactions, +50.0%**"
    low, high = (float(part.rstrip("%")) for part in row["interval"].split(" to "))
    assert low < 10.75 < high
    alone = glance_table(Sources("d", [tmp_path], found[:1]))
    assert alone["columns"] == table["columns"][:-2]
    assert glance_table(Sources("d", [tmp_path], found[1:])) is None
    other = {**settings, "settings": {"valid_metric": "NDCG@10"}}
    for cell in (other := {**other, "cells": cells({"base": 1.0, "con": 2.5})})["cells"]:
        cell["metrics"]["ndcg@10"] = 0.9
    ndcg = {**comparison("con", 0.1, 0.01), "metric": "ndcg@10"}
    both = glance_table(Sources("d", [tmp_path], [found[0], Findings("compare", tmp_path, {**other, "comparisons": [ndcg]})]))
    assert "recall@20" not in both["title"] and [row[2] for row in both["rows"]] == ["recall@20", "ndcg@10"]
    assert both["columns"][2] == "metric" and all(len(row) == len(both["columns"]) for row in both["rows"])


@pytest.mark.parametrize(
    ("con", "said"),
    [
        ([0.21, 0.42], "too wide"),
        ([0.30, 0.3], "-"),
        ([0.22, 0.23], "-19.3% to +44.3%"),
    ],
)
def test_intervals_that_no_metric_can_have_are_not_printed(con, said, tmp_path):
    """With two seeds t is 12.706; differences of .02 and .03 from .2: .125 -+ 12.706 * .0071 / sqrt(2) / .2."""
    rows = [
        {
            **{"key": f"{variant}{seed}", "model": "M", "variant": variant, "seed": seed, "setting": {}},
            "metrics": {"recall@20": value},
        }
        for variant, values in (("base", [0.2, 0.2]), ("con", con))
        for seed, value in enumerate(values)
    ]
    tests = [{**comparison("con", sum(con) / 0.4 - 1, 0.5), "model": "M"}]
    table = glance_table(Sources("d", [tmp_path], [Findings("compare", tmp_path, {"cells": rows, "comparisons": tests})]))
    assert shown(table["rows"][0][table["columns"].index("interval")]) == said


def test_a_cell_that_two_models_share_is_a_row_of_each(tmp_path):
    shared = {"key": "a", "variant": "alpharec", "seed": 0, "setting": {}, "metrics": {"recall@20": 0.2}}
    rows = [{**shared, "model": "LightGCN"}, {**shared, "model": "SGL"}, {**shared, "model": "SGL"}]
    models, names, values = Findings("compare", tmp_path, {"cells": rows}).values("recall@20")
    assert (models, names) == (["LightGCN", "SGL"], ["alpharec"])
    assert values == {("LightGCN", "alpharec"): [0.2], ("SGL", "alpharec"): [0.2]}
