"""The table of results says where its means and its gains are of different things."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from recbole_rlmrec.experiments.results.comparison import compare_all, main_table


def outcome(name: str, seed: int, rows: dict[str, list[float]]):
    """A finished cell whose users have test rows; its metric is the mean over rows, as RecBole's is."""
    every = [value for values in rows.values() for value in values]
    users = pd.DataFrame({"hit@1": {user: sum(values) / len(values) for user, values in rows.items()}})
    cell = SimpleNamespace(model="SASRec", name=name, seed=seed, options={"metric_decimal_place": 6})
    return SimpleNamespace(cell=cell, metrics={"hit@1": round(sum(every) / len(every), 6)}, users=users)


@pytest.mark.parametrize("several", [False, True])
def test_a_table_says_where_users_count_once_and_rows_do_not(several):
    ours, base = {"a": [0.9], "b": [0.4], "c": [1 / 3]}, {"a": [0.3], "b": [0.5], "c": [2 / 3]}
    if several:
        ours["b"], base["b"] = 7 * ours["b"], 7 * base["b"]
    outcomes = [outcome(name, seed, rows) for name, rows in (("base", base), ("con", ours)) for seed in (1, 2)]
    table = main_table(outcomes, compare_all(outcomes))
    assert any("Users have several test rows" in note for note in table.notes) == several
    gain = (0.9 + 0.4 + 1 / 3) / (0.3 + 0.5 + 2 / 3) - 1
    assert table.records[1]["gain"] == pytest.approx(gain)
