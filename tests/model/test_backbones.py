"""Each of the paper's six backbones, alone and aligned, against the dense float64 formulas of ``oracles``.

Every random draw is made here and handed to both.
"""

from types import SimpleNamespace

import numpy as np
import oracles
import pytest
import torch
from stand_ins import Interactions, batch, make, semantic

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.alignment import Mask

N_USERS, N_ITEMS, DIM, WIDTH = 9, 11, 8, 6
MISSING = {"user": (2, 5), "item": (3, 4)}
DRAWN = {"user": [1, 4, 7], "item": [2, 5, 9, 10]}
MASKED = [1, 3, 8], [2, 6, 7, 10]
BATCHES = {
    "repeats": ([1, 1, 2, 3, 5, 1, 8], [5, 6, 5, 5, 3, 5, 10], [8, 9, 8, 8, 1, 2, 4]),
    "one row": ([4], [7], [2]),
    "padding": ([0, 1, 3, 0], [4, 0, 6, 5], [0, 0, 3, 2]),
    "nobody has a profile": ([2, 5, 2], [3, 4, 4], [4, 3, 3]),
}
BACKBONES = ("LightGCN", "GCCF", "SGL", "SimGCL", "DCCF", "AutoCF")
ALIGNMENTS = ("none", "all", "batch", "number", "gen")
OPTIONS = {
    "LightGCN": {"edge_keep_rate": 0.7, "layer_combination": "sum", "reg_scope": "all"},
    "GCCF": {},
    "SGL": {"drop_ratio": 0.3},
    "SimGCL": {"eps": 0.4},
    "DCCF": {"n_intents": 5},
    "AutoCF": {"n_heads": 2, "n_seeds": 2, "random_ratio": 0.3},
}
LAYERS, REG, SSL, TAU, ALIGN, ALIGN_TAU = 2, 0.01, 0.3, 0.25, 0.7, 0.4


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    yield
    torch.set_default_dtype(before)


def make_pairs():
    """A random graph in which user 7 and item 9 have one interaction and item 10 none."""
    rng = np.random.default_rng(2)
    pairs = {(int(u), int(i)) for u, i in zip(rng.integers(1, N_USERS, 30), rng.integers(1, N_ITEMS - 2, 30)) if u != 7}
    return sorted(pairs | {(7, 9)})


