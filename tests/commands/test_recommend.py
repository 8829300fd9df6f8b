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


def test_other_data_is_refused(trained, workdir):
    inter = workdir / "dataset/tiny/tiny.inter"
    inter.write_text(inter.read_text() + "new\ti3\t5\t1\n")
    with pytest.raises(CheckpointError, match="does not fit the data"):
        recommend("--checkpoint", trained, "--user", "u1")
