"""Every experiment from the command line to its tables."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from launchers import QUICK, SMALL, FakeLauncher, run_experiment

from recbole_rlmrec.cli import main
from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.data.files import write_json
from recbole_rlmrec.data.properties import PROPERTIES
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError, DataError, LeakageError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.experiments.cells.data import Data, changed, frozen_data, not_shown
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.experiments.groups import bounds
from recbole_rlmrec.experiments.pretrain import random_split
from recbole_rlmrec.experiments.search.space import search_space, space_size
from recbole_rlmrec.model.adapters import ADAPTERS, get_adapter
from recbole_rlmrec.model.alignment import ALIGNMENTS, alignment_options
from recbole_rlmrec.runs.frozen import freeze_split

ONE = ("--epochs=1", "--eval_step=1", *SMALL)


def study(launcher, name, *more, seeds="1", options=QUICK):
    status = run_experiment(launcher, name, "--dataset", "tiny", "--output", "out", "--seeds", seeds, *more, *options)
    assert status == 0
    with open(f"out/{name}/results.json") as file:
        return json.load(file)


def rows_of(workdir, root):
    return read_atomic(root / "tiny-split" / "tiny-split.train.inter").table


def test_ablation_end_to_end(tiny, workdir, here, capsys):
    kinds = ("shuffled", "users only")
    results = study(here, "ablation", "--variants", "con", "--kinds", ",".join([*kinds, "alone"]), options=ONE)
    names = [(cell["model"], cell["variant"], cell["setting"].get("profiles")) for cell in results["cells"]]
    assert names == [
        ("LightGCN", "base", None),
        ("LightGCN", "con", None),
        *(("LightGCN", "con", kind) for kind in kinds),
        ("profiles alone", "cosine", "as they are"),
    ]
    assert len({cell["key"] for cell in results["cells"]}) == len(names)
    assert {one["variant"] for one in results["comparisons_with_full"]} == {f"con, {kind}" for kind in kinds}
    coverage = {cell["setting"].get("profiles"): cell["folder"] for cell in results["cells"]}
    users_only = json.loads((workdir / "out" / coverage["users only"] / "result.json").read_text())
    assert users_only["run"]["profiles"]["coverage"]["items"][0] == 0
    assert users_only["run"]["profiles"]["coverage"]["users"][0] > 0
    assert "profiles alone" in capsys.readouterr().out


def tag_with_reasoning(folder, word="Because", **told):
    """Options of an ablation by reasoning, for a tag in whose embeddings' manifest more may be told."""
    words = ("quiet drama", "loud comedy", "old western")
    with open(folder / "profiles.jsonl", "w") as file:
        for side, count in (("user", 24), ("item", 30)):
            for n in range(count):
                row = {f"{side}_id": f"{side[0]}{n}", "profile": f"A {words[n % 3]} for {n % 7} people.", "pairs": []}
                file.write(json.dumps({**row, "reasoning": f"{word} of number {n % 5}."}) + "\n")
    root = folder / "dataset" / "tiny" / "semantic"
    import_profiles(folder / "profiles.jsonl", root, "tiny", "mine")
    made = encode_tag(root / "mine", "lsa", dim=7, dtype="float16", show_progress=False)
    write_json(made / "manifest.json", {**json.loads((made / "manifest.json").read_text()), **told})
    return "--kinds", "reasoning", "--variants", "con", "--semantic_tag=mine"


def test_other_reasoning_makes_other_cells(tiny, workdir, fake):
    for word, more in (("Because", 3), ("Because", 0), ("In view", 1)):
        before = len(fake.started)
        study(fake, "ablation", *tag_with_reasoning(workdir, word))
        assert len(fake.started) == before + more, word


