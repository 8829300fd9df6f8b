"""``experiment cold``: who is held out, what is measured, what is refused."""

from __future__ import annotations

import json

import pytest
from launchers import SMALL, run_experiment

from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError, DataError, LeakageError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.experiments.cold import harmonic

ONE = ("--epochs=1", "--eval_step=1", *SMALL)


def cold(launcher, *more):
    status = run_experiment(launcher, "cold", "--dataset", "tiny", "--output", "out", "--seeds", "1", *more, *ONE)
    assert status == 0
    with open("out/cold/results.json") as file:
        return json.load(file)


def tag(folder, users=True, pairs=()):
    """Imported profiles of everybody, LSA's embeddings."""
    words = ("quiet drama", "loud comedy", "old western")
    with open(folder / "profiles.jsonl", "w") as file:
        for side, count in (("user", 24 * users), ("item", 30)):
            for n in range(count):
                row = {f"{side}_id": f"{side[0]}{n}", "profile": f"A {words[n % 3]} for {n % 7} people.", "pairs": []}
                if side == "item" and n == 0:
                    row["pairs"] = list(pairs)
                file.write(json.dumps(row) + "\n")
    root = folder / "dataset" / "tiny" / "semantic"
    import_profiles(folder / "profiles.jsonl", root, "tiny", "mine")
    encode_tag(root / "mine", "lsa", dim=7, show_progress=False)
    return "--semantic_tag=mine"


def means(results):
    return {one["variant"]: one for one in results["means"]}


def test_items_held_out_whole(tiny, workdir, here, capsys):
    results = cold(here, "--variants", "base,con,semantic,alpharec", "--share", "0.3")
    (root,) = (workdir / "out" / "data").glob("*-cold-items-*/tiny-split")
    parts = [read_atomic(root / f"tiny-split.{part}.inter").table for part in ("train", "valid", "test")]
    full = [
        read_atomic(workdir / "out/data/tiny-split" / f"tiny-split.{part}.inter").table for part in ("train", "valid", "test")
    ]
    warm = set(parts[0].item_id)
    gone = set(full[0].item_id) - warm
    assert len(gone) == round(0.3 * full[0].item_id.nunique())
    assert all(set(part.item_id) <= warm for part in parts)
    about = results["cold"]["2020"] if "2020" in results["cold"] else next(iter(results["cold"].values()))
    assert about["cold"] >= len(gone)
    moved = sum(part.item_id.isin(gone).sum() for part in full[:2])
    assert about["test"] <= len(full[2]) + moved and about["test"] > len(full[2]) - len(full[2]) // 2
    found = means(results)
    assert list(found) == ["text-kNN", "popularity by category", "base", "con", "semantic", "alpharec"]
    assert found["base"]["recall@10 cold"] == 0.0 < found["base"]["recall@10 warm"]
    for name in ("text-kNN", "con", "semantic", "alpharec"):
        assert 0 < found[name]["recall@10 cold"] <= 1 and found[name]["recall@10 cold among all"] is not None
    assert {one["base"] for one in results["comparisons"]} <= {"text-kNN", "popularity by category"}
    assert "harmonic" in capsys.readouterr().out


def test_the_second_call_runs_nothing(tiny, workdir, here):
    first = cold(here, "--variants", "alpharec")
    started = len(here.started)
    again = cold(here, "--variants", "alpharec")
    assert len(here.started) == started and again["means"] == first["means"]


def test_users_held_out_are_known_by_their_profiles(tiny, workdir, here):
    results = cold(here, tag(workdir), "--variants", "base,text,alpharec", "--side", "users", "--share", "0.25")
    found = means(results)
    assert list(found) == ["user text-kNN", "popularity", "base", "text", "alpharec"]
    assert found["base"]["recall@10 cold"] == 0.0 < found["alpharec"]["recall@10 cold"]
    settings = json.loads((workdir / "out" / results["cells"][1]["folder"] / "result.json").read_text())["settings"]
    assert settings["user_text"] == "both"  # else cold ones would have no vector, and items the order of their ids
    assert found["popularity"]["recall@10 cold"] > 0


def test_items_that_the_data_hold_out(tiny, workdir, here):
    split = workdir / "dataset" / "tiny"
    rows = (split / "tiny.inter").read_text().splitlines()
    late = [row for row in rows[1:] if row.split("\t")[1] in ("i1", "i2")]
    early = [row for row in rows[1:] if row.split("\t")[1] not in ("i1", "i2")]
    cuts = {"train": early[:150], "valid": early[150:180], "test": early[180:] + late}
    for part, some in cuts.items():
        (split / f"tiny.{part}.inter").write_text("\n".join([rows[0], *some]) + "\n")
    results = cold(here, "--variants", "alpharec", "--from-data", "--benchmark_filename=['train','valid','test']")
    about = next(iter(results["cold"].values()))
    assert about["cold"] == 2 and means(results)["alpharec"]["recall@10 cold"] == 1.0  # two items, ranked among themselves
    (split / "tiny.test.inter").write_text("\n".join([rows[0], *early[180:]]) + "\n")
    with pytest.raises(DataError, match="Training has seen every item"):
        run_experiment(here, "cold", "--dataset", "tiny", "--output", "out2", "--seeds", "1", "--from-data",
                       "--benchmark_filename=['train','valid','test']", *ONE)  # fmt: skip


def test_bad_input(tiny, workdir, here):
    with pytest.raises(ConfigError, match="--share"):
        cold(here, "--share", "1.5")
    with pytest.raises(ConfigError, match="--variants takes base, softmax"):
        cold(here, "--variants", "gen")
    with pytest.raises(ConfigError, match="--side users needs --semantic_tag"):
        cold(here, "--side", "users", "--variants", "alpharec")
    with pytest.raises(ConfigError, match="no column 'shelf' for --category"):
        cold(here, "--variants", "alpharec", "--category", "shelf")


def test_profiles_that_quote_what_is_held_out(tiny, workdir, here):
    rows = (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()[1:]
    option = tag(workdir, pairs=[row.split("\t")[:2] for row in rows])
    with pytest.raises(LeakageError):
        cold(here, option, "--variants", "alpharec")


def test_harmonic():
    assert harmonic(0.2, 0.3) == pytest.approx(0.24) and harmonic(0.0, 0.3) == 0.0
