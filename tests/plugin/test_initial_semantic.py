"""Ids that start from profiles: which dimensions, scale, who keeps the drawn ones."""

import numpy as np
import pytest
import torch
from recbole.quick_start import run_recbole
from stand_ins import Interactions, Options, defaults, make, semantic

from recbole_rlmrec.errors import ConfigError, ModelError, SemanticError
from recbole_rlmrec.plugin import initial_semantic
from recbole_rlmrec.plugin.record import last_record

N_USERS, N_ITEMS, WIDTH, DIM = 6, 8, 10, 3
PAIRS = np.array([[1, 1], [1, 4], [2, 3], [3, 2], [3, 7], [3, 3], [4, 5]])


@pytest.fixture
def start(monkeypatch):
    """A function that fills a model and returns its embeddings before and after, and the texts."""
    rng = np.random.default_rng(2)
    scale = np.arange(1, WIDTH + 1)[rng.permutation(WIDTH)]
    texts = {side: (rng.normal(size=(n - 1, WIDTH)) * scale + 1).astype(np.float32) for side, n in (("user", 6), ("item", 8))}

    def run(missing_items=(3,), missing_users=(2,), model="LightGCN_RLMRec", **options):
        known = semantic(texts["user"], texts["item"], missing_users, missing_items)
        monkeypatch.setattr(initial_semantic, "load_semantic", lambda config, train: known)
        data = Interactions(*PAIRS.T, N_USERS, N_ITEMS)
        settings = {"alignment": "none", "embedding_size": DIM, "n_layers": 1, "reg_weight": 0.0, "seed": 7}
        settings |= {"initial_from": "pca", **options}
        recommender = make(model, data, **settings)
        tables = recommender.user_embedding.weight, recommender.item_embedding.weight
        before = [table.detach().clone() for table in tables]
        initial_semantic.load_semantic_initial(recommender, data, Options({**defaults(model), **settings}))
        return before, [table.detach() for table in tables], texts

    return run


def scaled(rows, before):
    return rows * (before[1:].square().mean().sqrt().item() / np.sqrt((rows**2).mean()))


@pytest.mark.parametrize("how", ["pca", "uniform", "random", "variance"])
def test_items_and_users_by_history(start, how):
    before, (users, items), texts = start(initial_from=how)
    known = [1, 2, 4, 5, 6, 7]
    rows = texts["item"][np.array(known) - 1].astype(np.float64)
    if how == "pca":
        centred = rows - rows.mean(axis=0)
        expected = centred @ np.linalg.svd(centred, full_matrices=False)[2][:DIM].T
    else:
        dims = {"uniform": [0, 3, 6], "variance": sorted(np.argsort(-rows.var(axis=0))[:DIM])}
        found = items[known].numpy() / np.sqrt((items[known].numpy() ** 2).mean())
        chosen = dims.get(how) or [
            int(np.argmax([abs(np.corrcoef(found[:, k], rows[:, j])[0, 1]) for j in range(WIDTH)])) for k in range(DIM)
        ]
        assert len(set(chosen)) == DIM
        expected = rows[:, chosen]
    wanted = scaled(expected, before[1])
    found = items[known].double().numpy()
    signs = np.sign((found * wanted).sum(axis=0)) if how == "pca" else 1
    np.testing.assert_allclose(found * signs, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(items[[0, 3]], before[1][[0, 3]]) and torch.equal(users[[0, 2, 5]], before[0][[0, 2, 5]])
    by_id = dict(zip(known, expected))
    means = np.array([np.mean([by_id[item] for one, item in PAIRS if one == user and item != 3], axis=0) for user in (1, 3, 4)])
    np.testing.assert_allclose(users[[1, 3, 4]].double().numpy() * signs, scaled(means, before[0]), rtol=1e-4, atol=1e-5)


def test_users_by_profile(start):
    before, (users, _), texts = start(initial_from="uniform", user_text="profile")
    known = [1, 3, 4, 5]
    wanted = scaled(texts["user"][np.array(known) - 1][:, [0, 3, 6]].astype(np.float64), before[0])
    np.testing.assert_allclose(users[known], wanted, rtol=1e-4)
    assert torch.equal(users[2], before[0][2])


def test_what_is_drawn_depends_on_the_seed(start):
    one, other, again = (start(initial_from="random", seed=seed)[1][1] for seed in (1, 2, 1))
    known = [1, 2, 4, 5, 6, 7]
    assert not np.allclose(np.corrcoef(one[known].T)[0, 1], np.corrcoef(other[known].T)[0, 1])
    np.testing.assert_allclose(np.corrcoef(one[known].T), np.corrcoef(again[known].T), rtol=1e-5)


def test_mistakes_are_sentences(start):
    with pytest.raises(ConfigError, match="embedding_size to at most 10"):
        start(embedding_size=11)
    with pytest.raises(ConfigError, match="initial_from"):
        start(initial_from="svd")
    with pytest.raises(SemanticError, match="needs profiles of items"):
        start(missing_items=range(1, N_ITEMS))
    with pytest.raises(SemanticError, match="needs profiles of users"):
        start(missing_users=range(1, N_USERS), user_text="profile")


def test_a_run_starts_from_them_and_says_so(tiny):
    options = {**tiny, "initial_embeddings": "semantic"}
    run_recbole("LightGCN_RLMRec", "tiny", config_dict={**options, "alignment": "none"}, saved=False)
    assert last_record().provenance["tag"].startswith("template-lsa-")
    with pytest.raises(ModelError, match="no initial embeddings"):
        run_recbole("LightGCN", "tiny", config_dict=options, saved=False)


def test_without_ids_there_is_nothing_to_start_from(tiny, workdir):
    with pytest.raises(ConfigError, match="replace leaves no embedding to start from"):
        run_recbole(
            "LightGCN_Semantic", "tiny", config_dict={**tiny, "semantic_input": "replace", "initial_embeddings": "semantic"}
        )
