"""Alignment with what another recommender has learnt, as in LLMEmb's second stage."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model

from recbole_rlmrec.cli import execute
from recbole_rlmrec.errors import ConfigError, LeakageError, SemanticError
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.semantic.learnt import load_learnt

SIZES = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "MAX_ITEM_LIST_LENGTH": 6}
SEQUENCES = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}, **SIZES}
SEQUENCES |= {"train_neg_sample_args": None, "epochs": 1}


@pytest.fixture
def learnt(run):
    """A function that trains a recommender and exports what it learnt; returns the trained model."""

    def make(model, folder, form="parquet", **options):
        run(model, **options)
        checkpoint = last_record().checkpoint
        assert execute(["export", "--checkpoint", str(checkpoint), "-o", folder, "--format", form]) == 0
        return load_trained(checkpoint)

    return make


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_rows_are_those_of_the_same_tokens(learnt, form):
    trained = learnt("BPR_RLMRec", "tables", form, alignment="none", embedding_size=8)
    trained.config["align_with"] = "tables"
    found = load_learnt(trained.config, trained.splits[0])
    for side, table in zip((found.user, found.item), trained.tables):
        assert side.count == side.n - 1 and not side.covered[0]
        torch.testing.assert_close(side.rows(torch.arange(1, side.n)), table[1:])
    assert found.provenance["made_for_this_split"] and found.provenance["by"] == "BPR_RLMRec (none)"


def test_texts_learn_to_stand_where_a_trained_recommender_has_its_items(learnt, run):
    """The item term is InfoNCE between the adapted texts and the learnt embeddings, by a formula of its own."""
    teacher = learnt("SASRec_RLMRec", "teacher", alignment="none", **SEQUENCES)
    options = {"alignment": "con", "align_sides": "item", "align_projection": "none", "align_weight": 1.0}
    options |= {"align_schedule": "constant", "align_negatives": "batch", "semantic_input": "replace", "align_with": "teacher"}
    run("SASRec_Semantic", **SEQUENCES, **options)
    record = last_record()
    assert record.provenance["align_with"]["made_for_this_split"] and record.provenance["tag"].startswith("template")
    model = load_data_and_model(record.checkpoint)[1]
    assert not list(model.alignment.parameters())

    items = torch.tensor([3, 5, 5, 9, 2])
    table = model._initial_tables()[-1]
    step = type("Step", (), {"terms": [_term(items, lambda ids: table[ids])], "batch_size": len(items)})
    found = model.alignment.loss(step).item()
    anchors, targets = (rows[items].detach().double().numpy() for rows in (table, teacher.served[2]))
    anchors, targets = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (anchors, targets))
    logits = anchors @ targets.T / model.alignment.settings["align_temperature"]
    expected = (np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)).mean()
    assert found == pytest.approx(expected, rel=1e-5)


def _term(ids, lookup):
    from recbole_rlmrec.model.alignment import Term

    return Term("item", ids, lookup)


def test_users_who_know_validation_are_no_targets(learnt, run, workdir):
    trained = learnt("SASRec_RLMRec", "late", alignment="none", **SEQUENCES)
    assert execute(["export", "--checkpoint", str(last_record().checkpoint), "-o", "early", "--until", "train"]) == 0
    for folder, until in (("late", "valid"), ("early", "train")):
        about = json.loads((workdir / folder / "about.json").read_text())
        vectors = dict(zip(*_table(workdir / folder / "users.parquet")))
        ids, users, _ = trained.until(until).served
        assert about["until"] == until
        for token, row in zip(trained.tokens("user")[ids.numpy()], users.numpy()):
            np.testing.assert_allclose(vectors[str(token)], row, rtol=1e-6)
    both = {"alignment": "con", "embedding_size": 8, "align_projection": "none", "epochs": 1}
    both |= {"eval_args": SEQUENCES["eval_args"], "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    with pytest.raises(LeakageError, match="users of late are their sequences to the end of valid.*Set align_sides: item, or"):
        run("BPR_RLMRec", **both, align_with="late")
    run("BPR_RLMRec", **both, align_with="late", leakage="warn")
    about = json.loads((workdir / "late/about.json").read_text())
    del about["until"]  # as before it was recorded
    (workdir / "late/about.json").write_text(json.dumps(about))
    with pytest.raises(LeakageError, match="export with --until train"):
        run("BPR_RLMRec", **both, align_with="late")
    for more in ({"align_with": "late", "align_sides": "item"}, {"align_with": "early"}):
        run("BPR_RLMRec", **both, **more)


def _table(path):
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", "vector"])
    return table["id"].to_pylist(), table["vector"].to_pylist()


def test_what_does_not_fit_is_said(learnt, run, workdir):
    learnt("BPR_RLMRec", "tables", alignment="none", embedding_size=8)
    options = {"alignment": "con", "align_projection": "none", "align_with": "tables"}
    with pytest.raises(ConfigError, match=r"targets have 8 dimensions and the representations 4; make the sizes equal"):
        run("BPR_RLMRec", embedding_size=4, **options)
    with pytest.raises(LeakageError, match="vectors of tables were made from another training split"):
        run("BPR_RLMRec", embedding_size=8, seed=7, **options)
    with pytest.raises(SemanticError, match=r"about.json is missing; write it with `recbole-rlmrec export"):
        run("BPR_RLMRec", embedding_size=8, **{**options, "align_with": "nowhere"})
    about = workdir / "tables/about.json"
    kept = json.loads(about.read_text())
    about.write_text(json.dumps({**kept, "dataset": "other"}))
    with pytest.raises(SemanticError, match="tables is of dataset 'other', not of 'tiny'"):
        run("BPR_RLMRec", embedding_size=8, **options)
    about.write_text(json.dumps(kept))
    (workdir / "tables/items.parquet").write_bytes(b"no table")
    with pytest.raises(SemanticError, match="the items of tables cannot be read"):
        run("BPR_RLMRec", embedding_size=8, **options)
