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
    profiles = {
        side: rng.normal(size=(n - 1, WIDTH)).astype(np.float32) for side, n in (("user", N_USERS), ("item", N_ITEMS))
    }
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
