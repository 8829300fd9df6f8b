"""Paired tests and corrections against known values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from recbole_rlmrec.experiments.results.stats import holm, mean_and_deviation, paired_test, relative_gain
from recbole_rlmrec.experiments.results.tables import Table, percent, shown, stars, with_deviation


def test_paired_test_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=20), rng.normal(size=20) + 0.3
    assert paired_test(a, b) == pytest.approx(ttest_rel(a, b).pvalue)


@pytest.mark.parametrize(("a", "b", "expected"), [([1, 2], [1, 2], 1.0), ([2, 3], [1, 2], 0.0), ([1], [2], None)])
def test_paired_test_without_spread(a, b, expected):
    assert paired_test(a, b) == expected


def test_holm_by_hand():
    assert holm([0.01, 0.04, None, 0.03]) == [0.03, 0.06, None, 0.06]
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_small_things():
    assert mean_and_deviation([1.0]) == (1.0, None)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert relative_gain(1.1, 1.0) == pytest.approx(0.1)
    assert relative_gain(1.0, 0.0) is None
    assert percent(0.061) == "+6.1%" and percent(None) is None
    assert [stars(p) for p in (None, 0.05, 0.04, 0.009, 0.0001)] == ["", "", "*", "**", "***"]
    assert with_deviation(0.5, None) == "0.5000" and with_deviation(0.5, 0.01) == "0.5000 +- 0.0100"
    assert shown(3e-7) == "3e-07" and shown(0.0) == "0.0000"


def test_a_table_in_every_form():
    table = Table("T", ["a", "b"], [["x|y", 0.25], [None, 3]], ["A note."])
    assert table.markdown() == "### T\n\n| a | b |\n| --- | --- |\n| x\\|y | 0.2500 |\n| - | 3 |\n\nA note.\n"
    assert table.csv() == "a,b\nx|y,0.25\n,3\n"
    assert "A note." in table.text() and "x|y  0.2500" in table.text()
