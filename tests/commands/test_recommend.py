"""``recbole-rlmrec recommend``: top items by token from a checkpoint."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from recbole.model.general_recommender import NeuMF

from recbole_rlmrec.cli import execute, main
from recbole_rlmrec.errors import CheckpointError, ConfigError, DataError
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.plugin.vocabulary import KEY
from recbole_rlmrec.runs.trained import load_trained


def recommend(*argv: str) -> int:
    return execute(["recommend", *map(str, argv)])


@pytest.fixture
def trained(run):
    """Checkpoint of an aligned model."""
    run("LightGCN_RLMRec")
    return last_record().checkpoint


def test_users_by_token_on_the_screen(trained, capsys):
    assert recommend("--checkpoint", trained, "--user", "u3,u5", "--topk", "4") == 0
    text = capsys.readouterr().out
    blocks = text.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["user u3", "user u5"]
    assert all(len(block.strip().splitlines()) == 5 for block in blocks)
    assert "The comedy number" in text or "The drama number" in text


def test_all_users_equal_the_models_scores(trained, workdir, capsys):
    assert recommend("--checkpoint", trained, "--all-users", "--format", "jsonl", "--output", "out/all.jsonl") == 0
    assert "24 users" in capsys.readouterr().out
    found = [json.loads(line) for line in (workdir / "out/all.jsonl").read_text().splitlines()]
    known = load_trained(trained)
    users, items = (table.numpy() for table in known.representations())
    raw = (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()[1:]
    seen = {tuple(line.split("\t")[:2]) for line in raw}
    assert [one["user"] for one in found] == [str(token) for token in known.tokens("user")[1:]]
    for position, one in enumerate(found, 1):
        scores = users[position] @ items.T
        scores[0] = -np.inf
        tokens = known.tokens("item")
        free = [n for n in np.argsort(-scores) if n and (one["user"], tokens[n]) not in seen][:10]
        assert [entry["item"] for entry in one["items"]] == [tokens[n] for n in free]
        assert [entry["score"] for entry in one["items"]] == pytest.approx(scores[free].tolist(), abs=1e-6)
        assert all(entry["title"].startswith("The ") for entry in one["items"])
    assert list((workdir / "out").iterdir()) == [workdir / "out/all.jsonl"]


def test_csv_and_items_that_are_held_out(trained, capsys):
    recommend("--checkpoint", trained, "--user", "u1", "--topk", "100", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    recommend("--checkpoint", trained, "--user", "u1", "--topk", "100", "--format", "csv", "--keep", "heldout")
    more = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    known = load_trained(trained)
    user = known.user_ids(["u1"])
    held = {str(known.tokens("item")[n]) for n in known.items_of(["valid", "test"]).rows(user)[1]}
    assert held and {row["item"] for row in more} - {row["item"] for row in rows} == held


def test_profiles_are_not_needed_and_data_may_move(trained, workdir, capsys):
    recommend("--checkpoint", trained, "--user", "u1")
    before = capsys.readouterr().out
    shutil.move("dataset", "elsewhere")
    shutil.rmtree("elsewhere/tiny/semantic")
    with pytest.raises(DataError, match="--data_path"):
        recommend("--checkpoint", trained, "--user", "u1")
    recommend("--checkpoint", trained, "--user", "u1", "--data_path=elsewhere")
    assert capsys.readouterr().out == before


@pytest.mark.parametrize("model", ["BPR", "SGL_KAR", "NeuMF", "MultiVAE", "Pop", "GCCF_RLMRec"])
def test_models_of_every_kind(run, tiny, model, capsys):
    run(model, epochs=1)
    assert recommend("--checkpoint", last_record().checkpoint, "--user", "u0", "--topk", "3") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_models_that_score_pairs_do_so_in_parts(run, tiny, monkeypatch, capsys):
    run("NeuMF", epochs=1, eval_batch_size=7)
    sizes, predict = [], NeuMF.predict

    def counted(self, pairs):
        sizes.append(len(pairs))
        return predict(self, pairs)

    monkeypatch.setattr(NeuMF, "predict", counted)
    assert recommend("--checkpoint", last_record().checkpoint, "--all-users", "--topk", "3") == 0
    assert max(sizes) == 7 and sum(sizes) == 24 * 31


def test_a_reader_that_has_enough_is_no_error(trained):
    command = [sys.executable, "-m", "recbole_rlmrec.cli", "recommend", "--checkpoint", trained, "--all-users", "--topk", "30"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert b"Traceback" not in process.stderr.read()


def test_users_outside_the_test_split_and_without_titles(tiny, run, workdir, capsys):
    (workdir / "dataset/tiny/tiny.item").unlink()
    with open(workdir / "dataset/tiny/tiny.inter", "a") as file:
        file.write("lonely\ti3\t5\t1\n")
    run("BPR")
    recommend("--checkpoint", last_record().checkpoint, "--user", "lonely", "--format", "jsonl")
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert len(found["items"]) == 10 and found["items"][0]["title"] is None
    assert "i3" not in {one["item"] for one in found["items"]}


def test_bad_input(trained, workdir, capsys):
    assert main(["recommend", "--checkpoint", trained, "--user", "u1,nobody"]) == 2
    assert "no user 'nobody'" in capsys.readouterr().err
    with pytest.raises(DataError, match="no user"):
        recommend("--checkpoint", trained, "--user", "[PAD]")
    with pytest.raises(ConfigError, match="--topk"):
        recommend("--checkpoint", trained, "--user", "u1", "--topk", "0")
    with pytest.raises(ConfigError, match="--user"):
        recommend("--checkpoint", trained, "--user", ",")
    assert recommend("--checkpoint", trained, "--user", "u1", "--epochs=3") == 0
    assert "recommend makes no use of --epochs" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no checkpoint"):
        recommend("--checkpoint", "missing.pth", "--user", "u1")
    (workdir / "bad.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError):
        recommend("--checkpoint", "bad.pth", "--user", "u1")
    torch.save({"state_dict": {}}, workdir / "other.pth")
    with pytest.raises(CheckpointError, match="no model"):
        recommend("--checkpoint", "other.pth", "--user", "u1")
    with pytest.raises(ConfigError, match="folder"):
        recommend("--checkpoint", trained, "--user", "u1", "--output", "dataset")


def test_other_data_is_refused_by_a_checkpoint_that_keeps_no_tokens(trained, workdir):
    found = torch.load(trained, weights_only=False)
    torch.save({key: value for key, value in found.items() if key != KEY}, trained)
    inter = workdir / "dataset/tiny/tiny.inter"
    inter.write_text(inter.read_text() + "new\ti3\t5\t1\n")
    with pytest.raises(CheckpointError, match="does not fit the data"):
        recommend("--checkpoint", trained, "--user", "u1")


def items_of(capsys, *argv) -> list[dict]:
    assert recommend(*argv, "--format", "jsonl") == 0
    return [entry for line in capsys.readouterr().out.splitlines() for entry in json.loads(line)["items"]]


def same(lists: list[dict], others: list[dict]) -> bool:
    """The same items in the same order; scores of fewer items are another product, whose last digits may differ."""
    scores = [one["score"] for one in others]
    return lists == [{**one, "score": pytest.approx(score, rel=1e-6)} for one, score in zip(others, scores, strict=True)]


def test_candidates(trained, workdir, capsys):
    start = ["--checkpoint", trained, "--user", "u1,u2,u3", "--topk", "30"]
    everything = items_of(capsys, *start)
    (workdir / "only.txt").write_text("i3\n\n i4 \nnobody\r\n")
    (workdir / "without.txt").write_text("\n".join(f"i{number}" for number in range(0, 30, 2)))
    only = items_of(capsys, *start, "--only-items", "only.txt")
    assert same(only, [one for one in everything if one["item"] in ("i3", "i4")]) and only
    rest = items_of(capsys, *start, "--exclude", "without.txt")
    assert same(rest, [one for one in everything if int(one["item"][1:]) % 2]) and rest
    where = "'drama' in genre and release_year < 2000"
    chosen = items_of(capsys, *start, "--where", where, "--exclude", "without.txt")
    rows = [line.split("\t") for line in (workdir / "dataset/tiny/tiny.item").read_text().splitlines()[1:]]
    fit = {row[0] for row in rows if "drama" in row[3].split() and int(row[2]) < 2000}
    assert same(chosen, [one for one in rest if one["item"] in fit]) and chosen
    recommend(*start, "--only-items", "only.txt")
    assert "does not know 1 of 3 items" in capsys.readouterr().err


def test_parquet(trained, workdir, capsys):
    import pyarrow.parquet as pq

    start = ["--checkpoint", trained, "--all-users", "--topk", "3"]
    expected = items_of(capsys, *start)
    recommend(*start, "--format", "parquet", "--output", "lists.parquet")
    rows = pq.read_table("lists.parquet").to_pylist()
    assert list(rows[0]) == ["user", "rank", "item", "title", "score"] and len(rows) == 24 * 3
    assert [row["rank"] for row in rows] == [1, 2, 3] * 24
    assert [(row["item"], row["title"]) for row in rows] == [(one["item"], one["title"]) for one in expected]
    assert [row["score"] for row in rows] == pytest.approx([one["score"] for one in expected])


def test_bad_candidates_are_one_sentence(trained, workdir, capsys):
    start = ["recommend", "--checkpoint", trained, "--user", "u1"]
    (workdir / "empty.txt").write_text("\n")
    (workdir / "binary.txt").write_bytes(b"\xff\xfe\x80")
    (workdir / "others.txt").write_text("x\ny\n")
    (workdir / "dataset/tiny/other").mkdir()
    cases = {
        ("--only-items", "none.txt"): "none.txt is no file",
        ("--exclude", "dataset"): "dataset is no file",
        ("--exclude", "empty.txt"): "is empty",
        ("--exclude", "binary.txt"): "UTF-8",
        ("--only-items", "others.txt"): "No item",
        ("--where", "price < 3"): "there is no column 'price'",
        ("--where", "release_year > 3000"): "No item",
        ("--where", "open('x', 'w')"): "--where cannot take",
        ("--format", "parquet"): "--output",
    }
    for argv, wanted in cases.items():
        assert main([*start, *argv, "--output", "x"] if "parquet" not in argv else [*start, *argv]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert wanted in said and not (workdir / "x").exists(), argv
    (workdir / "dataset/tiny/tiny.item").unlink()
    assert main([*start, "--where", "title == 'x'"]) == 2
    assert "tiny.item" in capsys.readouterr().err


def test_ids_with_commas(tiny, run, workdir, capsys):
    for name in ("inter", "item", "user"):
        path = workdir / f"dataset/tiny/tiny.{name}"
        path.write_text(path.read_text().replace("u3\t", "o'Neil, Pat\t").replace("i4\t", 'a,"b"\t'))
    run("BPR", epochs=1)
    options = ("--checkpoint", last_record().checkpoint, "--topk", "3")
    for users in ("o'Neil, Pat", '"o\'Neil, Pat"'):
        assert recommend(*options, "--user", users) == 0
        assert capsys.readouterr().out.startswith("user o'Neil, Pat\n")
    assert recommend(*options, "--user", 'u1,"o\'Neil, Pat"') == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "user" in line] == ["user u1", "user o'Neil, Pat"]
    assert recommend(*options, "--user", "u1\nu2\r\nu5") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "user" in line] == ["user u1", "user u2", "user u5"]
    assert execute(["similar", *options, "--item", 'a,"b"']) == 0
    assert execute(["similar", *options, "--item", 'i1,"a,""b"""']) == 0
    assert 'a,"b"' in capsys.readouterr().out
