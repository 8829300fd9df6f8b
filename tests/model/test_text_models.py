"""AlphaRec and NAME_Semantic: values and gradients against dense float64 formulas, cold users and items, whole runs."""

import copy

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model, run_recbole
from stand_ins import Interactions, Options, batch, defaults, semantic

from recbole_rlmrec.errors import ConfigError, ModelError, SemanticError
from recbole_rlmrec.model.adapters import ADAPTERS, SequenceAdapter
from recbole_rlmrec.model.lookup import find_model, model_names
from recbole_rlmrec.plugin.record import last_record

N_USERS, N_ITEMS, WIDTH, DIM, TAU = 7, 9, 5, 4, 0.15
MISSING = {"user": (2, 5), "item": (3,)}
PAIRS = np.array([[1, 1], [1, 3], [2, 3], [3, 2], [3, 5], [4, 1], [4, 8], [5, 4], [6, 6], [6, 2], [6, 1]])  # user 2: no text
IDS = torch.tensor([1, 3, 6, 1]), torch.tensor([3, 5, 1, 1]), torch.tensor([5, 3, 8, 2])
SMALL = {"embedding_size": DIM, "n_layers": 2, "reg_weight": 0.0, "softmax_negatives": "all"}
SMALL |= {"semantic_hidden_size": 6, "semantic_center": True}


@pytest.fixture
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    yield
    torch.set_default_dtype(before)


def profiles():
    rng = np.random.default_rng(1)
    return {side: rng.normal(size=(n - 1, WIDTH)).astype(np.float32) for side, n in (("user", N_USERS), ("item", N_ITEMS))}


def make(name, monkeypatch, known=None, **options):
    """A model on a small graph with profiles of which some are missing."""
    texts = profiles()
    known = known or semantic(texts["user"], texts["item"], MISSING["user"], MISSING["item"])
    for place in ("semantic_input", "rlmrec", "general_recommender.alpharec"):
        monkeypatch.setattr(f"recbole_rlmrec.model.{place}.load_semantic", lambda config, train: known)
    data = Interactions(*PAIRS.T, N_USERS, N_ITEMS)
    return find_model(name)(Options({**defaults(name), **SMALL, **options}), data).train()


def network(net, text, center):
    """The formula of one text [WIDTH]."""
    text = torch.as_tensor(text).double() - center
    if net.second is None:
        return net.first.weight @ text
    hidden = net.first.weight @ text + net.first.bias
    return net.second.weight @ torch.where(hidden > 0, hidden, 0.01 * hidden) + net.second.bias


def texts_of(model, user_text, center=True):
    """What the texts give to all users and all items, one by one."""
    table, inputs = profiles(), model.text if hasattr(model, "text") else model.texts[0]
    known = {side: [i for i in range(1, n) if i not in MISSING[side]] for side, n in (("user", N_USERS), ("item", N_ITEMS))}
    means = {side: torch.as_tensor(table[side][np.array(ids) - 1]).double().mean(dim=0) for side, ids in known.items()}
    means = {side: mean if center else 0 * mean for side, mean in means.items()}
    items = [network(inputs.item, table["item"][i - 1], means["item"]) if i in known["item"] else None for i in range(N_ITEMS)]
    users = []
    for user in range(N_USERS):
        total = torch.zeros(DIM)
        history = [item for one, item in PAIRS if one == user and item in known["item"]]
        if user_text != "profile" and history:
            average = np.mean([table["item"][i - 1].astype(np.float64) for i in history], axis=0)
            total = total + network(inputs.item, average, means["item"])
        if user_text != "history" and user in known["user"]:
            total = total + network(inputs.user, table["user"][user - 1], means["user"])
        users.append(total)
    return torch.stack(users), torch.stack([torch.zeros(DIM) if row is None else row for row in items])


def adjacency():
    matrix = torch.zeros(N_USERS + N_ITEMS, N_USERS + N_ITEMS)
    for user, item in PAIRS:
        matrix[user, N_USERS + item] = matrix[N_USERS + item, user] = 1
    scale = matrix.sum(dim=1).clamp(min=1).rsqrt()
    return scale[:, None] * matrix * scale


def propagated(initial):
    matrix = adjacency()
    return ((initial + matrix @ initial + matrix @ matrix @ initial) / 3).split([N_USERS, N_ITEMS])


def unit(table):
    return table / (1e-8 + table.square().sum(dim=1, keepdim=True)).sqrt()


def softmax_all(users, items):
    scores = unit(users)[IDS[0]] @ unit(items)[1:].T / TAU
    return (scores.logsumexp(dim=1) - scores[torch.arange(4), IDS[1] - 1]).mean()


def check_gradients(model, loss, expected):
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.zero_grad(set_to_none=True)
    torch.testing.assert_close(loss, expected)
    expected.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(found[name], parameter.grad, msg=name)