def make_case(backbone, alignment, rows, monkeypatch):
    """A model in training mode, its world, and the draws that it will make."""
    pairs, rng = make_pairs(), np.random.default_rng(4)
    profiles = {side: rng.normal(size=(n - 1, WIDTH)).astype(np.float32) for side, n in (("user", N_USERS), ("item", N_ITEMS))}
    dataset = Interactions(*zip(*(pairs + pairs[:3])), N_USERS, N_ITEMS)
    kind = {"none": "none", "gen": "gen"}.get(alignment, "con")
    settings = {
        "embedding_size": DIM,
        "n_layers": LAYERS,
        "reg_weight": REG,
        "ssl_weight": SSL,
        "ssl_tau": TAU,
        "alignment": kind,
        "align_weight": ALIGN,
        "align_temperature": ALIGN_TAU,
        "align_schedule": "constant",
        "align_negatives": {"number": 3, "all": "all"}.get(alignment, "batch"),
        **OPTIONS[backbone],
    }
    tables = semantic(profiles["user"], profiles["item"], MISSING["user"], MISSING["item"])
    model = make(f"{backbone}_RLMRec", dataset, tables, monkeypatch, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    known = {
        side: {i + 1: torch.from_numpy(row).double() for i, row in enumerate(profiles[side]) if i + 1 not in MISSING[side]}
        for side in profiles
    }
    world = oracles.World(pairs, N_USERS, N_ITEMS, *rows, known)
    draws = make_draws(model, world, rng)
    if kind == "con":
        model.alignment._candidates = candidates(model.alignment._candidates, alignment)
    if kind == "gen":
        model.alignment.begin = lambda: Mask(*(torch.tensor(ids) for ids in MASKED))
    return SimpleNamespace(
        model=model.train(), world=world, draws=draws, batch=batch(*rows), backbone=backbone, alignment=alignment
    )


def candidates(original, alignment):
    if alignment != "number":
        return original
    return lambda side, table: torch.tensor(DRAWN[side])


def make_draws(model, world, rng):
    """Draws for dropout, noise and AutoCF's sampling, put in place of the model's own."""
    n = world.n
    draws = SimpleNamespace(
        keep=[torch.from_numpy(rng.random((n, n)) < 0.7) for _ in range(2)],
        noise=[torch.from_numpy(rng.random((n, DIM))) for _ in range(2 * LAYERS)],
        gumbel=torch.from_numpy(rng.gumbel(size=n - 2)),
        nodes=[3, 3, N_USERS + 2, 6, N_USERS + 10],
        ends=rng.random((2, 2 * len(world.pairs))),
    )
    keep, noise = iter(draws.keep), iter(draws.noise)
    graph = next(getattr(model, name) for name in ("graph", "norm_adj_matrix", "train_graph") if hasattr(model, name))
    graph.draw_keep = lambda rate: next(keep)[graph.row, graph.col]
    model.draw_noise = lambda x: next(noise)
    model.draw_gumbel = lambda scores: draws.gumbel
    model.draw_nodes = lambda number: torch.tensor(draws.nodes)
    model.draw_pairs = lambda nodes, number: nodes[ends_of(draws, len(nodes), number)]
    return draws


def ends_of(draws, count, number):
    assert number == draws.ends.shape[1]
    return torch.from_numpy((draws.ends * count).astype(np.int64))


def expected_losses(case):
    """Every named loss of the step, from the formulas."""
    model, world, draws = case.model, case.world, case.draws
    raw = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    e0 = raw
    if case.alignment == "gen":
        e0 = oracles.masked_embeddings(world, raw, model.alignment.mask_token, *MASKED)
    losses = {"reg": REG * oracles.squares(model.parameters())}
    users, items = globals()[f"_{case.backbone.lower()}"](model, world, draws, raw, e0, losses)
    if case.backbone != "AutoCF":
        losses["bpr"] = oracles.bpr(users, items, world)
    if case.alignment == "gen":
        up = layers_of(model.alignment.up)
        losses["alignment"] = ALIGN * oracles.gen(world, users, items, up, ALIGN_TAU, *MASKED)
    elif case.alignment != "none":
        down, negatives = layers_of(model.alignment.down), DRAWN if case.alignment == "number" else case.alignment
        pairwise = case.backbone != "AutoCF"
        losses["alignment"] = ALIGN * oracles.con(world, users, items, down, ALIGN_TAU, negatives, pairwise)
    return losses


def layers_of(network):
    return [(network[position].weight, network[position].bias) for position in (0, 2)]


def _lightgcn(model, world, draws, raw, e0, losses):
    return oracles.lightgcn(world, e0, LAYERS, draws.keep[0])


def _gccf(model, world, draws, raw, e0, losses):
    return oracles.gccf(world, e0, LAYERS, loops=True)


def _sgl(model, world, draws, raw, e0, losses):
    first, second = (oracles.lightgcn(world, e0, LAYERS, keep) for keep in draws.keep)
    losses["contrast"] = SSL * oracles.view_contrast(world, first, second, TAU, negatives_too=True)
    return oracles.lightgcn(world, e0, LAYERS, torch.ones(world.n, world.n))


def _simgcl(model, world, draws, raw, e0, losses):
    noises = draws.noise[:LAYERS], draws.noise[LAYERS:]
    first, second = (oracles.simgcl_view(world, e0, OPTIONS["SimGCL"]["eps"], noise) for noise in noises)
    losses["contrast"] = SSL * oracles.view_contrast(world, first, second, TAU, negatives_too=False)
    return oracles.lightgcn(world, e0, LAYERS, torch.ones(world.n, world.n))


def _dccf(model, world, draws, raw, e0, losses):
    representations, views = oracles.dccf(world, e0, model.user_intent, model.item_intent, LAYERS)
    losses["contrast"] = SSL * oracles.dccf_contrast(world, views, TAU)
    return representations


def _autocf(model, world, draws, raw, e0, losses):
    nodes = [node for node in range(world.n) if node not in (0, world.n_users)]
    scores = oracles.seed_scores(world, raw)[nodes] + draws.gumbel
    losses["infomax"] = -scores.mean()
    seeds = [nodes[position] for position in scores.argsort(descending=True)[: OPTIONS["AutoCF"]["n_seeds"]]]

    def pairs(eligible):
        first, second = ends_of(draws, len(eligible), draws.ends.shape[1]).tolist()
        return [(eligible[a], eligible[b]) for a, b in zip(first, second)]

    encoder, decoder = oracles.autocf_graphs(world, seeds, draws.nodes, pairs, depth=2)
    transformer = model.transformer
    qkv = transformer.query, transformer.key, transformer.value
    users, items = oracles.autocf(world, e0, encoder, decoder, qkv, LAYERS, OPTIONS["AutoCF"]["n_heads"])
    losses["recommendation"], losses["contrast"] = oracles.autocf_losses(world, users, items, SSL)
    return users, items


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_losses_and_gradients(backbone, alignment, rows, monkeypatch):
    case = make_case(backbone, alignment, BATCHES[rows], monkeypatch)
    losses = dict(zip(case.model.loss_names, case.model.calculate_loss(case.batch)))
    expected = expected_losses(case)
    assert set(losses) == set(expected)
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")
    names, parameters = zip(*case.model.named_parameters())
    for name, one, other in zip(names, *(gradients(sum(d.values()), parameters) for d in (losses, expected))):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7 * scale, msg=lambda text, n=name: f"{n}: {text}")