def test_profiles_that_were_written_anew_make_other_cells(tiny, workdir, fake):
    def compare(word, tag="mine"):
        before = len(fake.started)
        lines = [{"user_id": f"u{n}", "profile": f"A {word} {n % 7}.", "pairs": []} for n in range(24)]
        lines += [{"item_id": f"i{n}", "profile": f"Some {word} {n % 5}.", "pairs": []} for n in range(30)]
        (workdir / "new.jsonl").write_text("\n".join(map(json.dumps, lines)))
        root = workdir / "dataset" / "tiny" / "semantic"
        import_profiles(workdir / "new.jsonl", root, "tiny", tag)
        encode_tag(root / tag, "lsa", show_progress=False)
        results = study(fake, "compare", "--variants", "base,con", f"--semantic_tag={tag}")
        copy = workdir / "out/data/tiny-split/semantic" / tag
        assert word in (copy / "users.jsonl").read_text()
        assert json.loads((copy / "manifest.json").read_text())["dataset"] == "tiny-split"
        return len(fake.started) - before, [cell["key"] for cell in results["cells"] if cell["variant"] == "con"]

    ran, first = compare("sailor")
    assert ran == 2 and compare("sailor") == (0, first)
    ran, second = compare("baker")
    assert ran == 1 and second != first
    assert compare("sailor")[0] == 0  # as before, so its cell is there
    assert compare("smith", "later")[0] == 1  # a tag that came after the split


def test_reasoning_is_encoded_as_the_profiles_were(tiny, workdir, fake):
    study(fake, "ablation", *tag_with_reasoning(workdir))
    (made,) = (workdir / "out" / "profiles").glob("*/semantic/mine--reasoning-*/embeddings/lsa/manifest.json")
    manifest = json.loads(made.read_text())
    assert (manifest["dim"], manifest["max_dim"], manifest["dtype"]) == (7, 7, "float16")


@pytest.mark.parametrize("told", [{"encoder": "openai:bge-m3", "server": "localhost:8000"}, {"fingerprint": None}])
def test_nothing_is_encoded_elsewhere_without_being_asked(tiny, workdir, fake, told, caplog):
    results = study(fake, "ablation", *tag_with_reasoning(workdir, **told))
    assert [cell["variant"] for cell in results["cells"]] == ["base", "con"]
    assert "The row with reasoning is left out" in caplog.text


def test_changed_embeddings(tiny, workdir, fake):
    study(fake, "ablation", "--variants", "con", seeds="2")
    (original,) = (workdir / "out" / "data" / "tiny-split" / "semantic").glob("template-*/embeddings/lsa")
    first = read_embeddings(original, "tiny-split")
    found = (workdir / "out" / "profiles" / "tiny-split" / "semantic").iterdir()
    tags = {path.name.split("--")[1].rpartition("-")[0]: path for path in found}
    assert sorted(tags) == [
        *("constant", "items-only", "random-2020", "random-2021"),
        *("shuffled-2020", "shuffled-2021", "users-only"),
    ]
    made = {name: read_embeddings(path / "embeddings" / "lsa", "tiny-split").matrices for name, path in tags.items()}
    shuffled, again = made["shuffled-2020"]["item"], made["shuffled-2021"]["item"]
    assert not np.array_equal(shuffled, first.matrices["item"]) and not np.array_equal(shuffled, again)
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(first.matrices["item"], axis=0))
    assert np.ptp(made["constant"]["user"], axis=0).max() == 0
    assert list(made["users-only"]) == ["user"] and list(made["items-only"]) == ["item"]
    assert np.linalg.norm(made["random-2020"]["user"], axis=1) == pytest.approx(1, abs=0.01)


def test_noise(tiny, workdir, fake):
    results = study(fake, "noise", "--levels", "10,25", "--variants", "base,con", seeds="2")
    assert results["levels"] == [0, 10, 25]
    assert len(results["cells"]) == 2 * 3 * 2
    clean = rows_of(workdir, workdir / "out" / "data")
    ten, more = (rows_of(workdir, workdir / "out" / "data" / f"tiny-split-noise-{n}-2020") for n in (10, 25))
    assert len(ten) == round(1.1 * len(clean)) and len(more) == round(1.25 * len(clean))
    assert ten.equals(more.iloc[: len(ten)][ten.columns].assign(rating=ten.rating, timestamp=ten.timestamp))
    real = pd.concat(
        read_atomic(workdir / "out/data/tiny-split" / f"tiny-split.{part}.inter").table for part in ("train", "valid", "test")
    )
    fake_pairs = set(zip(more.user_id[len(clean) :], more.item_id[len(clean) :]))
    assert len(fake_pairs) == len(more) - len(clean)
    assert not fake_pairs & set(zip(real.user_id, real.item_id))
    cells = [json.loads((workdir / "out" / c["folder"] / "cell.json").read_text()) for c in results["cells"]]
    assert len({cell["options"]["semantic_tag"] for cell in cells if cell["variant"] == "con"}) == 1
    assert results["tables"][0]["columns"] == ["model", "variant", "0%", "10%", "25%"]


