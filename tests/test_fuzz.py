"""Files that are damaged in ways that nobody thought of: a sentence or an accepted file, never a traceback, a hang or code."""

from __future__ import annotations

import json
import os
import random
import signal
import sys

import numpy as np
import pytest
from fuzzing import World
from hypothesis import HealthCheck, given, seed, settings, strategies as st
from mutations import MARKER, ODD, mutate

from recbole_rlmrec import cli
from recbole_rlmrec.data.reading import NUMBER, misshapen, parse_json, parse_yaml, read_npy

CASES = 150


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    before, argv = os.getcwd(), sys.argv
    try:
        yield World(tmp_path_factory.mktemp("fuzz"))
    finally:
        os.chdir(before)
        sys.argv = argv


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="hangs are found by SIGALRM")
def test_no_file_ends_in_a_traceback_a_hang_or_code(world):
    names = sorted(world.targets)

    @seed(2024)
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)
    @given(target=st.sampled_from(names), numbers=st.randoms(use_true_random=False))
    def attempt(target, numbers):
        os.chdir(world.root)
        case = world.attempt(target, numbers)
        assert case.fault is None, f"{case.target}: {case.how}: {case.fault}"

    attempt()


WRONG = {
    "metrics": 3,
    "unused_col": [1],
    "threshold": "rating",
    "preload_weight": ["x"],
    "NEG_PREFIX": 7,
    "metric_decimal_place": "four",
    "state": ["INFO"],
    "checkpoint_dir": 5,
    "semantic_path": {"a": 1},
    "additional_feat_suffix": 2.5,
    "topk": [[5]],
    "epochs": "many",
    "data_path": [],
    "load_col": {"inter": 3},
    "val_interval": ["rating"],
    "learner": {},
    "train_neg_sample_args": 3,
    "eval_args": "RO",
    "seed": -1,
}


@pytest.mark.parametrize("option", WRONG)
def test_an_option_of_the_wrong_type_is_told_by_its_name(tiny, workdir, capsys, option):
    (workdir / "run.yaml").write_text(json.dumps({**tiny, option: WRONG[option]}))
    assert cli.main(["run", "--model=BPR", "--dataset=tiny", "--config_files=run.yaml"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"recbole-rlmrec: {option} is ") and "set it to" in said


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{f'*{old}, ' * 30}]\n" for old, new in zip("abcdefg", "bcdefgh")),
        "a: &a [*a]",
        "a: !!python/object/apply:os.system ['touch " + MARKER + "']",
        "a: !!python/name:os.system",
        "a: " + "[" * 50_000,
        "a: 2024-13-45",
        "a: [",
    ],
)
def test_yaml_that_asks_for_too_much_is_refused_at_once(workdir, text):
    from recbole.config import Config

    for loader in (None, Config._build_yaml_loader(None)):
        with pytest.raises(ValueError):
            parse_yaml(text, loader)
    assert not (workdir / MARKER).exists()
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_json_that_is_nested_too_deeply_is_a_value_error():
    with pytest.raises(ValueError, match="nested"):
        parse_json("[" * 100_000 + "]" * 100_000)


def test_arrays_are_read_by_what_is_there(tmp_path):
    path = tmp_path / "a.npy"
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(path, array)
    assert (read_npy(path) == array).all() and (read_npy(path, "r") == array).all()
    whole = path.read_bytes()
    numbers = random.Random(5)
    for _ in range(300):
        path.write_bytes(mutate("a.npy", whole, numbers)[1])
        try:
            found = read_npy(path)
        except ValueError:
            continue
        assert found.dtype.kind in "?biuf" and found.nbytes <= path.stat().st_size


def test_shapes():
    shape = {"name": str, "count?": int, "metrics": {str: NUMBER}, "rows": [{"n": int}]}
    good = {"name": "a", "metrics": {"recall": 0.1, "hit": 1}, "rows": [{"n": 1, "more": None}], "count": None}
    assert misshapen(good, shape) is None and misshapen({**good, "count": 2}, shape) is None
    assert misshapen({**good, "rows": [{"n": 1}, {"n": True}]}, shape) == "rows[1].n is True"
    assert misshapen({**good, "metrics": {"recall": float("nan")}}, shape) == "metrics.recall is nan"
    assert misshapen({**good, "count": "2"}, shape) == "count is '2'"
    assert misshapen({"name": "a"}, shape) == "it has no 'metrics'"
    assert all(misshapen(odd, shape) for odd in ODD)