def gradients(loss, parameters):
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("backbone", ["SGL", "SimGCL", "DCCF", "AutoCF"])
def test_ids_left_as_they_are_count_the_same(backbone, monkeypatch):
    """On a GPU a batch's repeats are not merged; the losses do not depend on it."""
    merged = make_case(backbone, "none", BATCHES["repeats"], monkeypatch)
    expected = [loss.item() for loss in merged.model.calculate_loss(merged.batch)]
    monkeypatch.setattr("recbole_rlmrec.model.graph_recommender.on_gpu", lambda ids: True)
    torch.manual_seed(5)
    case = make_case(backbone, "none", BATCHES["repeats"], monkeypatch)
    case.model.load_state_dict(merged.model.state_dict())
    assert [loss.item() for loss in case.model.calculate_loss(case.batch)] == pytest.approx(expected, rel=1e-12)


def test_gccf_without_self_loops(monkeypatch):
    monkeypatch.setitem(OPTIONS, "GCCF", {"self_loops": False})
    case = make_case("GCCF", "none", BATCHES["repeats"], monkeypatch)
    e0 = torch.cat([case.model.user_embedding.weight, case.model.item_embedding.weight])
    for ours, theirs in zip(case.model.forward(), oracles.gccf(case.world, e0, LAYERS, loops=False)):
        torch.testing.assert_close(ours, theirs)


def test_mean_of_layers(monkeypatch):
    for backbone in ("SGL", "SimGCL"):
        monkeypatch.setitem(OPTIONS, backbone, {**OPTIONS[backbone], "layer_combination": "mean"})
        case = make_case(backbone, "none", BATCHES["repeats"], monkeypatch)
        e0 = torch.cat([case.model.user_embedding.weight, case.model.item_embedding.weight])
        args = (case.model.train_graph,) if backbone == "SGL" else ()
        total = oracles.lightgcn(case.world, e0, LAYERS, 1)
        torch.testing.assert_close(case.model.forward(*args)[0], total[0] / (LAYERS + 1))


