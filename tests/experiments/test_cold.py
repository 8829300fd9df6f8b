"""``experiment cold``: who is held out, what is measured, what is refused."""

from __future__ import annotations

import json

import pytest
from launchers import SMALL, run_experiment

from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError, DataError, LeakageError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.experiments.cells.options import parse_options
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cold import harmonic, make_task
from recbole_rlmrec.experiments.cold_judge import Judge

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


@pytest.mark.parametrize("side, aligned", [("users", "item"), ("items", "user")])
def test_con_that_learnt_nothing_of_the_texts_of_cold_ones_is_not_trained(tiny, workdir, fake, side, aligned):
    option = tag(workdir)
    with pytest.raises(ConfigError, match=f"align_sides: {aligned}, so texts of {side} say nothing"):
        cold(fake, option, "--side", side, "--variants", "con", f"--align_sides={aligned}")
    assert not fake.started


def test_profiles_that_quote_what_is_held_out(tiny, workdir, here):
    rows = (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()[1:]
    option = tag(workdir, pairs=[row.split("\t")[:2] for row in rows])
    with pytest.raises(LeakageError):
        cold(here, option, "--variants", "alpharec")


@pytest.fixture
def split_by_hand(tiny, workdir):
    """Items i1 to i4 occur in validation and test alone; some test interactions repeat training ones. Returns the parts."""
    lines = (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    late = [row for row in rows if row[1] in ("i1", "i2", "i3", "i4")]
    early = [row for row in rows if row not in late]
    parts = {"train": early[:150], "valid": early[150:180] + late[::2], "test": early[180:] + late[1::2] + early[:20]}
    for part, some in parts.items():
        text = "\n".join([lines[0], *map("\t".join, some)]) + "\n"
        (workdir / f"dataset/tiny/tiny.{part}.inter").write_text(text)
    return {part: {(row[0], row[1]) for row in some} for part, some in parts.items()}


@pytest.mark.parametrize("mask", ["train_valid", "train"])
def test_what_is_hidden_is_what_recbole_hides(split_by_hand, workdir, mask):
    """Training and validation items of a user, cold ones too, but none that the test wants; who knows all is right."""
    files = "--benchmark_filename=['train','valid','test']"
    options = parse_options([files, "--topk=[5,30]", "--valid_metric=Recall@5", f"--test_mask={mask}"])
    place = type("Runner", (), {"folder": (workdir / "out").resolve(), "jobs": 1})()
    study = Study("cold", "tiny", place, ["LightGCN"], [2020], options)
    task = make_task(study, "item", 2020, None)
    judge = Judge(study, task, study.profiles(task.data), None)
    users, items = (judge._tokens[side] for side in ("user", "item"))
    hidden = {(users[row], items[column]) for row, column in zip(*judge._hidden.nonzero())}
    warm = {user for user, _ in split_by_hand["train"]}
    seen = split_by_hand["train"] | (split_by_hand["valid"] if mask == "train_valid" else set())
    assert hidden == {(user, item) for user, item in seen - split_by_hand["test"] if user in warm and item in items}
    assert any(item in task.cold for _, item in hidden) == (mask == "train_valid")
    wanted = judge._wanted.toarray()
    found = judge.judge(lambda rows: wanted[rows].copy())
    assert found[["recall@30 cold", "recall@30 warm", "recall@30 all"]].min().min() == 1


WHOLE, FIRST = ["Video Games", "Video, Players", ""], ["Video", "Video,", ""]


@pytest.mark.parametrize(("kind", "expected"), [("token", WHOLE), ("token_seq", FIRST)])
def test_a_category_is_a_whole_value_or_the_first_of_a_sequence(split_by_hand, workdir, kind, expected):
    rows = [f"item_id:token\tcategory:{kind}", "i1\tVideo Games", "i2\tVideo, Players", "i3\t"]
    (workdir / "dataset/tiny/tiny.item").write_text("\n".join(rows) + "\n")
    options = parse_options(["--benchmark_filename=['train','valid','test']"])
    place = type("Runner", (), {"folder": (workdir / "out").resolve(), "jobs": 1})()
    study = Study("cold", "tiny", place, ["LightGCN"], [2020], options)
    task = make_task(study, "item", 2020, None)
    judge = Judge(study, task, study.profiles(task.data), None)
    found = dict(zip(judge._tokens["item"], judge._categories()))
    assert [found.get(item, "") for item in ("i1", "i2", "i3")] == expected


def test_profiles_may_quote_training_interactions_that_the_test_repeats(split_by_hand, workdir, here):
    results = cold(here, "--variants", "base", "--from-data", "--benchmark_filename=['train','valid','test']")
    assert means(results)["base"]["recall@10 warm"] > 0


def test_harmonic():
    assert harmonic(0.2, 0.3) == pytest.approx(0.24) and harmonic(0.0, 0.3) == 0.0