@pytest.mark.parametrize("touched", ["train.inter", "item"])
def test_a_copy_of_data_that_have_changed_since_is_not_used(tiny, workdir, touched):
    freeze_split("tiny", "cut", workdir / "data", {})
    data, root = frozen_data(workdir / "data" / "cut"), workdir / "copy"
    assert changed(data, root, {}).digest == changed(data, root, {}).digest
    path = data.root / "cut" / f"cut.{touched}"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(ConfigError, match="a copy of cut with other interactions or texts than it has now"):
        changed(data, root, {})
    assert (root / "cut" / path.name).read_text().splitlines() == "".join(lines).splitlines()
    assert [path.name for path in root.iterdir()] == ["cut"]


def test_files_of_features_and_of_a_graph_tell_cells_apart(tiny, workdir):
    folder = workdir / "dataset/tiny"
    data, options = Data("tiny", folder.parent, folder.parent, {}, "0"), {"additional_feat_suffix": ["itememb"]}
    assert data.features(options) == {}
    seen = []
    for name, text in (("tiny.itememb", "a"), ("tiny.itememb", "b"), ("tiny.kg", "c"), ("tiny.useremb", "not read")):
        (folder / name).write_text(text)
        seen.append((data.features(options)["features"], (data.features({}) or {}).get("features")))
    assert len({both for both, _ in seen}) == 3 and seen[2] == seen[3]
    assert [graph is None for _, graph in seen] == [True, True, False, False]


def test_pretrain_end_to_end(tiny, workdir, here):
    results = study(here, "pretrain", "--variants", "base,con", options=ONE)
    starts = [cell["setting"]["start"] for cell in results["cells"]]
    assert starts == ["no pretraining", "from base", "from con"]
    settings = json.loads((workdir / "out" / results["cells"][2]["folder"] / "result.json").read_text())["settings"]
    early, late = (rows_of(workdir, workdir / "out" / "data" / f"tiny-split-{part}-0.5-2020") for part in ("early", "late"))
    assert early.timestamp.astype(int).max() < late.timestamp.astype(int).min()
    assert settings["initial_embeddings"].startswith(str(workdir / "out" / "initial"))
    assert len({round(cell["metrics"]["ndcg@10"], 6) for cell in results["cells"]}) > 1
    models = {}
    for path in (workdir / "out" / "cells").glob("*/model.pth"):
        about = json.loads((path.parent / "cell.json").read_text())
        models[about["variant"]] = path if about["setting"] == {"part": "early"} else models.get(about["variant"])
    shutil.copyfile(models["base"], models["con"])  # as if con's had been trained anew
    again = study(here, "pretrain", "--variants", "base,con", options=ONE)["cells"]
    assert again[1]["key"] == results["cells"][1]["key"] == again[2]["key"] != results["cells"][2]["key"]


def test_pretrain_needs_times_and_both_parts(tiny, workdir, fake):
    with pytest.raises(DataError, match="no column 'when' of times"):
        study(fake, "pretrain", options=(*ONE, "--TIME_FIELD=when"))
    with pytest.raises(ConfigError, match="leave out --resplit"):
        run_experiment(fake, "pretrain", "--dataset", "tiny", "--output", "more", "--resplit", *QUICK)
    with pytest.raises(DataError, match="the early part of tiny-split has no interaction for train and valid and test"):
        run_experiment(fake, "pretrain", "--dataset", "tiny", "--output", "new", "--early", "0.001", *QUICK)


