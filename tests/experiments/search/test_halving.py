"""Successive halving gives epochs to the trials that earn them, and no other trial is cut."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from launchers import QUICK, FakeLauncher, run_experiment, write_result

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.search.halving import rungs

pytest.importorskip("hyperopt")
SPACE = "base: {choice: {n_layers: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\ncon: {choice: {align_weight: [0.1, 0.2]}}\n"


class Graded(FakeLauncher):
    """The validation score grows with the number of layers and with epochs; 4 layers fail."""

    def __call__(self, folder, argv):
        settings = json.loads((folder / "cell.yaml").read_text())
        if settings.get("n_layers") == 4:
            return super().__call__(folder, argv)
        self.started.append((settings.get("n_layers"), settings["epochs"]))
        write_result(folder, settings)
        result = json.loads((folder / "result.json").read_text())
        result["best_valid_score"] = 0.01 * settings.get("n_layers", 1) + 1e-5 * settings["epochs"]
        (folder / "result.json").write_text(json.dumps(result))
        return 0


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        (16, 300, [(16, 33), (6, 100), (2, 300)]),
        (9, 90, [(9, 10), (3, 30), (1, 90)]),
        (1, 300, [(1, 300)]),
        (27, 5, [(27, 5)]),
        (3, 1, [(3, 1)]),
    ],
)
def test_rungs(trials, epochs, expected):
    assert rungs(trials, epochs) == expected


def test_the_best_get_all_epochs(tiny, workdir):
    (workdir / "space.yaml").write_text(SPACE)
    launcher = Graded(jobs=2, fails=lambda settings: settings.get("n_layers") == 4)
    arguments = ["tune", "--dataset", "tiny", "--output", "out", "--models", "LightGCN", "--variants", "base,con", "--prune"]
    arguments += ["--trials", "9", "--space", "space.yaml", *QUICK, "--epochs=90"]
    arguments.remove("--epochs=2")
    assert run_experiment(launcher, *arguments) == 1  # a cell failed
    layers = [pair for pair in launcher.started if pair[1] != "none" and pair[0] is not None]
    assert sorted(n for n, epochs in layers if epochs == 30) == [7, 8, 9] and (9, 90) in layers
    best = yaml.safe_load((workdir / "out" / "tune" / "best.yaml").read_text())["LightGCN"]
    assert best["base"] == {"n_layers": 9} and set(best["con"]) == {"align_weight"}
    results = json.loads((workdir / "out" / "tune" / "results.json").read_text())
    assert sorted(trial["epochs"] for trial in results["searches"][0]["trials"]) == [10] * 6 + [30] * 2 + [90]
    before = len(launcher.started)
    run_experiment(launcher, *arguments)
    assert [one for one in launcher.started[before:] if one[0] != "none"] == []  # what is there is kept


def test_only_random_points_are_pruned(tiny, workdir):
    arguments = ("tune", "--dataset", "tiny", "--output", "out", "--models", "LightGCN", "--prune", "--algorithm", "bayes")
    with pytest.raises(ConfigError, match="--prune draws its points at random"):
        run_experiment(FakeLauncher(), *arguments, *QUICK)


def test_a_range_of_fewer_points_than_trials_ends(tiny, workdir):
    (workdir / "space.yaml").write_text("base: {quniform: {n_layers: [1, 3, 1]}}\n")
    launcher = Graded()
    arguments = ["tune", "--dataset", "tiny", "--output", "out", "--models", "LightGCN", "--variants", "base", "--prune"]
    assert run_experiment(launcher, *arguments, "--trials", "9", "--space", "space.yaml", *QUICK) == 0
    assert sorted(layers for layers, _ in launcher.started) == [1, 2, 3]


class Slow(FakeLauncher):
    """Takes its time, and notices when somebody else uses its folder."""

    def __call__(self, folder, argv):
        time.sleep(0.3)
        settings = json.loads((folder / "cell.yaml").read_text())
        self.started.append(folder.name)
        write_result(folder, {**settings, "alignment": "none"})
        return 0


def test_searches_of_several_backbones_share_the_cells_of_a_recommender_without_one(tiny, workdir):
    launcher = Slow(jobs=2)
    arguments = ["tune", "--dataset", "tiny", "--output", "out", "--models", "LightGCN,SGL", "--variants", "alpharec"]
    assert run_experiment(launcher, *arguments, "--trials", "2", *QUICK) == 0
    assert len(launcher.started) == len(set(launcher.started)) == 2


@pytest.mark.parametrize(
    ("file", "content", "near"),
    [
        ("--space", "base: {choice: {n_layerz: [1, 2]}}", "n_layers"),
        ("--params", "LightGCN: {base: {learning_rat: 0.5}}", "learning_rate"),
        ("--config_files", "weight_decai: 0.1", "weight_decay"),
    ],
)
def test_a_misspelt_option_in_a_file_is_refused(tiny, workdir, file, content, near):
    (workdir / "file.yaml").write_text(content)
    name = "compare" if file == "--params" else "tune"
    with pytest.raises(ConfigError, match=f"nobody reads; did you mean .*{near}"):
        run_experiment(FakeLauncher(), name, "--dataset", "tiny", "--output", "out", "--variants", "base", f"{file}=file.yaml")


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        (
            "base: {choice: {semantic_tag: [a, b]}}",
            (),
            "semantic_tag, which is one for all cells: say --semantic_tag=NAME",
        ),
        ("base: {choice: {seed: [1, 2]}}", (), "has seed, which an experiment sets for each of its runs; say --seeds"),
        ("base: {choice: {epochs: [2, 3]}}", ("--prune",), "--prune sets the epochs of each trial"),
        ("base: {choice: {n_layers: [1, 2]}}", ("--epochs=0",), "set --epochs to 1 or more"),
        (
            "base: {loguniform: {reg_weight: [0.001, 0.1]}}",
            (),
            r"logarithms, .* write \[-6.908, -2.303\] for 0.001 to 0.1",
        ),
    ],
)
def test_what_a_space_cannot_search_is_refused(tiny, workdir, space, more, said):
    (workdir / "space.yaml").write_text(space)
    quick = [word for word in QUICK if not (more and word.startswith("--epochs") and "epochs" in more[0])]
    words = ("--dataset", "tiny", "--output", "out", "--models", "LightGCN", "--variants", "base", "--space", "space.yaml")
    with pytest.raises(ConfigError, match=said):
        run_experiment(FakeLauncher(), "tune", *words, *more, *quick)


@pytest.mark.parametrize("key", ["seed", "semantic_encoder"])
def test_params_leave_to_the_experiment_what_it_sets(tiny, workdir, key):
    (workdir / "params.yaml").write_text(f"LightGCN: {{base: {{{key}: 5}}}}")
    with pytest.raises(ConfigError, match=f"{key}, which"):
        run_experiment(FakeLauncher(), "compare", "--dataset", "tiny", "--output", "out", "--params=params.yaml", *QUICK)


@pytest.mark.parametrize("prune", [(), ("--prune",)])
def test_what_is_found_holds_what_was_given_to_every_trial(tiny, workdir, prune):
    (workdir / "params.yaml").write_text("LightGCN: {base: {reg_weight: 0.5, n_layers: 9}}")
    (workdir / "space.yaml").write_text("base: {quniform: {n_layers: [1, 3, 1]}}")
    words = ["tune", "--dataset", "tiny", "--output", "out", "--models", "LightGCN", "--variants", "base", "--trials", "3"]
    assert run_experiment(Graded(), *words, "--params=params.yaml", "--space=space.yaml", *prune, *QUICK) == 0
    (best,) = yaml.safe_load((workdir / "out" / "tune" / "best.yaml").read_text())["LightGCN"].values()
    assert best["reg_weight"] == 0.5 and best["n_layers"] in (1, 2, 3) and type(best["n_layers"]) is int
