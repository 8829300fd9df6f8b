"""LightGCN_KAR and SGL_KAR: forward and gradients against dense float64 formulas, and whole runs."""

import copy

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model
from stand_ins import Interactions, Options, batch, defaults, semantic

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.lookup import backbone_name, find_model
from recbole_rlmrec.plugin.record import last_record

N_USERS, N_ITEMS, WIDTH, DIM, AUGMENTED = 7, 9, 5, 4, 3
MISSING = {"user": (2, 5), "item": (3,)}
SMALL = {"embedding_size": DIM, "kar_size": AUGMENTED, "kar_hidden_size": 6, "n_layers": 2, "reg_weight": 0.01}
MODELS = ("LightGCN_KAR", "SGL_KAR")


@pytest.fixture
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    yield
    torch.set_default_dtype(before)


def make(name, monkeypatch, **options):
    """A model on a small graph, its training data and profiles."""
    rng = np.random.default_rng(1)
    pairs = np.unique(np.column_stack([rng.integers(1, N_USERS, 20), rng.integers(1, N_ITEMS, 20)]), axis=0)
    profiles = {side: rng.normal(size=(n - 1, WIDTH)) for side, n in (("user", N_USERS), ("item", N_ITEMS))}
    profiles = {side: rows.astype(np.float32) for side, rows in profiles.items()}
    known = semantic(profiles["user"], profiles["item"], MISSING["user"], MISSING["item"])
    monkeypatch.setattr("recbole_rlmrec.model.kar.load_semantic", lambda config, train: known)
    settings = Options({**kar_defaults(name), **SMALL, **options})
    return find_model(name)(settings, Interactions(*pairs.T, N_USERS, N_ITEMS)), pairs, profiles


def kar_defaults(name):
    """Of the backbone, of KAR and of the model."""
    options = defaults(backbone_name(name))
    for part in ("KAR", name):
        options.update(defaults(part))
    return options


def adapted(model, side, rows):
    """The adaptor's formula for one semantic embedding [WIDTH]."""
    experts = [*model.kar.experts["shared"], *model.kar.experts[side]]
    logits = torch.stack([gate @ rows for gate in model.kar.gates[side].weight])
    shares = logits.exp() / logits.exp().sum()
    total = torch.zeros(AUGMENTED)
    for share, expert in zip(shares, experts):
        hidden = expert[0].weight @ rows + expert[0].bias
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        total = total + share * (expert[2].weight @ hidden + expert[2].bias)
    return total


def initial(model, profiles):
    """[CF embedding, augmented vector] of all nodes, row by row."""
    rows = []
    for side, table in (("user", model.user_embedding.weight), ("item", model.item_embedding.weight)):
        for node in range(len(table)):
            known = node > 0 and node not in MISSING[side]
            text = torch.from_numpy(profiles[side][node - 1]).double() if known else None
            vector = adapted(model, side, text) if known else torch.zeros(AUGMENTED)
            rows.append(torch.cat([table[node], vector]))
    return torch.stack(rows)


def adjacency(pairs):
    """Dense normalised adjacency."""
    n = N_USERS + N_ITEMS
    matrix = torch.zeros(n, n)
    for user, item in pairs:
        matrix[user, N_USERS + item] = matrix[N_USERS + item, user] = 1
    scale = matrix.sum(dim=1).clamp(min=1).rsqrt()
    return scale[:, None] * matrix * scale


def layers(x, matrices):
    """E_0 to E_L."""
    return torch.stack([x, *(x := matrix @ x for matrix in matrices)])


def test_lightgcn_equals_the_formula_with_its_gradients(float64, monkeypatch):
    model, pairs, profiles = make("LightGCN_KAR", monkeypatch, reg_scope="all")
    ids = torch.tensor([1, 2, 6, 1]), torch.tensor([3, 4, 1, 1]), torch.tensor([5, 3, 8, 2])
    bpr, reg = model.calculate_loss(batch(*ids))
    (bpr + reg).backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    expected = layers(initial(model, profiles), [adjacency(pairs)] * 2).mean(dim=0)
    users, items = expected[:N_USERS], expected[N_USERS:]
    torch.testing.assert_close(model.forward(), (users, items))
    margin = (users[ids[0]] * (items[ids[1]] - items[ids[2]])).sum(dim=1)
    loss = -torch.log(1e-10 + torch.sigmoid(margin)).mean()
    torch.testing.assert_close(bpr, loss)
    (loss + 0.01 * sum(parameter.square().sum() for parameter in model.parameters())).backward()
    assert any(name.startswith("kar.experts") for name in found)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_the_softmax_loss_takes_the_place_of_bpr_and_scores_are_cosines(float64, monkeypatch):
    model, pairs, profiles = make("LightGCN_KAR", monkeypatch, loss="softmax", softmax_negatives="all", softmax_temperature=0.4)
    users, positives = torch.tensor([1, 2, 6, 1]), torch.tensor([3, 4, 1, 1])
    softmax = model.calculate_loss(batch(users, positives, positives))[0]
    expected = layers(initial(model, profiles), [adjacency(pairs)] * 2).mean(dim=0)
    expected = expected / (1e-8 + expected.square().sum(dim=1, keepdim=True)).sqrt()
    cosines = expected[:N_USERS] @ expected[N_USERS:].T
    logits = cosines[users, 1:] / 0.4
    torch.testing.assert_close(softmax, (logits.logsumexp(dim=1) - logits[range(4), positives - 1]).mean())
    with torch.no_grad():
        torch.testing.assert_close(model.eval().full_sort_predict(batch([2], [1], [1])), cosines[2])