def test_what_the_early_part_has_shown_is_not_asked_for_later():
    pairs = {"user": list("aabba"), "item": list("xyxyx"), "n": range(5)}
    rows = pd.DataFrame(pairs)
    assert not_shown(rows.iloc[3:], rows.iloc[:3], ("user", "item"))["n"].tolist() == [3]


def test_random_split_leaves_everyone_something_to_learn_from():
    rows = pd.DataFrame({"user": list("aaaaaaaaaaaabbbbbbcd"), "n": range(20)})
    parts = random_split(rows, "user", (0.6, 0.2), 1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 12, "valid": 4, "test": 4}
    assert set(parts["train"].user) == set("abcd")
    assert sorted(pd.concat(parts.values()).n) == list(range(20))


def test_efficiency(tiny, fake, monkeypatch):
    results = study(fake, "efficiency")
    assert [row[1] for row in results["tables"][0]["rows"]] == ["base", "con", "gen"]
    assert "(1.00x)" in results["tables"][0]["rows"][1][3]
    with pytest.raises(ConfigError, match="--jobs"):
        study(FakeLauncher(jobs=2), "efficiency")
    before = len(fake.started)
    study(fake, "efficiency")
    assert len(fake.started) == before
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "77")
        study(fake, "efficiency")  # another speed: none of these cells is used again
    assert len(fake.started) == 2 * before
    rows = list(csv.DictReader(Path("out/efficiency/table-1.csv").open()))
    assert float(rows[1]["s/epoch"]) == 0.1 and float(rows[1]["x base"]) == 1.0


def test_without_validation_the_last_epoch_is_the_best(tiny, workdir, here):
    study(here, "efficiency", "--variants", "base", options=("--epochs=2", "--eval_step=0", *SMALL))
    row = next(csv.DictReader(Path("out/efficiency/table-1.csv").open()))
    assert (float(row["epochs"]), float(row["best epoch"])) == (2, 2) and float(row["s to best epoch"]) > 0
    assert main(["report", "out", "-o", "page.html"]) == 0


def test_groups_use_the_cells_of_compare(tiny, workdir, here):
    study(here, "compare", "--variants", "base,con", options=ONE)
    ran = len(here.started)
    results = study(here, "groups", "--variants", "base,con", "--groups", "2", options=ONE)
    assert len(here.started) == ran
    activity, popularity = results["tables"]
    assert [row[2] for row in activity["rows"]] == ["recall@10", "ndcg@10"] * 2
    assert [row[2] for row in popularity["rows"]] == ["recall@10"] * 2
    assert len(activity["columns"]) == 5
    assert all(0 <= value <= 1 for row in results["groups"] for value in row["values"])
    assert {(row["by"], row["from"]) for row in results["groups"]} >= {("user activity", results["groups"][0]["from"])}


def test_recall_by_popularity_adds_up(tiny, workdir, here):
    from recbole_rlmrec.experiments.cells.cell import Cell, Outcome
    from recbole_rlmrec.experiments.cells.data import frozen_data
    from recbole_rlmrec.experiments.groups import recall_of

    (cell,) = study(here, "compare", "--variants", "base", options=ONE)["cells"]
    outcome = Outcome(Cell("LightGCN", "base", 2020, "LightGCN_RLMRec", "tiny-split", {}), workdir / "out" / cell["folder"])
    test = frozen_data(workdir / "out" / "data" / "tiny-split").pairs("test")
    recall = recall_of(outcome, test)
    assert list(recall.columns) == ["recall@5", "recall@10"]
    for name in recall:
        assert np.allclose(recall[name].sort_index(), outcome.users[name].loc[recall.index].sort_index(), atol=1e-6)


