"""``experiment case``: pairs, distances, ranks, and the whole from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from launchers import SMALL, run_experiment

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.experiments.case import Pair, distances, measure, similar_strangers
from recbole_rlmrec.runs.trained import load_trained

ONE = ("--epochs=1", "--eval_step=1", *SMALL)


def write_two_groups(folder):
    """Users of even number choose among the first half of the items, the others among the rest."""
    rng = np.random.default_rng(3)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(24):
        for item in rng.choice(15, 8, replace=False):
            lines.append(f"u{user}\ti{item + 15 * (user % 2)}\t4\t1")
    (folder / "tiny.inter").write_text("\n".join(lines) + "\n")


def test_end_to_end(tiny, workdir, here, capsys):
    write_two_groups(workdir / "dataset" / "tiny")
    arguments = ("--dataset", "tiny", "--output", "out", "--seeds", "1", "--variants", "base,con", "--pairs", "3", *ONE)
    assert run_experiment(here, "case", *arguments) == 0
    assert "median rank" in capsys.readouterr().out
    results = json.loads((workdir / "out" / "case" / "results.json").read_text())
    assert len(results["pairs"]) == 3
    users = [user for case in results["pairs"] for user in case["users"]]
    assert len(set(users)) == 6
    for case in results["pairs"]:
        assert case["hops"] is None or case["hops"] > 3
        assert all(case["profiles"]) and -1 <= case["profile_similarity"] <= 1
        assert [one["variant"] for one in case["models"]] == ["base", "con"]
        assert all(1 <= rank <= 23 for one in case["models"] for rank in one["ranks"])
    markdown = (workdir / "out" / "case" / "table.md").read_text()
    assert results["pairs"][0]["profiles"][0].split(".")[0] in markdown
    ran = len(here.started)
    assert run_experiment(here, "case", *arguments) == 0
    assert len(here.started) == ran


def test_sequences_end_with_training_as_the_graph_does(tiny, workdir, here):
    write_two_groups(workdir / "dataset" / "tiny")
    arguments = ("--dataset", "tiny", "--output", "out", "--seeds", "1", "--variants", "base", "--pairs", "3")
    assert run_experiment(here, "case", *arguments, "--models=GRU4Rec", "--hidden_size=8", *ONE) == 0
    results = json.loads((workdir / "out" / "case" / "results.json").read_text())
    trained = load_trained(workdir / "out" / results["cells"][0]["folder"] / "model.pth")
    told = [case["models"][0]["similarity"] for case in results["pairs"]]
    pairs = [Pair(*trained.user_ids(case["users"]).tolist(), 0.0) for case in results["pairs"]]

    def similarities(part):
        return [one["similarity"] for one in measure(trained.until(part).representations()[0], pairs)]

    assert told == pytest.approx(similarities("train"), abs=1e-6)
    assert told != pytest.approx(similarities("valid"), abs=1e-3)


def test_everyone_shares_an_item(tiny, workdir, fake):
    inter = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    inter += [f"u{user}\ti{item}\t5\t1" for user in range(6) for item in range(30) if item != 20 + user]
    (workdir / "dataset" / "tiny" / "tiny.inter").write_text("\n".join(inter) + "\n")
    with pytest.raises(DataError, match="common item"):
        run_experiment(fake, "case", "--dataset", "tiny", "--output", "out", "--seeds", "1", *ONE)
    with pytest.raises(ConfigError, match="--pairs"):
        run_experiment(fake, "case", "--dataset", "tiny", "--output", "out", "--pairs", "0", *ONE)
    assert not fake.started


def test_pairs_equal_brute_force(monkeypatch):
    monkeypatch.setattr("recbole_rlmrec.experiments.case._BLOCK", 4)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(15, 6))
    dense = (rng.random((15, 20)) < 0.12).astype(np.float32)
    dense[np.arange(15), rng.integers(0, 20, 15)] = 1
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = np.where(dense @ dense.T > 0, -np.inf, unit @ unit.T)
    best = sorted(((cosine[row].max(), row, int(cosine[row].argmax())) for row in range(15)), reverse=True)
    expected, taken = [], set()
    for value, *pair in best:
        if not taken & set(pair):
            taken |= set(pair)
            expected.append((min(pair), max(pair), pytest.approx(value)))
    assert similar_strangers(vectors, sp.csr_matrix(dense), 3) == expected[:3]
    assert similar_strangers(vectors, sp.csr_matrix(np.ones((15, 20), dtype=np.float32)), 3) == []


def test_distances():
    history = sp.csr_matrix(np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=np.float32))
    assert distances(history, [Pair(0, 2, 0.5), Pair(0, 3, 0.5), Pair(0, 1, 0.5)]) == [4, None, 2]


def test_ranks_leave_out_the_padding_and_the_user():
    users = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.2], [1.0, 0.1], [0.0, 1.0]])
    (found,) = measure(users, [Pair(1, 2, 0.0)])
    assert found["ranks"] == [2, 2]
    assert found["similarity"] == pytest.approx(1 / np.sqrt(1.04))