@pytest.mark.parametrize("backbone", ["GCCF", "SimGCL", "DCCF", "AutoCF"])
def test_none_is_the_backbone(backbone):
    dataset, results = Interactions(*zip(*make_pairs()), N_USERS, N_ITEMS), []
    for name in (backbone, f"{backbone}_RLMRec"):
        torch.manual_seed(9)
        model = make(name, dataset, alignment="none", embedding_size=DIM)
        interaction = batch(*BATCHES["repeats"])
        losses = model.calculate_loss(interaction)
        sum(losses).backward()
        names, parameters = zip(*model.named_parameters())
        scores = model.eval().full_sort_predict(interaction)
        results.append((model.loss_names, names, [*losses, *(p.grad for p in parameters), scores]))
    (loss_names, names, values), (other_loss_names, other_names, others) = results
    assert (loss_names, names) == (other_loss_names, other_names)
    assert all(torch.equal(value, other) for value, other in zip(values, others))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scores_are_cached_until_the_next_training_step(backbone, monkeypatch):
    case = make_case(backbone, "batch", BATCHES["one row"], monkeypatch)
    model, interaction = case.model.eval(), batch([3, 1], [2, 4], [1, 1])
    with torch.no_grad():
        scores = model.full_sort_predict(interaction).view(2, N_ITEMS)
        torch.testing.assert_close(model.predict(interaction), scores[[0, 1], [2, 4]])
        assert set(model.other_parameter()) == {"restore_user_e", "restore_item_e"}
        assert model.other_parameter()["restore_user_e"].shape[0] == N_USERS
    model.train().calculate_loss(case.batch)
    with torch.no_grad():
        model.user_embedding.weight.zero_()
        model.item_embedding.weight.zero_()
        assert not torch.equal(model.eval().full_sort_predict(interaction).view(2, N_ITEMS), scores)


def autocf(**options):
    dataset = Interactions(*zip(*make_pairs()), N_USERS, N_ITEMS)
    return make("AutoCF", dataset, embedding_size=DIM, n_heads=2, n_seeds=2, **options).train()


def test_autocf_resamples_every_few_batches_and_at_every_epoch():
    model, interaction, resampled = autocf(fix_steps=3), batch(*BATCHES["repeats"]), []
    for epoch in range(2):
        model.begin_epoch(epoch)
        for _ in range(5):
            before = model.decoder_graph
            infomax = model.calculate_loss(interaction)[-1]
            resampled.append(model.decoder_graph is not before)
            assert resampled[-1] or infomax == 0
    assert resampled == [True, False, False, True, False] * 2


def test_autocf_needs_no_negative_items():
    model, interaction = autocf(), batch(*BATCHES["repeats"])
    torch.manual_seed(1)
    losses = model.calculate_loss(interaction)
    del interaction.interaction[model.NEG_ITEM_ID]
    model.begin_epoch(1)
    torch.manual_seed(1)
    assert all(torch.equal(loss, other) for loss, other in zip(losses, model.calculate_loss(interaction)))


def test_autocf_scores_with_the_whole_graph():
    model, interaction = autocf(), batch(*BATCHES["repeats"])
    before = model.eval().full_sort_predict(interaction)
    model.train().resample()
    model.forget_tables()
    assert torch.equal(model.eval().full_sort_predict(interaction), before)
    assert not torch.equal(model.train().forward()[0], model.eval().forward()[0])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_autocf_graphs_equal_those_made_edge_by_edge(depth):
    rng = np.random.default_rng(depth)
    n_users, n_items = 60, 50
    pairs = sorted(set(zip(rng.integers(1, n_users, 150).tolist(), rng.integers(1, n_items, 150).tolist())))
    dataset = Interactions(*zip(*pairs), n_users, n_items)
    model = make("AutoCF", dataset, embedding_size=DIM, mask_depth=depth)
    ends = torch.from_numpy(rng.random((2, model.graph.nnz)))
    model.draw_nodes = lambda number: torch.tensor([5, 70, 70])
    model.draw_pairs = lambda nodes, number: nodes[(ends * len(nodes)).long()]
    encoder, decoder = model.sample_graphs(torch.tensor([1, 2, 65]))
    world = oracles.World(pairs, n_users, n_items, [], [], [], {})

    def chosen(eligible):
        return [tuple(eligible[place] for place in pair) for pair in (ends * len(eligible)).long().T.tolist()]

    expected = oracles.autocf_graphs(world, [1, 2, 65], [5, 70, 70], chosen, depth)
    for graph, theirs in zip((encoder, decoder), expected):
        ours = torch.zeros(world.n, world.n).index_put((graph.row, graph.col), graph.values)
        torch.testing.assert_close(ours, theirs)


