"""``experiment compare`` from the command line to its files."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from launchers import QUICK, FakeLauncher, run_experiment

from recbole_rlmrec.encoding.embeddings import seal
from recbole_rlmrec.errors import ConfigError, DataError, ModelError, StoreError


def compare(launcher, *more, seeds="2"):
    given = {argument.partition("=")[0] for argument in more}
    quick = [option for option in QUICK if option.partition("=")[0] not in given]
    return run_experiment(launcher, "compare", "--dataset", "tiny", "--output", "out", "--seeds", seeds, *quick, *more)


def test_end_to_end(tiny, workdir, here, capsys):
    assert compare(here) == 0
    printed = capsys.readouterr().out
    assert "Results at test" in printed and "Tests against base" in printed
    results = json.loads((workdir / "out" / "compare" / "results.json").read_text())
    expected = [(variant, seed) for seed in (2020, 2021) for variant in ("base", "con", "gen")]
    assert [(cell["variant"], cell["seed"]) for cell in results["cells"]] == expected
    assert {one["metric"] for one in results["comparisons"]} == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}
    cells = {(c["variant"], c["seed"]): c for c in results["cells"]}
    assert (workdir / "out" / cells["con", 2020]["folder"] / "model.pth").is_file()
    assert not (workdir / "out" / cells["con", 2021]["folder"] / "model.pth").exists()
    run = json.loads((workdir / "out" / cells["con", 2020]["folder"] / "result.json").read_text())
    assert run["run"]["profiles"]["tag"].startswith("template-lsa-")

    table = (workdir / "out" / "compare" / "table.md").read_text()
    before = len(here.started)
    assert compare(here) == 0
    assert len(here.started) == before
    assert (workdir / "out" / "compare" / "table.md").read_text() == table


def test_kar_is_compared_with_the_same_profiles(tiny, workdir, here):
    assert compare(here, "--variants", "base,kar", "--kar_hidden_size=8", seeds="1") == 0
    cells = json.loads((workdir / "out" / "compare" / "results.json").read_text())["cells"]
    base, kar = (json.loads((workdir / "out" / cell["folder"] / "cell.json").read_text()) for cell in cells)
    assert (base["runs"], kar["runs"]) == ("LightGCN_RLMRec", "LightGCN_KAR")
    assert "alignment" not in kar["options"] and "profiles" in kar["identity"]
    run = json.loads((workdir / "out" / cells[1]["folder"] / "result.json").read_text())
    assert run["settings"]["kar_hidden_size"] == 8 and run["run"]["profiles"]["tag"].startswith("template-lsa-")


def test_kar_of_a_model_without_it(tiny, workdir, fake):
    with pytest.raises(ModelError, match="GCCF_KAR"):
        compare(fake, "--variants", "base,kar", "--models", "GCCF", seeds="1")
    with pytest.raises(ConfigError, match="base, con, gen here"):
        run_experiment(fake, "pretrain", "--dataset", "tiny", "--output", "out", "--variants", "kar", *QUICK)


def test_a_longer_one_reuses_cells_and_gives_what_one_go_gives(tiny, workdir):
    short, long, whole = FakeLauncher(), FakeLauncher(), FakeLauncher(jobs=3)
    assert compare(short) == 0
    assert compare(long, seeds="3") == 0
    assert len(short.started) == 6 and sorted(long.started) == [("con", 2022), ("gen", 2022), ("none", 2022)]
    table = (workdir / "out" / "compare" / "table-2.csv").read_text()
    run_experiment(whole, "compare", "--dataset", "tiny", "--output", "other", "--seeds", "3", *QUICK)
    assert (workdir / "other" / "compare" / "table-2.csv").read_text() == table


def test_options_of_one_variant(tiny, workdir, fake):
    (workdir / "best.yaml").write_text("LightGCN: {con: {align_weight: 0.5}, base: {n_layers: 1}}\n")
    compare(fake, "--params", "best.yaml", "--align_weight=0.1", "--jobs", "1", seeds="1")
    cells = json.loads((workdir / "out" / "compare" / "results.json").read_text())["cells"]
    settings = {c["variant"]: json.loads((workdir / "out" / c["folder"] / "cell.json").read_text())["options"] for c in cells}
    assert settings["con"]["align_weight"] == 0.5 and "n_layers" not in settings["con"]
    assert settings["gen"]["align_weight"] == 0.1
    assert settings["base"]["n_layers"] == 1
    assert {one["stopping_step"] for one in settings.values()} == {50}


def test_a_metric_without_values_of_users_is_tested_over_seeds(tiny, workdir, here):
    assert compare(here, "--variants", "base,con", "--metrics=['Recall','ItemCoverage']") == 0
    results = json.loads((workdir / "out" / "compare" / "results.json").read_text())
    coverage = next(one for one in results["comparisons"] if one["metric"] == "itemcoverage@10")
    measured = {c["variant"]: [] for c in results["cells"]}
    for cell in results["cells"]:
        measured[cell["variant"]].append(cell["metrics"]["itemcoverage@10"])
    assert (coverage["users"], coverage["p_users"], coverage["seeds"]) == (0, None, 2)
    assert coverage["mean"] == pytest.approx(sum(measured["con"]) / 2) and coverage["p_seeds"] is not None


def test_metrics_that_no_user_has(tiny, workdir, here):
    more = ("--variants", "base,con", "--metrics=ItemCoverage", "--valid_metric=ItemCoverage@10")
    assert compare(here, *more, seeds="1") == 0
    with pytest.raises(ConfigError, match="needs Recall among --metrics"):
        run_experiment(here, "groups", "--dataset", "tiny", "--output", "out", *more, *QUICK[:-1])


def test_tables_in_files_are_numbers(tiny, workdir, fake):
    compare(fake)
    main, tests = (pd.read_csv(workdir / "out" / "compare" / f"table-{number}.csv") for number in (1, 2))
    cells = pd.read_csv(workdir / "out" / "compare" / "cells.csv")
    con = main[(main["variant"] == "con") & (main["metric"] == "recall@10")].iloc[0]
    values = cells.loc[cells["variant"] == "con", "recall@10"]
    assert (con["mean"], con["deviation"]) == pytest.approx((values.mean(), values.std()))
    assert con["gain"] == pytest.approx(values.mean() / cells.loc[cells["variant"] == "base", "recall@10"].mean() - 1)
    assert {"p_seeds", "holm_seeds", "p_users", "holm_users"} < set(tests)


def test_gains_are_over_common_seeds_and_say_so(tiny, workdir):
    compare(FakeLauncher(fails=lambda settings: (settings["alignment"], settings["seed"]) == ("con", 2020)))
    text = (workdir / "out" / "compare" / "table.md").read_text()
    assert "gains over those that both rows have" in text
    compare(FakeLauncher())
    assert "gains over those that both rows have" not in (workdir / "out" / "compare" / "table.md").read_text()


def test_reading_the_data_otherwise_needs_another_folder(tiny, workdir, fake):
    compare(fake, "--load_col={'inter':['user_id','item_id']}", seeds="1")
    with pytest.raises(ConfigError, match="is read with another load_col; choose another --output"):
        compare(fake, "--load_col={'inter':['user_id','item_id'],'item':['item_id']}", seeds="1")


def test_other_embeddings_under_the_same_name_are_other_cells(tiny, workdir, fake):
    compare(fake, seeds="1")
    (path,) = (workdir / "out" / "data" / "tiny-split" / "semantic").glob("template-*/embeddings/lsa/users.npy")
    np.save(path, np.load(path)[::-1].copy())
    seal(path.parent, json.loads((path.parent / "manifest.json").read_text()))
    before = len(fake.started)
    compare(fake, seeds="1")
    assert sorted(fake.started[before:]) == [("con", 2020), ("gen", 2020)]


def test_what_semantic_dim_keeps_makes_no_other_cells(tiny, workdir, fake):
    compare(fake, seeds="1")
    compare(fake, "--semantic_dim=3", seeds="1")
    assert list((workdir / "out" / "data" / "tiny-split" / "semantic").glob("template-*/embeddings/lsa/users.pca3.npy"))
    before = len(fake.started)
    compare(fake, seeds="1")
    assert len(fake.started) == before


def test_a_stopped_experiment_leaves_its_plan_until_it_ends(tiny, workdir):
    def interrupted(settings):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(FakeLauncher(fails=interrupted), seeds="1")
    plan = json.loads((workdir / "out" / "compare" / "plan.json").read_text())
    assert [cell["variant"] for cell in plan["cells"]] == ["base", "con", "gen"]
    compare(FakeLauncher(), seeds="1")
    assert not (workdir / "out" / "compare" / "plan.json").exists()


def test_a_failure_gives_status_1_and_is_listed(tiny, workdir, capsys):
    assert compare(FakeLauncher(fails=lambda settings: settings["alignment"] == "gen")) == 1
    printed = capsys.readouterr().out
    assert "FAILED LightGCN gen seed 2020: ValueError: no such luck" in printed
    results = json.loads((workdir / "out" / "compare" / "results.json").read_text())
    assert len(results["failed"]) == 2 and len(results["cells"]) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("--models", "Pop"), ModelError, "Pop"),
        (("--models", "LightGCN_RLMRec"), ModelError, "write LightGCN"),
        (("--models", "LihgtGCN"), ModelError, "Did you mean LightGCN"),
        (("--models", ""), ConfigError, "--models"),
        (("--variants", "best"), ConfigError, "--variants"),
        (("--seed=3",), ConfigError, "--seeds"),
        (("--topk=[5]",), ConfigError, "valid_metric"),
        (("--params", "missing.yaml"), DataError, "missing.yaml"),
        (("--nonsense",), ConfigError, "--nonsense"),
        (("--variant=base",), ConfigError, "did you mean --variants"),
        (("--holdout=users",), ConfigError, "--holdout is no option of experiment compare, but of experiment groups"),
        (("--nproc=2",), ConfigError, "--nproc is of a single run"),
        (("--valid_metric=Recall@x",), ConfigError, "valid_metric Recall@x is not among"),
        (("--config_files=list.yaml",), ConfigError, "list.yaml does not hold options as key: value"),
        (("--params", "broken.yaml"), ConfigError, "broken.yaml is not YAML"),
        (("--initial_embeddings=nowhere",), StoreError, "correct initial_embeddings"),
    ],
)
def test_bad_input_is_told_before_a_cell_runs(tiny, workdir, fake, arguments, error, sentence):
    (workdir / "list.yaml").write_text("- a\n")
    (workdir / "broken.yaml").write_text("LightGCN: {con: [\n")
    with pytest.raises(error, match=sentence):
        compare(fake, *arguments)
    assert not fake.started


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("LigthGCN: {con: {align_weight: 0.1}}", ModelError, "Did you mean LightGCN"),
        ("1: {con: {align_weight: 0.1}}", ConfigError, "does not hold options"),
        ("LightGCN: {con: {semantic_tag: gpt}}", ConfigError, "names semantic_tag, which is one for all cells"),
        (
            "LightGCN: {kra: {kar_size: 8}}",
            ConfigError,
            "options of LightGCN for kra; variants are base, softmax, con, gen, darec",
        ),
    ],
)
def test_misspelt_names_in_params_are_told(tiny, workdir, fake, text, error, sentence):
    (workdir / "best.yaml").write_text(text)
    with pytest.raises(error, match=sentence):
        compare(fake, "--params", "best.yaml")


@pytest.mark.parametrize("seeds", ["0", "-1", "3,-4", "1,4294967296", "a", "1,b", ""])
def test_bad_seeds(tiny, fake, seeds):
    with pytest.raises(ConfigError, match="--seeds"):
        compare(fake, seeds=seeds)


def test_a_results_folder_of_another_dataset_is_refused(tiny, workdir, fake):
    compare(fake, seeds="1")
    with pytest.raises(ConfigError, match="results of dataset 'tiny'"):
        run_experiment(fake, "compare", "--dataset", "ml-100k", "--output", "out", *QUICK)
    with pytest.raises(ConfigError, match="other filters"):
        compare(fake, "--user_inter_num_interval=[3,inf)", seeds="1")
    inter = workdir / "dataset" / "tiny" / "tiny.inter"
    inter.write_text(inter.read_text() + "u1\ti0\t5\t99999\n")
    with pytest.raises(ConfigError, match="other files"):
        compare(fake, seeds="1")


def test_data_that_comes_split_stays_where_it_is(tiny, workdir, fake):
    from recbole_rlmrec.runs.frozen import freeze_split

    freeze_split("tiny", "books", workdir / "elsewhere", {"gpu_id": ""})
    places = ("--data_path=elsewhere", "--semantic_path=profiles")
    arguments = ("compare", "--dataset", "books", "--output", "out", "--seeds", "1", *places, *QUICK)
    assert run_experiment(fake, *arguments) == 0
    assert not (workdir / "out" / "data").exists()
    cells = json.loads((workdir / "out" / "compare" / "results.json").read_text())["cells"]
    options = json.loads((workdir / "out" / cells[1]["folder"] / "cell.json").read_text())["options"]
    assert options["data_path"] == str(workdir / "elsewhere")
    assert options["semantic_path"] == str(workdir / "profiles")
    assert (workdir / "profiles" / "books" / "semantic" / options["semantic_tag"]).is_dir()
    assert options["benchmark_filename"] == ["train", "valid", "test"]
    with pytest.raises(ConfigError, match="--resplit"):
        run_experiment(fake, *arguments, "--resplit")


def test_a_split_for_each_seed(tiny, workdir, fake):
    compare(fake, "--resplit", "--checkpoints", "none")
    cells = json.loads((workdir / "out" / "compare" / "results.json").read_text())["cells"]
    records = [json.loads((workdir / "out" / c["folder"] / "cell.json").read_text()) for c in cells]
    assert {record["dataset"] for record in records} == {"tiny-split-2020", "tiny-split-2021"}
    tags = {record["options"]["semantic_tag"] for record in records if record["variant"] == "con"}
    assert len(tags) == 2
    before = len(fake.started)
    compare(fake, "--resplit", "--checkpoints", "none", seeds="2021,2022")
    assert len(fake.started) == before + len(cells) // 2


def test_texts_are_compared_with_every_variant_without(tiny, workdir, here, capsys):
    assert compare(here, "--variants=base,softmax,con", seeds="1") == 0
    _, against = capsys.readouterr().out.split("Tests against softmax")
    assert "con" in against and " base " not in against


@pytest.mark.parametrize(
    "more, option",
    [
        (("--models", "BERT4Rec", "--variants", "base"), "--mask_ratio=0.4"),
        (("--variants", "init"), "--semantic_dim=8"),
        (("--variants", "semantic"), "--semantic_dim=8"),
        (("--variants", "base"), "--initial_embeddings=semantic"),
        (("--variants", "con"), "--initial_embeddings=semantic"),
        (("--variants", "base"), "--worker=1"),  # negatives come from RecBole's loader then
    ],
)
def test_a_cell_is_not_used_again_for_options_that_it_did_not_have(tiny, workdir, more, option):
    first, second, third = FakeLauncher(), FakeLauncher(), FakeLauncher()
    compare(first, *more, seeds="1")
    compare(second, *more, option, seeds="1")
    compare(third, *more, option, seeds="1")
    assert len(first.started) == len(second.started) == 1 and not third.started


def test_vectors_to_align_with_are_part_of_a_cell(tiny, workdir):
    (workdir / "learnt").mkdir()
    keys = []
    for content in ("first", "second", "second"):
        (workdir / "learnt" / "about.json").write_text(content)
        compare(FakeLauncher(), "--variants", "base,con", "--align_with=learnt", seeds="1")
        cells = json.loads((workdir / "out" / "compare" / "results.json").read_text())["cells"]
        keys.append([cell["key"] for cell in cells])
        options = json.loads((workdir / "out" / cells[1]["folder"] / "cell.json").read_text())["options"]
        assert options["align_with"] == str(workdir / "learnt")  # a cell runs in a folder of its own
    assert keys[0][0] == keys[1][0] and keys[0][1] != keys[1][1] == keys[2][1]