@pytest.mark.parametrize("user_text", ["history", "profile", "both"])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("center", [True, False])
def test_alpharec_equals_the_formula(float64, monkeypatch, user_text, kind, center):
    model = make("AlphaRec", monkeypatch, user_text=user_text, semantic_mlp=kind, semantic_center=center)
    users, items = propagated(torch.cat(texts_of(model, user_text, center)))
    torch.testing.assert_close(model.forward(), (users, items), rtol=1e-6, atol=1e-7)
    check_gradients(model, model.calculate_loss(batch(*IDS)), softmax_all(users, items))
    scores = model.full_sort_predict(batch(*IDS)).view(4, N_ITEMS)
    torch.testing.assert_close(scores, unit(users)[IDS[0]] @ unit(items).T, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(model.predict(batch(*IDS)), scores[torch.arange(4), IDS[1]])


@pytest.mark.parametrize("how", ["add", "concat", "replace"])
@pytest.mark.parametrize("user_text", ["history", "both"])
def test_lightgcn_semantic_equals_the_formula(float64, monkeypatch, how, user_text):
    options = {"semantic_input": how, "user_text": user_text, "loss": "softmax"}
    if how == "concat":
        options["embedding_size"] = 2 * DIM
    model = make("LightGCN_Semantic", monkeypatch, **options)
    texts, ids = texts_of(model, user_text), (model.user_embedding.weight, model.item_embedding.weight)
    if how == "add":
        initial = [text + own for text, own in zip(texts, ids)]
    elif how == "concat":
        assert ids[0].shape[1] == DIM
        initial = [torch.cat([own, text], dim=1) for text, own in zip(texts, ids)]
    else:
        assert not any(own.requires_grad for own in ids)
        initial = texts
    users, items = propagated(torch.cat(list(initial)))
    torch.testing.assert_close(model.forward(), (users, items), rtol=1e-6, atol=1e-7)
    loss = model.calculate_loss(batch(*IDS))
    assert type(model.user_embedding) is torch.nn.Embedding
    check_gradients(model, sum(loss), softmax_all(users, items))


def test_bpr_semantic_equals_the_formula(float64, monkeypatch):
    model = make("BPR_Semantic", monkeypatch)
    ids = model.user_embedding.weight, model.item_embedding.weight
    users, items = (text + own for text, own in zip(texts_of(model, "history"), ids))
    margin = (users[IDS[0]] * (items[IDS[1]] - items[IDS[2]])).sum(dim=1)
    check_gradients(model, model.calculate_loss(batch(*IDS)), -torch.log(1e-10 + margin.sigmoid()).mean())
    model.eval()
    torch.testing.assert_close(model.full_sort_predict(batch(*IDS)).view(4, -1), users[IDS[0]] @ items.T)


def test_who_has_no_text_gets_zero(monkeypatch):
    model = make("AlphaRec", monkeypatch)
    users, items = model.text()
    assert (users == 0).all(dim=1).nonzero().flatten().tolist() == [0, 2]  # user 2 knows item 3 alone, which has no text
    assert (items == 0).all(dim=1).nonzero().flatten().tolist() == [0, 3]


@pytest.mark.parametrize("name", ["SGL_Semantic", "LightGCN_Semantic"])
def test_a_step_multiplies_each_text_once(monkeypatch, name):
    model = make(name, monkeypatch, loss="softmax", user_text="both")
    products = []
    for side in ("user", "item"):
        table = getattr(model.texts[0].semantic, side)
        monkeypatch.setattr(table, "blocks", lambda blocks=table.blocks, side=side: products.append(side) or blocks())
    sum(model.calculate_loss(batch(*IDS))).backward()
    assert sorted(products) == ["item", "item", "user", "user"]  # forward and backward


def test_ids_and_dimensions_are_hidden_in_training_alone(monkeypatch):
    model = make("LightGCN_Semantic", monkeypatch, id_dropout=0.999999)
    with torch.no_grad():
        shown, texts = model._initial_tables(), model.texts[0]()
        assert all(torch.equal(table, text) for table, text in zip(shown, texts))
        model.eval()
        assert not torch.equal(model._initial_tables()[0], texts[0])
    model = make("AlphaRec", monkeypatch, semantic_dropout=0.5, n_layers=0)
    with torch.no_grad():
        assert not torch.equal(model.forward()[1], model.forward()[1])
        model.eval()
        assert torch.equal(model.forward()[1], model.forward()[1])


def test_new_items_and_users_are_scored_as_known_ones(float64, monkeypatch):
    """A user with the items of one that training knows gets that user's vector; an item without interactions is its text."""
    model = make("AlphaRec", monkeypatch).eval()
    texts, users = torch.as_tensor(profiles()["item"]), unit(model.forward()[0])
    mine = [torch.tensor([2, 5])]
    history = texts[mine[0] - 1].double().mean(dim=0, keepdim=True)
    for items in (mine, [torch.cat([mine[0], mine[0][:1]])]):  # a repeat counts once
        torch.testing.assert_close(model.embed_users(history=history, items=items)[0], users[3], rtol=1e-6, atol=1e-7)
    items = unit(model.forward()[1])
    torch.testing.assert_close(model.embed_items(texts[6:7])[0], items[7], rtol=1e-6, atol=1e-7)  # item 7: no interaction
    with pytest.raises(SemanticError, match="new users need their items"):
        model.embed_users(profiles=history)


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("name", ["AlphaRec", "LightGCN_Semantic"])
def test_a_side_without_texts_is_a_sentence(monkeypatch, name, side):
    texts = profiles()
    everyone = range(1, 1 + len(texts[side]))
    known = semantic(texts["user"], texts["item"], **{f"missing_{side}s": everyone})
    with pytest.raises(SemanticError, match=f"{side}s? of this run"):
        make(name, monkeypatch, known, user_text="profile")
    if side == "user":
        make(name, monkeypatch, known, user_text="history")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user_text", "title"),
        ("semantic_mlp", "deep"),
        ("semantic_hidden_size", 0),
        ("semantic_center", "no"),
        ("semantic_dropout", 1),
        ("id_dropout", -0.1),
        ("semantic_input", "sum"),
    ],
)
def test_options_out_of_range(monkeypatch, key, value):
    with pytest.raises(ConfigError, match=key):
        make("LightGCN_Semantic", monkeypatch, **{key: value})