def test_groups_of_several_splits_have_the_same_ranges(tiny, workdir, here):
    results = study(here, "groups", "--resplit", "--variants", "base", "--groups", "3", seeds="2", options=ONE)
    for row in results["groups"]:
        means = []
        for cell in results["cells"]:
            split = workdir / "out" / "data" / f"tiny-split-{cell['seed']}"
            train = read_atomic(split / f"{split.name}.train.inter").table
            if row["by"] == "user activity":
                about = json.loads((workdir / "out" / cell["folder"] / "users.json").read_text())
                column = about["metrics"].index(row["metric"])
                values = np.load(workdir / "out" / cell["folder"] / "users.values.npy")[:, column]
                counts = train["user_id"].value_counts().reindex(about["users"], fill_value=0).to_numpy()
                means.append(values[(counts >= row["from"]) & (counts <= row["to"])].mean())
        assert not means or row["values"] == pytest.approx(means)


@pytest.mark.parametrize("side", ["users", "items"])
def test_held_out(tiny, workdir, here, side):
    results = study(here, "groups", "--variants", "base", "--holdout", side, "--keep", "1", "--share", "0.3", options=ONE)
    assert {cell["setting"].get("held out") for cell in results["cells"]} == {None, f"{side} with 1"}
    train = rows_of(workdir, workdir / "out" / "data" / f"tiny-split-held-out-{side}-0.3-1-2020")
    counts = train[f"{side[:-1]}_id"].value_counts()
    full = rows_of(workdir, workdir / "out" / "data")[f"{side[:-1]}_id"].value_counts()
    fewer = counts.index[counts < full.reindex(counts.index)]
    assert len(fewer) > 3 and (counts[fewer] == 1).all()
    assert f"Results for held-out {side} alone" == results["tables"][2]["title"]


def test_template_profiles_are_made_anew_for_what_is_left(tiny, workdir, fake):
    results = study(fake, "groups", "--variants", "con", "--holdout", "users", "--keep", "1")
    cells = [json.loads((workdir / "out" / c["folder"] / "cell.json").read_text())["options"] for c in results["cells"]]
    assert cells[0]["semantic_tag"] != cells[1]["semantic_tag"]
    assert cells[1]["semantic_path"] == cells[1]["data_path"] != cells[0]["data_path"]


def tag_of_training(folder, name):
    """Profiles, under the tag ``known``, that quote every training interaction of a frozen split."""
    freeze_split("tiny", name, folder / "dataset")
    pairs = read_atomic(folder / "dataset" / name / f"{name}.train.inter").table[["user_id", "item_id"]]
    with open(folder / "profiles.jsonl", "w") as file:
        for side in ("user", "item"):
            for token, quoted in pairs.groupby(f"{side}_id"):
                row = {f"{side}_id": token, "profile": f"Text number {len(quoted)}.", "pairs": quoted.to_numpy().tolist()}
                file.write(json.dumps(row) + "\n")
    import_profiles(folder / "profiles.jsonl", folder / "dataset" / name / "semantic", name, "known")
    encode_tag(folder / "dataset" / name / "semantic" / "known", "lsa", show_progress=False)


def test_what_named_profiles_know_of_what_is_held_out_is_counted(tiny, workdir, fake):
    tag_of_training(workdir, "cut")
    hold = ("--holdout", "users", "--keep", "1", "--variants", "base,con", "--semantic_tag=known")
    assert run_experiment(fake, "groups", "--dataset", "cut", "--output", "out", "--seeds", "1", *hold, *QUICK) == 0
    notes = json.loads((workdir / "out" / "groups" / "results.json").read_text())["tables"][2]["notes"]
    (copy,) = (workdir / "out" / "data").glob("cut-held-out-*")
    sizes = [len(read_atomic(root / "cut" / "cut.train.inter").table) for root in (workdir / "dataset", copy)]
    lost = sizes[0] - sizes[1]
    assert lost > 0 and f"The profiles of known quote {lost} of the {lost} interactions that are held out" in notes[-1]


def test_pretrain_says_which_profiles_it_needs(tiny, workdir, fake):
    tag_of_training(workdir, "cut")
    with pytest.raises(LeakageError, match="for its early part: recbole-rlmrec profile --dataset cut --tag NEW") as told:
        run_experiment(fake, "pretrain", "--dataset", "cut", "--output", "out", "--semantic_tag=known", *QUICK)
    assert f"--data_path={workdir / 'out' / 'data' / 'cut-early-0.5-2020'} " in str(told.value)


