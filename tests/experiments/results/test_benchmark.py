"""A benchmark page says what the stored cells say."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from launchers import QUICK, FakeLauncher, run_experiment

from recbole_rlmrec.cli import execute
from recbole_rlmrec.errors import ConfigError, quoted
from recbole_rlmrec.experiments.results.benchmark import results_table


def page(*folders, output="pages/tiny.md"):
    assert execute(["benchmark", *map(str, folders), "-o", output]) == 0
    with open(output) as file:
        return re.sub(" +", " ", file.read())


@pytest.fixture
def compared(tiny):
    run_experiment(FakeLauncher(), "compare", "--dataset", "tiny", "--output", "out", "--seeds", "3", *QUICK)


def test_page_of_a_comparison(compared, workdir):
    text = page("out")
    assert "| tiny | 24 | 30 |" in text
    assert "**Profiles:** template-lsa-" in text and "provenance recorded" in text
    lines = [line for line in text.splitlines() if line.startswith("| LightGCN")]
    assert lines[0].startswith("| LightGCN | 3 | 0.3")
    assert lines[1].startswith("| LightGCN_RLMRec (con) | 3 | **0.4") and "***)" in lines[1]
    assert "| LightGCN | defaults | not tuned | 0 |" in text
    assert str(workdir) not in text
    assert page("out") == text


def test_the_best_is_bold_also_where_less_is_better():
    cells = [
        {"model": "BPR", "variant": variant, "metrics": {"recall@5": value, "giniindex@5": value}}
        for variant, value in (("base", 0.2), ("con", 0.3))
    ]
    assert [row[2:] for row in results_table({"cells": cells}).rows] == [["0.2000", "**0.2000**"], ["**0.3000**", "0.3000"]]


def test_methods_are_called_as_they_are_run():
    variants = ("base", "softmax", "gen", "kar", "semantic", "text", "alpharec")
    cells = [{"model": "SGL", "variant": variant, "metrics": {"recall@5": 0.1}} for variant in variants]
    names = ["SGL", "SGL_RLMRec (softmax)", "SGL_RLMRec (gen)", "SGL_KAR", "SGL_Semantic", "SGL_Semantic (text)", "AlphaRec"]
    assert [row[0] for row in results_table({"cells": cells}).rows] == names


def test_over_a_base_of_nothing_there_is_no_gain():
    cells = [{"model": "BPR", "variant": name, "metrics": {"recall@5": value}} for name, value in (("base", 0.0), ("con", 0.1))]
    test = {"model": "BPR", "variant": "con", "metric": "recall@5", "gain": None, "holm_users": 0.01}
    assert [row[2] for row in results_table({"cells": cells, "comparisons": [test]}).rows] == ["0.0000", "**0.1000**"]
    test["gain"] = 0.5
    assert results_table({"cells": cells, "comparisons": [test]}).rows[1][2] == "**0.1000** (+50.0%*)"


def test_page_with_tuned_parameters(compared, workdir):
    pytest.importorskip("hyperopt")
    run_experiment(FakeLauncher(), "tune", "--dataset", "tiny", "--output", "tuned", "--trials", "2", *QUICK)
    more = ("--params", "tuned/tune/best.yaml", "--seeds", "2")
    run_experiment(FakeLauncher(), "compare", "--dataset", "tiny", "--output", "out", *more, *QUICK)
    text = page("tuned", "out")
    row = next(line for line in text.splitlines() if line.startswith("| LightGCN_RLMRec (gen) | align_temperature="))
    assert "softmax_temperature choice [0.15, 0.2]" in row and row.endswith("| 2 |")


def test_a_search_on_another_split_is_refused(compared, workdir):
    pytest.importorskip("hyperopt")
    other = "--eval_args={'split':{'RS':[0.6,0.2,0.2]}}"
    run_experiment(FakeLauncher(), "tune", "--dataset", "tiny", "--output", "tuned", "--trials", "1", *QUICK, other)
    with pytest.raises(ConfigError, match="compare and tune ran on different splits or files of tiny"):
        page("tuned", "out")


def test_what_the_page_says_of_split_and_mode_is_what_was_run(tiny, workdir):
    pytest.importorskip("hyperopt")
    run_experiment(FakeLauncher(), "tune", "--dataset", "tiny", "--output", "tuned", "--trials", "2", *QUICK)
    more = ("--resplit", "--variants", "base,kar", "--seeds", "2", "--eval_args={'mode':'uni100'}")
    run_experiment(FakeLauncher(), "compare", "--dataset", "tiny", "--output", "out", *more, *QUICK)
    text = page("tuned", "out")
    assert "a split of its own for every seed" in text and '**Evaluation method:** "uni100"' in text
    assert "| LightGCN_KAR | defaults | not tuned | 0 |" in text
    assert "| LightGCN | defaults | not tuned | 0 |" in text


def test_bad_folders(compared, workdir):
    (workdir / "empty").mkdir()
    with pytest.raises(ConfigError, match="no results of compare in empty"):
        page("empty")
    results = json.loads((workdir / "out" / "compare" / "results.json").read_text())
    (workdir / "other" / "tune").mkdir(parents=True)
    (workdir / "other" / "tune" / "results.json").write_text(json.dumps({**results, "dataset": "books"}))
    with pytest.raises(ConfigError, match="several datasets"):
        page("out", "other")


@pytest.mark.parametrize("argument", ["--seeds=5", "--val_interval={'rating':'[4,inf)'}", "it's $HOME", "a b", "!\"'", ""])
def test_commands_can_be_typed_again(argument):
    assert shlex.split(quoted(argument)) == [argument]
    assert quoted("--f=['a']") == "\"--f=['a']\""