def test_an_alignment_beside_it_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="leave alignment: con out"):
        make("LightGCN_KAR", monkeypatch, alignment="con")


def test_sgl_equals_the_formula_with_its_gradients(float64, monkeypatch):
    model, pairs, profiles = make("SGL_KAR", monkeypatch, ssl_weight=0.3, ssl_tau=0.4)
    keeps = [torch.rand(model.train_graph.nnz) < 0.7 for _ in range(2)]
    drawn = iter(keeps)
    monkeypatch.setattr(type(model.train_graph), "draw_keep", lambda self, rate: next(drawn))
    ids = torch.tensor([1, 2, 6, 1]), torch.tensor([3, 4, 1, 1]), torch.tensor([5, 3, 8, 2])
    losses = model.calculate_loss(batch(*ids))
    sum(losses).backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    full, start, graph = adjacency(pairs), initial(model, profiles), model.train_graph
    tables = [layers(start, [full] * 2).sum(dim=0)]
    for keep in keeps:
        view = torch.zeros_like(full)
        view[graph.row[keep], graph.col[keep]] = full[graph.row[keep], graph.col[keep]]
        tables.append(layers(start, [view] * 2).sum(dim=0))
    users, items = tables[0][:N_USERS], tables[0][N_USERS:]
    margin = (users[ids[0]] * (items[ids[1]] - items[ids[2]])).sum(dim=1)
    loss = torch.log1p(torch.exp(-margin)).mean()
    loss = loss + 0.01 * sum(parameter.square().sum() for parameter in model.parameters())
    first, second = (table / (1e-8 + table.square().sum(dim=1, keepdim=True)).sqrt() for table in tables[1:])
    for side, nodes in ((slice(1, N_USERS), ids[0]), (slice(N_USERS + 1, None), N_USERS + torch.cat(ids[1:]))):
        for node in nodes:
            own = first[node] @ second[node] / 0.4
            loss = loss + 0.3 / 4 * (torch.logsumexp(second[side] @ first[node] / 0.4, 0) - own)
    torch.testing.assert_close(sum(losses), loss)
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_who_has_no_profile_gets_a_zero_vector(name, monkeypatch):
    model, *_ = make(name, monkeypatch)
    for side, missing in MISSING.items():
        nothing = (model.kar.table(side) == 0).all(dim=1).nonzero().squeeze(1)
        assert nothing.tolist() == [0, *missing]


def test_a_step_projects_each_side_once(monkeypatch):
    model, *_ = make("SGL_KAR", monkeypatch)
    asked = []
    original = model.kar.table
    monkeypatch.setattr(model.kar, "table", lambda side: asked.append(side) or original(side))
    model.calculate_loss(batch([1], [2], [3]))
    assert asked == ["user", "item"]
    assert type(model.user_embedding) is torch.nn.Embedding


@pytest.mark.parametrize("name", MODELS)
def test_runs_learns_and_loads_again(name, run, build, caplog):
    result = run(name, kar_hidden_size=8)
    record = last_record()
    assert record.provenance["tag"].startswith("template-lsa-") and "bpr" in record.losses
    config, model, _, _, _, test = load_data_and_model(record.checkpoint)
    assert type(model).__name__ == name and config["kar_experts"] == 3
    model.eval()
    cached = model.restore_user_e
    model.restore_user_e = None
    with torch.no_grad():
        interaction = next(iter(test))[0]
        scores = model.full_sort_predict(interaction)
        torch.testing.assert_close(model.restore_user_e, cached)
        copied = copy.deepcopy(model)
        torch.testing.assert_close(copied.full_sort_predict(interaction), scores)
    assert 0 < result["test_result"]["recall@10"] <= 1
    again = run(name, kar_hidden_size=8)
    assert dict(again["test_result"]) == dict(result["test_result"])


@pytest.mark.parametrize("key", ["kar_size", "kar_hidden_size", "kar_shared_experts", "kar_experts"])
def test_options_out_of_range(build, key):
    with pytest.raises(ConfigError, match=key):
        build("LightGCN_KAR", **{key: 0})
