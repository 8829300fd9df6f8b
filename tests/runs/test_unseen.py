"""A trained model among users and items that training never saw, against dense float64 formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_rlmrec import cli
from recbole_rlmrec.errors import DataError, ModelError, SemanticError
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.runs.unseen import Unseen, extend, semantic_tag
from recbole_rlmrec.semantic.load import load_semantic
from recbole_rlmrec.semantic.more import embed_texts


def train(run, model, **options):
    run(model, epochs=1, **options)
    return load_trained(last_record().checkpoint)


def vectors(trained, count, seed=0):
    width = load_semantic(trained.config, trained.splits[0], report=False).dim
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def pairs(*rows):
    return pd.DataFrame(list(rows), columns=["user", "item"], dtype=object)


def dense(found, texts, network, center):
    """Unit tables of AlphaRec with user_text: history, from the texts [n_items, d_s] (zeros where there is none)."""
    parts = found.splits[0].inter_feat
    users, items = (parts[name].numpy() for name in ("user_id", "item_id"))
    counts = np.zeros((found.dataset.user_num, found.n_items))
    counts[users, items] = 1

    def mapped(rows):
        hidden = (rows - center) @ network["first.weight"].T + network["first.bias"]
        return np.where(hidden > 0, hidden, 0.01 * hidden) @ network["second.weight"].T + network["second.bias"]

    covered = np.abs(texts).sum(axis=1) > 0
    known = counts * covered
    means = known @ texts / np.maximum(known.sum(axis=1, keepdims=True), 1)
    start = np.vstack([mapped(means) * (known.sum(axis=1, keepdims=True) > 0), mapped(texts) * covered[:, None]])
    graph = np.block([[np.zeros((len(counts), len(counts))), counts], [counts.T, np.zeros((counts.shape[1],) * 2)]])
    scale = 1 / np.sqrt(np.maximum(graph.sum(axis=1), 1))
    graph = scale[:, None] * graph * scale
    final = (start + graph @ start + graph @ (graph @ start)) / 3
    final /= np.sqrt(1e-8 + (final**2).sum(axis=1, keepdims=True))
    return final[: len(counts)], final[len(counts) :]


def test_alpharec_is_the_formula_on_the_larger_graph(run):
    trained = train(run, "AlphaRec", semantic_center=True)
    new = vectors(trained, 2)
    later = pairs(("fresh", "i3"), ("fresh", "i5"), ("fresh", "n1"), ("u2", "n1"), ("u2", "n1"))
    found = extend(trained, Unseen(["fresh"], ["n1", "n2"], {"item": (["n1", "n2"], new)}, later))
    known = load_semantic(found.config, found.splits[0], report=False).item
    texts = np.zeros((found.n_items, known.dim))
    texts[known.ids.numpy()] = known.rows(known.ids).double().numpy()
    assert np.allclose(texts[-2:], new, atol=1e-6)
    before = load_semantic(trained.config, trained.splits[0], report=False).item
    center = before.rows(before.ids).double().numpy().mean(axis=0)
    network = {name.removeprefix("text.item."): value.double().numpy() for name, value in trained.model.state_dict().items()}
    users, items = dense(found, texts, network, center)
    everyone = torch.arange(1, found.dataset.user_num)
    assert np.allclose(found.scores(everyone)[:, 1:].numpy(), (users @ items.T)[1:, 1:], atol=1e-5)
    lone = trained.model.embed_items(torch.from_numpy(new[1:]))  # n2 has no interaction
    assert np.allclose(items[-1], lone.numpy(), atol=1e-5)


@pytest.mark.parametrize("model", ["AlphaRec", "LightGCN_Semantic", "NGCF_Semantic", "BPR_Semantic", "LightGCN_RLMRec"])
def test_known_scores_stay_and_new_items_get_some(run, model):
    trained = train(run, model, **({"loss": "softmax"} if model == "LightGCN_Semantic" else {}))
    everyone = torch.arange(1, trained.dataset.user_num)
    before = trained.scores(everyone)
    found = extend(trained, Unseen(items=["n1", "n2"], vectors={"item": (["n1", "n2"], vectors(trained, 2))}))
    seen = torch.bincount(trained.splits[0].inter_feat["item_id"], minlength=trained.n_items) > 0
    after = found.scores(everyone)
    assert torch.allclose(after[:, : trained.n_items][:, seen], before[:, seen], atol=1e-5)
    assert after.shape[1] == trained.n_items + 2 and after[:, -2:].std() > 0
    assert [str(token) for token in found.tokens("item")[-2:]] == ["n1", "n2"]


@pytest.mark.parametrize("way", ["add", "concat", "replace"])
def test_representations_have_the_texts_in_them(run, way):
    trained = train(run, "BPR_Semantic", semantic_input=way)
    users, items = trained.representations()
    assert torch.allclose(trained.scores(torch.arange(1, 5)), users[1:5] @ items.T, atol=1e-6) and items[1:].any(dim=1).all()


@pytest.mark.parametrize("backbone", ["SASRec", "FPMC", "BERT4Rec"])
def test_representations_of_sequences_have_the_texts_in_them(run, backbone):
    trained = train(run, f"{backbone}_Semantic", semantic_input="replace", hidden_size=8, inner_size=16)
    users, items = trained.representations()
    expected = users[1:5] @ items.T + getattr(trained.model, "output_bias", torch.zeros(1)).detach()
    assert torch.allclose(trained.scores(torch.arange(1, 5)), expected, atol=1e-6) and items[1:].any(dim=1).all()


def test_semantic_items_begin_with_their_text_alone(run):
    trained = train(run, "LightGCN_Semantic", loss="bpr")
    new = vectors(trained, 1)
    found = extend(trained, Unseen(items=["n1"], vectors={"item": (["n1"], new)}))
    item = found.representations()[1][-1]
    expected = trained.model.texts[0].embed_items(torch.from_numpy(new))[0] / (trained.config["n_layers"] + 1)
    assert torch.allclose(item, expected, atol=1e-6)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_con_puts_items_where_their_text_is_projected(run, loss):
    trained = train(run, "LightGCN_RLMRec", loss=loss)
    new = vectors(trained, 1)
    found = extend(trained, Unseen(["fresh"], ["n1"], {"item": (["n1"], new)}, pairs(("fresh", "i3"), ("fresh", "i5"))))
    weights = {name: value.double().numpy() for name, value in trained.aligned.items()}
    hidden = new[0] @ weights["down.0.weight"].T + weights["down.0.bias"]
    out = np.where(hidden > 0, hidden, 0.01 * hidden) @ weights["down.2.weight"].T + weights["down.2.bias"]
    users, items = (table.double().numpy() for table in found.representations())
    assert np.allclose(items[-1] / np.linalg.norm(items[-1]), out / np.linalg.norm(out), atol=1e-5)
    counts = np.bincount(found.splits[0].inter_feat["item_id"].numpy(), minlength=found.n_items)
    assert np.isclose(np.linalg.norm(items[-1]), np.linalg.norm(items[1:], axis=1)[counts[1:] > 0].mean(), rtol=1e-4)
    assert np.linalg.norm(users[-1]) > 0  # folded in
    assert np.allclose(found.scores(torch.tensor([1]))[0].numpy(), users[1] @ items.T, atol=1e-5)


def test_con_without_a_projection_puts_items_where_their_text_is(run):
    trained = train(run, "LightGCN_RLMRec", align_projection="none", semantic_dim=8, embedding_size=8)
    assert trained.alignment == "con" and not trained.aligned
    new = vectors(trained, 1)
    item = extend(trained, Unseen(items=["n1"], vectors={"item": (["n1"], new)})).representations()[1][-1].numpy()
    assert np.allclose(item / np.linalg.norm(item), new[0] / np.linalg.norm(new[0]), atol=1e-6)


def test_con_serves_by_texts_alone_whom_it_has_aligned_with_texts(run):
    trained = train(run, "LightGCN_RLMRec", align_sides="item", align_weight=0.1)
    vector = vectors(trained, 1)
    found = extend(trained, Unseen(["fresh"], ["n1"], {"item": (["n1"], vector)}, pairs(("fresh", "i3"))))
    assert found.representations()[1][-1].norm() > 0
    with pytest.raises(SemanticError, match="'fresh' has no interaction, and the model was trained with align_sides: item"):
        extend(trained, Unseen(["fresh"], [], {"user": (["fresh"], vector)}))


def test_con_towards_another_model_knows_no_texts(run, workdir):
    learnt = train(run, "LightGCN_RLMRec", alignment="none")
    assert cli.execute(["export", "--checkpoint", str(last_record().checkpoint), "--output", "learnt"]) == 0
    trained = train(run, "LightGCN_RLMRec", align_with="learnt", semantic_dim=learnt.config["embedding_size"])
    with pytest.raises(ModelError, match="alignment con and align_with knows users and items by their ids alone"):
        extend(trained, Unseen(items=["n1"]))


@pytest.mark.parametrize("model", ["AlphaRec", "LightGCN_Semantic", "NGCF_Semantic", "NeuMF_Semantic"])
def test_new_ones_of_whom_the_model_reads_nothing_are_refused(run, model):
    trained = train(run, model)
    fresh = Unseen(users=["fresh"], vectors={"user": (["fresh"], vectors(trained, 1))})
    with pytest.raises(SemanticError, match=r"'fresh' has nothing that .* reads.*user_text: history"):
        extend(trained, fresh)
    item = Unseen(items=["n1"], pairs=pairs(("u1", "n1")))
    if model == "NeuMF_Semantic":  # no graph folds its interaction in
        with pytest.raises(SemanticError, match="'n1' has nothing that NeuMF_Semantic reads"):
            extend(trained, item)
    else:
        assert extend(trained, item).representations()[1][-1].any()


def test_con_without_a_graph_knows_new_ones_by_texts_alone(run):
    trained = train(run, "BPR_RLMRec")
    texts = {side: (["new"], vectors(trained, 1)) for side in ("user", "item")}
    found = extend(trained, Unseen(["new"], ["new"], texts, pairs(("new", "i3"), ("u3", "new"))))
    assert all(table[-1].any() for table in found.representations())
    with pytest.raises(SemanticError, match="'new' has nothing that BPR_RLMRec reads: it knows new users by texts"):
        extend(trained, Unseen(["new"], [], {}, pairs(("new", "i3"))))


def test_users_by_text_alone(run):
    trained = train(run, "AlphaRec", user_text="profile")
    new = vectors(trained, 1)
    found = extend(trained, Unseen(users=["fresh"], vectors={"user": (["fresh"], new)}))
    assert found.scores(found.user_ids(["fresh"])).std() > 0
    expected = trained.model.embed_users(profiles=torch.from_numpy(new))
    assert torch.allclose(found.model.full_sort_predict({"user_id": found.user_ids(["fresh"])}),
                          (expected @ found.model.restore_item_e.T).view(-1), atol=1e-5)  # fmt: skip


def test_texts_are_encoded_as_the_profiles_were(run):
    trained = train(run, "AlphaRec", semantic_dim=7)
    from recbole_rlmrec.data.paths import semantic_root
    from recbole_rlmrec.data.store import ProfileStore

    tag = semantic_tag(trained)
    texts = ProfileStore(semantic_root(trained.config) / tag).texts("item")
    rows = embed_texts(trained.config, tag, {"item": [texts["i4"], texts["i7"]], "user": []})
    known = load_semantic(trained.config, trained.splits[0], report=False).item
    ids = torch.tensor([trained.dataset.field2token_id["item_id"][token] for token in ("i4", "i7")])
    assert list(rows) == ["item"] and np.allclose(rows["item"], known.rows(ids).numpy(), atol=1e-4)


@pytest.mark.parametrize("model", ["AlphaRec", "LightGCN_RLMRec"])
def test_vectors_that_were_made_anew_are_not_taken_for_those_of_training(run, model):
    run(model, epochs=1, semantic_dim=8)
    path, file = last_record().checkpoint, Path("dataset/tiny/tiny.item")
    extend(load_trained(path), Unseen())
    file.write_text(file.read_text().replace("A story of", "Once upon a time there were cooks and pilots and"))
    with pytest.raises(SemanticError, match="not those that the model was trained with"):
        extend(load_trained(path), Unseen())


def test_bad_input(run):
    plain = train(run, "BPR")
    with pytest.raises(ModelError, match="BPR knows users and items by their ids alone"):
        extend(plain, Unseen(items=["n1"]))
    none = train(run, "LightGCN_RLMRec", alignment="none")
    with pytest.raises(ModelError, match="LightGCN_RLMRec with alignment none"):
        extend(none, Unseen(items=["n1"]))
    trained = train(run, "AlphaRec")
    with pytest.raises(SemanticError, match="New item 'n1' and 1 more has no text and no interaction"):
        extend(trained, Unseen(items=["n1", "n2"]))
    with pytest.raises(DataError, match="'i3' is not new"):
        extend(trained, Unseen(items=["i3"]))
    with pytest.raises(DataError, match="user 'u1' with item 'nothing'"):
        extend(trained, Unseen(pairs=pairs(("u1", "nothing"))))