def test_a_temperature_of_zero_is_a_sentence(monkeypatch):
    with pytest.raises(ConfigError, match="softmax_temperature is 0; set it to a number above 0"):
        make("AlphaRec", monkeypatch, softmax_temperature=0)


@pytest.mark.parametrize("backbone", ["GCMC", "MultiVAE", "DMF", "SimpleX"])
def test_others_say_why_not(tiny, backbone):
    with pytest.raises(ModelError, match="has no text as input"):
        run_recbole(f"{backbone}_Semantic", "tiny", config_dict=tiny, saved=False)


def test_histories_are_of_training_alone(tiny):
    run_recbole("AlphaRec", "tiny", config_dict=tiny)
    _, model, _, train, *held_out = load_data_and_model(last_record().checkpoint)
    known = train.dataset.inter_feat
    pairs = set(zip(known["user_id"].tolist(), known["item_id"].tolist()))
    matrix = model.text.history(torch.eye(model.n_items))
    assert {tuple(place.tolist()) for place in matrix.nonzero()} == pairs
    assert sum(len(loader.dataset) for loader in held_out) > 0


def test_recommend_and_its_vectors(tiny):
    from recbole_rlmrec.plugin.sampler import UserItems
    from recbole_rlmrec.runs.trained import load_trained

    for name, options in (("AlphaRec", {}), ("LightGCN_Semantic", {"loss": "softmax", "alignment": "con"})):
        run_recbole(name, "tiny", config_dict={**tiny, **options})
        trained = load_trained(last_record().checkpoint)
        users, items = trained.representations()
        scores, best = trained.top(torch.tensor([1, 2]), 3, UserItems.of_datasets([trained.splits[0]]))
        expected = (torch.nn.functional.normalize(users[[1, 2]]) @ torch.nn.functional.normalize(items).T).gather(1, best)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_names_are_listed():
    names = model_names()
    assert {"AlphaRec", "LightGCN_Semantic", "NeuMF_Semantic"} <= set(names) and "GCMC_Semantic" not in names
    assert all(find_model(name).__name__ == name for name in names if name.endswith("_Semantic"))


BACKBONES = [name for name, adapter in ADAPTERS.items() if adapter.text_input and not isinstance(adapter, SequenceAdapter)]
RUNS = [(name, {}) for name in ("AlphaRec", *(f"{name}_Semantic" for name in BACKBONES))]
RUNS += [("LightGCN_Semantic", {"alignment": kind, "loss": "softmax"}) for kind in ("con", "gen")]
RUNS += [("NGCF_Semantic", {"semantic_input": "concat", "id_dropout": 0.3, "user_text": "both"})]


@pytest.mark.parametrize(("name", "options"), RUNS)
def test_runs_learns_and_loads_again(tiny, name, options):
    options = {**tiny, "embedding_size": 16, "cnn_channels": [1, 8, 8], "cnn_kernels": [4, 4], "cnn_strides": [4, 4], **options}
    result = run_recbole(name, "tiny", config_dict=options)
    record = last_record()
    assert record.provenance["tag"].startswith("template-lsa-")
    config, model, _, _, _, test = load_data_and_model(record.checkpoint)
    assert type(model).__name__ == name
    model.eval()
    with torch.no_grad():
        interaction = next(iter(test))[0]
        try:
            scores = model.full_sort_predict(interaction)
        except NotImplementedError:
            return
        for cached in ("restore_user_e", "restore_item_e"):
            if hasattr(model, cached):
                setattr(model, cached, None)
        torch.testing.assert_close(model.full_sort_predict(interaction), scores)
        torch.testing.assert_close(copy.deepcopy(model).full_sort_predict(interaction), scores)
    assert 0 <= result["test_result"]["recall@10"] <= 1