@pytest.mark.parametrize(
    ("counts", "groups", "expected"),
    [
        ([1, 2, 3, 4], 2, [(1, 2), (3, 4)]),
        ([1, 1, 1, 9], 2, [(1, 1), (2, 9)]),
        ([5, 5], 3, [(5, 5)]),
        ([0, 0, 2, 0, 3], 2, [(0, 0), (2, 2), (3, 3)]),
        ([0, 0], 2, [(0, 0)]),
    ],
)
def test_bounds(counts, groups, expected):
    assert bounds(np.array(counts), groups) == expected


def test_tune_gives_everyone_the_same_number_of_trials(tiny, workdir, capsys):
    pytest.importorskip("hyperopt")
    launcher = FakeLauncher(jobs=2)
    results = study(launcher, "tune", "--trials", "4", "--algorithm", "random")
    assert "LightGCN gen, trial 4 of 4: validation score 0." in capsys.readouterr().out
    assert [len(search["trials"]) for search in results["searches"]] == [4, 4, 4]
    assert results["seeds"] == [2020]
    best = yaml.safe_load((workdir / "out" / "tune" / "best.yaml").read_text())
    assert set(best["LightGCN"]) == {"base", "con", "gen"} and "align_weight" in best["LightGCN"]["con"]
    before = len(launcher.started)
    again = study(launcher, "tune", "--trials", "4", "--algorithm", "random")
    assert len(launcher.started) == before
    assert again["searches"] == results["searches"]
    compared = study(launcher, "compare", "--params", "out/tune/best.yaml", seeds="2")
    options = json.loads((workdir / "out" / compared["cells"][1]["folder"] / "cell.json").read_text())["options"]
    assert options["align_weight"] == best["LightGCN"]["con"]["align_weight"]


@pytest.mark.parametrize("algorithm", ["grid", "bayes"])
def test_tune_by_other_algorithms_and_a_space_of_ones_own(tiny, workdir, algorithm):
    pytest.importorskip("hyperopt")
    (workdir / "space.yaml").write_text("base: {choice: {n_layers: [1, 2]}}\ncon: {choice: {align_weight: [0.1, 1e-3]}}\n")
    more = ("--variants", "base,con", "--space", "space.yaml", "--algorithm", algorithm, "--trials", "2")
    results = study(FakeLauncher(), "tune", *more)
    assert [search["algorithm"] for search in results["searches"]] == [algorithm] * 2
    if algorithm == "grid":
        assert sorted(trial["params"]["align_weight"] for trial in results["searches"][1]["trials"]) == [0.001, 0.1]


def test_tune_searches_the_options_of_kar(tiny, workdir):
    pytest.importorskip("hyperopt")
    results = study(FakeLauncher(), "tune", "--variants", "base,kar", "--trials", "2")
    base, kar = results["searches"]
    assert len(kar["trials"]) == len(base["trials"]) == 2
    assert set(kar["best"]) - set(base["best"]) == {"loss", "kar_size", "kar_hidden_size", "softmax_temperature"}
    assert "kar_size" in yaml.safe_load((workdir / "out" / "tune" / "best.yaml").read_text())["LightGCN"]["kar"]


def test_a_failed_trial_is_no_best(tiny, workdir):
    pytest.importorskip("hyperopt")
    (workdir / "space.yaml").write_text("base: {choice: {n_layers: [1, 2]}}\n")
    launcher = FakeLauncher(fails=lambda settings: settings["n_layers"] == 1)
    more = ("--variants", "base", "--space", "space.yaml", "--algorithm", "grid", "--trials", "2", "--output", "out")
    assert run_experiment(launcher, "tune", "--dataset", "tiny", *more, *QUICK) == 1
    assert yaml.safe_load((workdir / "out" / "tune" / "best.yaml").read_text()) == {"LightGCN": {"base": {"n_layers": 2}}}