def test_autocf_draws():
    torch.manual_seed(0)
    model = autocf(random_ratio=0.5)
    assert set(model.draw_nodes(2000).tolist()) == set(range(1, N_USERS)) | set(range(N_USERS + 1, N_USERS + N_ITEMS))
    pairs = model.draw_pairs(torch.tensor([4, 6]), 2000)
    assert pairs.shape == (2, 2000) and {tuple(pair) for pair in pairs.T.tolist()} == {(4, 4), (4, 6), (6, 4), (6, 6)}
    noise = model.draw_gumbel(torch.zeros(50000))
    assert abs(noise.mean() - 0.5772) < 0.03 and abs(noise.var() - 1.6449) < 0.06


def test_views_differ_in_training_alone():
    dataset = Interactions(*zip(*make_pairs()), N_USERS, N_ITEMS)
    simgcl = make("SimGCL", dataset, embedding_size=DIM)
    assert not torch.equal(simgcl.forward(perturbed=True)[0], simgcl.forward(perturbed=True)[0])
    assert torch.equal(simgcl.forward()[0], simgcl.forward()[0])


@pytest.mark.parametrize("backbone", ["GCCF", "SGL", "SimGCL", "DCCF", "AutoCF"])
@pytest.mark.parametrize("alignment", ["con", "gen"])
def test_runs_and_repeats_itself(backbone, alignment, run):
    torch.set_default_dtype(torch.float32)
    results = [run(f"{backbone}_RLMRec", alignment=alignment, epochs=1) for _ in range(2)]
    assert dict(results[0]["test_result"]) == dict(results[1]["test_result"])


@pytest.mark.parametrize("backbone", ["GCCF", "SimGCL", "DCCF", "AutoCF"])
def test_runs_alone_and_its_checkpoint_loads(backbone, run):
    from recbole.quick_start import load_data_and_model

    from recbole_rlmrec.plugin.record import last_record

    torch.set_default_dtype(torch.float32)
    run(backbone, epochs=1)
    _, model, _, _, _, test = load_data_and_model(last_record().checkpoint)
    assert type(model).__name__ == backbone
    interaction = next(iter(test))[0]
    with torch.no_grad():
        cached = model.eval().full_sort_predict(interaction)
        model.forget_tables()
        torch.testing.assert_close(model.full_sort_predict(interaction), cached)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("GCCF", "n_layers", 0),
        ("GCCF", "embedding_size", 0),
        ("GCCF", "reg_weight", -1),
        ("GCCF", "self_loops", "perhaps"),
        ("SimGCL", "n_layers", 1.5),
        ("SimGCL", "eps", -0.1),
        ("SimGCL", "ssl_tau", 0),
        ("SimGCL", "ssl_weight", "much"),
        ("SimGCL", "layer_combination", "concat"),
        ("SGL_RLMRec", "n_layers", 0),
        ("SGL_RLMRec", "drop_ratio", 0),
        ("SGL_RLMRec", "drop_ratio", 1),
        ("SGL_RLMRec", "type", "RW"),
        ("SGL_RLMRec", "layer_combination", "max"),
        ("SGL_RLMRec", "ssl_tau", -1),
        ("DCCF", "n_intents", 0),
        ("DCCF", "ssl_tau", None),
        ("AutoCF", "n_heads", 3),
        ("AutoCF", "n_seeds", 0),
        ("AutoCF", "mask_depth", 0),
        ("AutoCF", "random_ratio", 1.5),
        ("AutoCF", "fix_steps", 0),
        ("AutoCF", "ssl_weight", float("nan")),
    ],
)
def test_options_out_of_range(name, key, value):
    dataset = Interactions(*zip(*make_pairs()), N_USERS, N_ITEMS)
    with pytest.raises(ConfigError, match=key) as error:
        make(name, dataset, **{"embedding_size": DIM, "alignment": "none", key: value})
    assert "set it to" in str(error.value)
