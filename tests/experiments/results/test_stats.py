"""Paired tests and corrections against known values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from recbole_rlmrec.experiments.results.stats import (
    compare_tables,
    difference_interval,
    holm,
    mean_and_deviation,
    paired_test,
    relative_gain,
)
from recbole_rlmrec.experiments.results.tables import Table, percent, shown, stars, with_deviation


def t_p_value(values, base, shift=0.0):
    """Oracle: the two-sided p value of the hypothesis that the mean difference is ``shift``, by quadrature.

    With t = sqrt(v) tan(a), the density of Student's t with v degrees of freedom is that of cos(a)^(v - 1) over (-pi/2, pi/2).
    """
    difference = np.array(values, dtype=np.float64) - np.array(base, dtype=np.float64) - shift
    freedom = len(difference) - 1
    error = np.sqrt(((difference - difference.mean()) ** 2).sum() / freedom / len(difference))
    angle = np.arctan2(abs(difference.mean()) / error, np.sqrt(freedom))
    points, weights = np.polynomial.legendre.leggauss(200)

    def mass(start):
        half = (np.pi / 2 - start) / 2
        return half * (weights * np.cos(start + half * (points + 1)) ** (freedom - 1)).sum()

    return mass(angle) / mass(0.0)


@pytest.mark.parametrize("count", [2, 3, 5, 20, 400])
@pytest.mark.parametrize("gain", [0.0, 0.01, 0.2])
def test_paired_test_and_interval_are_those_of_the_t_distribution(count, gain):
    rng = np.random.default_rng([count, int(1000 * gain)])
    base = rng.uniform(0.1, 0.5, count)
    values = base + rng.normal(gain, 0.05, count)
    expected = t_p_value(values, base)
    assert paired_test(values, base) == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert paired_test(base, values) == pytest.approx(paired_test(values, base), rel=1e-12)
    for level in (0.95, 0.5):
        low, high = difference_interval(values, base, level)
        assert low < np.mean(values - base) < high
        for bound in (low, high):
            assert t_p_value(values, base, bound) == pytest.approx(1 - level, rel=1e-9)


def test_the_formula_by_hand_gives_the_same_p():
    rng = np.random.default_rng(7)
    for _ in range(50):
        count = int(rng.integers(2, 300))
        base = rng.uniform(0, 1, count)
        values = np.clip(base + rng.normal(0.02, 0.1, count), 0, 1)
        difference = values - base
        statistic = difference.mean() / (difference.std(ddof=1) / np.sqrt(count))
        assert paired_test(values, base) == pytest.approx(2 * t.sf(abs(statistic), count - 1), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "base"),
    [
        ([], []),
        ([1], [2]),
        ([2, 3], [1, 2]),
        ([0.3, 0.4], [0.2, 0.3]),
        ([0.2345, 0.2401, 0.31], [0.2301, 0.2357, 0.3056]),
        (np.float32([0.3, 0.4]), np.float32([0.2, 0.3])),
        ([float("nan"), 0.2], [0.1, 0.1]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_where_a_test_says_nothing_there_are_no_stars(values, base):
    assert paired_test(values, base) is None and difference_interval(values, base) is None
    assert stars(paired_test(values, base)) == ""


def test_equal_pairs_count_as_tested():
    assert paired_test([1, 2], [1, 2]) == 1.0 and difference_interval([1, 2], [1, 2]) is None


def test_small_differences_with_a_spread_are_tested():
    assert paired_test([0.20001, 0.30002], [0.2, 0.3]) == pytest.approx(t_p_value([0.20001, 0.30002], [0.2, 0.3]))


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_two_seeds_that_differ_alike_have_no_p_over_seeds(spread):
    users = pd.Index([f"u{n}" for n in range(4)], name="user")
    hits = np.array([0.0, 0.25, 0.5, 0.75])
    base = {seed: pd.DataFrame({"recall@5": hits}, index=users).astype(np.float32) for seed in (1, 2)}
    more = np.array([0.1, 0.2, 0.0, 0.1])
    mine = {seed: pd.DataFrame({"recall@5": hits + more + spread * seed}, index=users).astype(np.float32) for seed in (1, 2)}
    (found,) = compare_tables(mine, base, ["recall@5"], "BPR", "con", "base")
    assert (found.p_seeds is None) == (spread == 0)
    assert found.p_users == pytest.approx(t_p_value(hits + more + 1.5 * spread, hits), rel=1e-5)


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
    assert table.markdown() == (
        "### T\n\n| a    | b      |\n|------|--------|\n| x\\|y | 0.2500 |\n| -    | 3      |\n\nA note.\n"
    )
    assert table.csv() == "a,b\nx|y,0.25\n,3\n"
    assert table.text() == "T\n\na    b\n---  ------\nx|y  0.2500\n-    3\n\nA note.\n"


@pytest.mark.parametrize("value", ["a\nb", "\x1b[2J", "\x01", "\r\n", "\u2028", "", "007", "1e5", "nan", "# x", "---"])
def test_a_cell_is_one_cell_and_stays_as_it_is(value):
    table = Table("T", ["first", "second"], [[value, "z"], ["y", value]])
    kept = "".join(c if c.isprintable() else " " for c in value).strip()
    lines = table.markdown().splitlines()
    assert len(lines) == 6 and len({line.count("|") for line in lines[2:]}) == 1
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]] == [[kept, "z"], ["y", kept]]
    assert len(table.text().splitlines()) == 6 and not set(table.text()) & set("\x1b\x01\r\u2028")


def test_a_table_without_rows_has_its_head():
    assert "| a   | b   |" in Table("T", ["a", "b"]).markdown() and "a    b" in Table("T", ["a", "b"]).text()