def test_tune_leaves_what_is_given(tiny, workdir):
    pytest.importorskip("hyperopt")
    results = study(FakeLauncher(), "tune", "--variants", "base,con", "--trials", "3", "--n_layers=2", "--reg_weight=0.5")
    for search in results["searches"]:
        assert search["trials"] and not {"n_layers", "reg_weight"} & set(search["space"]["choice"])
    own = {"base": {"choice": {"n_layers": [1, 3]}}}
    assert search_space("LightGCN", "base", own, ["n_layers"]) == own["base"]
    everything = search_space("LightGCN", "base")["choice"]
    with pytest.raises(ConfigError, match="All that tune would search for LightGCN base is given"):
        search_space("LightGCN", "base", fixed=everything)


def test_every_variant_has_as_many_choices():
    spaces = {path.stem for path in (PROPERTIES / "hyper").glob("*.yaml")}
    shared = {name for name, variant in VARIANTS.items() if "{}" in variant.model}
    assert spaces == {"LightGCN", "GCCF", "SGL", "SimGCL", "DCCF", "AutoCF", "backbone", "AlphaRec", *shared}
    for model in ("LightGCN", "GCCF", "SGL", "SimGCL", "DCCF", "AutoCF", "BPR"):
        assert len({space_size(search_space(model, variant)) for variant in shared}) == 1
    assert len({space_size(search_space("LightGCN", variant)) for variant in VARIANTS}) == 1
    with_text = [name for name, variant in VARIANTS.items() if variant.text and "{}" in variant.model]
    own = [name for name in ADAPTERS if get_adapter(name).softmax]
    assert {"AutoCF", "NeuMF", "MultiVAE", "GRU4Rec", "ENMF"} <= set(own) and not {"BPR", "SGL", "NCL"} & set(own)
    for model in own:
        spaces = {variant: search_space(model, variant)["choice"] for variant in shared - {"softmax", "kar"}}
        assert not any({"loss", "softmax_temperature"} & set(space) for space in spaces.values())
        assert len({space_size({"choice": space}) for space in spaces.values()}) == 1
        assert all("loss" not in VARIANTS[variant].options_for(model) for variant in spaces)
    spaces = [search_space("LightGCN", variant)["choice"] for variant in with_text]
    assert all(space["loss"] == ["bpr", "softmax"] and {0.15, 0.2} <= set(space["softmax_temperature"]) for space in spaces)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_shipped_spaces_hold_options_that_are_there(alignment):
    for name, values in search_space("LightGCN", alignment)["choice"].items():
        if name in alignment_options(alignment):
            assert [alignment_options(alignment)[name].read({name: value}) for value in values] == values


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ablation", "--kinds", "upside-down"), "--kinds"),
        (("noise", "--levels", "5,x"), "--levels"),
        (("noise", "--levels", "200"), "--levels"),
        (("pretrain", "--early", "1.5"), "--early"),
        (("groups", "--holdout", "both"), "--holdout"),
        (("groups", "--keep", "0"), "--keep"),
        (("groups", "--groups", "1"), "--groups"),
        (("tune", "--trials", "0"), "--trials"),
        (("tune", "--eval_step=0"), "--eval_step"),
        (("tune", "--eval_args={'split': {'LS': 'test_only'}}"), "no validation interactions"),
    ],
)
def test_bad_input_is_told_before_a_cell_runs(tiny, fake, arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run_experiment(fake, *arguments, "--dataset", "tiny", "--output", "out", *QUICK)
    assert not fake.started


@pytest.mark.parametrize(
    "text",
    [
        *("con: 3", "con: {often: {a: [1]}}", "con: {choice: 3}", "con: {choice: {a: []}}", "con: {choice: {a: 1}}"),
        *("con: {uniform: {a: [1]}}", "con: {uniform: {a: [2, 1]}}", "con: {quniform: {a: [0, 1]}}", "con: {1: {a: [1]}}"),
    ],
)
def test_bad_spaces(tmp_path, text):
    with pytest.raises(ConfigError):
        search_space("LightGCN", "con", yaml.safe_load(text))
