"""One training step of each of the released implementation's 18 models: our losses, gradients and representations.

RecBole's padding shifts ids by one; its rows are set to zero here, so that the regulariser does not see them.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stand_ins import Interactions, batch, make, semantic

from recbole_rlmrec.model.alignment import Mask
from recbole_rlmrec.model.graph import edge_graph

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "parity"
BACKBONES = ("LightGCN", "GCCF", "SGL", "SimGCL", "DCCF", "AutoCF")
FILES = {"none": "{}", "con": "{}_plus", "gen": "{}_gene"}
CASES = [(backbone, alignment) for backbone in BACKBONES for alignment in FILES]
TERMS = {
    "bpr": "bpr_loss",
    "recommendation": "rec_loss",
    "reg": "reg_loss",
    "contrast": "cl_loss",
    "alignment": ("kd_loss", "recon_loss"),
}
PARAMETERS = {
    "user_embedding.weight": ("user_embeds", "user_embeds.weight"),
    "item_embedding.weight": ("item_embeds", "item_embeds.weight"),
    "user_intent": ("user_intent",),
    "item_intent": ("item_intent",),
    "transformer.query": ("gtLayers.0.qTrans",),
    "transformer.key": ("gtLayers.0.kTrans",),
    "transformer.value": ("gtLayers.0.vTrans",),
    "alignment.mask_token": ("masker.mask_token", "gene_masker.mask_token"),
    **{
        f"alignment.{way}.{layer}.{part}": (f"mlp.{layer}.{part}",)
        for way in ("down", "up")
        for layer in (0, 2)
        for part in ("weight", "bias")
    },
}
TABLES = ("user_embedding.weight", "item_embedding.weight")

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the released implementation's vectors are not here")


def load(backbone, alignment):
    with np.load(VECTORS / f"{FILES[alignment].format(backbone.lower())}.npz", allow_pickle=False) as arrays:
        case = {name: arrays[name] for name in arrays.files}
    case["hyper"] = json.loads(str(case["hyper"]))
    return case


def options(backbone, alignment, hyper):
    """The released hyper-parameters by our names."""
    own = {
        "embedding_size": hyper["embedding_size"],
        "n_layers": hyper["layer_num"],
        "reg_weight": hyper["reg_weight"],
        "alignment": alignment,
        "align_negatives": "all",
        "align_schedule": "constant",
        "layer_combination": "sum",
    }
    if backbone == "LightGCN":
        own |= {"edge_keep_rate": hyper["keep_rate"], "reg_scope": "all"}
    if backbone == "GCCF":
        own["self_loops"] = alignment == "none"
    if backbone == "SGL":
        own["drop_ratio"] = 1 - hyper["keep_rate"]
    if backbone == "SimGCL":
        own["eps"] = hyper["eps"]
    if backbone in ("SGL", "SimGCL", "DCCF"):
        own |= {"ssl_weight": hyper["cl_weight"], "ssl_tau": hyper.get("cl_temperature") or hyper["temperature"]}
    if backbone == "DCCF":
        own["n_intents"] = hyper["intent_num"]
    if backbone == "AutoCF":
        own |= {"n_layers": hyper["gcn_layer"], "n_heads": hyper["head_num"], "n_seeds": hyper["seed_num"]}
        own |= {"ssl_weight": hyper["ssl_reg"], "random_ratio": hyper["keep_rate"], "mask_depth": hyper["mask_depth"]}
    if alignment == "con":
        own |= {"align_weight": hyper["kd_weight"], "align_temperature": hyper["kd_temperature"]}
    if alignment == "gen":
        own |= {"align_weight": hyper["recon_weight"], "align_temperature": hyper["re_temperature"]}
        own["mask_ratio"] = hyper["mask_ratio"]
    return own


def shift(nodes, n_users):
    """Node numbers of the vectors, users 0.. and items n_users.., in RecBole's numbering with two paddings."""
    return np.asarray(nodes) + 1 + (np.asarray(nodes) >= n_users)


def positions(graph, rows, cols):
    """Where the stored entries (rows, cols) stand in a graph's CSR arrays."""
    keys = (graph.row * graph.n + graph.col).numpy()
    found = np.searchsorted(keys, rows * graph.n + cols)
    assert np.array_equal(keys[found], rows * graph.n + cols)
    return torch.from_numpy(found)


def named(case, kind, names):
    return next((case[f"{kind}_{name}"] for name in names if f"{kind}_{name}" in case), None)


@pytest.fixture(params=CASES, ids=lambda pair: "-".join(pair))
def step(request, monkeypatch):
    """A model with the parameters and the draws of one of the released implementation's steps."""
    backbone, alignment = request.param
    case = load(backbone, alignment)
    n_users, n_items = int(case["n_users"]), int(case["n_items"])
    dataset = Interactions(case["train_user"] + 1, case["train_item"] + 1, n_users + 1, n_items + 1)
    profiles = semantic(case["user_semantic"], case["item_semantic"])
    settings = options(backbone, alignment, case["hyper"])
    model = make(f"{backbone}_RLMRec", dataset, profiles, monkeypatch, **settings)
    for name, parameter in model.named_parameters():
        value = torch.from_numpy(named(case, "param", PARAMETERS[name]))
        with torch.no_grad():
            if name in TABLES:
                parameter[0], parameter[1:] = 0, value
            else:
                parameter.copy_(value.view_as(parameter))
    inject(model, backbone, case, n_users)
    interaction = batch(case["batch_user"] + 1, case["batch_pos"] + 1, case["batch_neg"] + 1)
    return SimpleNamespace(model=model, case=case, batch=interaction, backbone=backbone, alignment=alignment)


def inject(model, backbone, case, n_users):
    graph = next(getattr(model, name) for name in ("graph", "norm_adj_matrix", "train_graph") if hasattr(model, name))
    rows, cols = shift(case["adj_indices"], n_users)
    places = positions(graph, rows, cols)
    assert len(places) == graph.nnz - (2 if backbone == "GCCF" and graph.values[0] == 1 else 0)
    torch.testing.assert_close(graph.values[places], torch.from_numpy(case["adj_values"]))
    uniform = iter([torch.from_numpy(case[name]) for name in sorted(case) if name.endswith("_uniform")])

    def draw_keep(keep_rate):
        kept = torch.zeros(graph.nnz, dtype=torch.bool)
        kept[places] = next(uniform) + keep_rate >= 1
        return kept

    graph.draw_keep = draw_keep
    model.draw_noise = lambda x: torch.zeros_like(x).index_copy_(
        0, torch.from_numpy(shift(np.arange(len(x) - 2), n_users)), next(uniform)
    )
    if "draw00_masked_nodes" in case:
        nodes = torch.from_numpy(shift(case["draw00_masked_nodes"], n_users))
        users, items = nodes[nodes <= n_users], nodes[nodes > n_users] - n_users - 1
        model.alignment.begin = lambda: Mask(users, items)
    if backbone == "AutoCF":
        model._steps = 1
        seeds = torch.from_numpy(shift(case["seeds"], n_users))
        model.encoder_graph, _ = model.sample_graphs(seeds)
        model.decoder_graph = edge_graph(*torch.from_numpy(shift(case["decoder_indices"], n_users)), graph.n)


def released_losses(case, backbone, alignment):
    losses = {}
    for name, theirs in TERMS.items():
        value = named(case, "part", theirs if isinstance(theirs, tuple) else (theirs,))
        if value is not None:
            losses[name] = float(value)
    unused = [value for name, value in case.items() if name.startswith("param_gcnLayers")]
    losses["reg"] -= case["hyper"]["reg_weight"] * sum(float((value**2).sum()) for value in unused)
    return losses


def test_losses(step):
    model = step.model
    ours = dict(zip(model.loss_names, (value.item() for value in model.calculate_loss(step.batch))))
    assert ours.pop("infomax", 0) == 0
    assert ours == pytest.approx(released_losses(step.case, step.backbone, step.alignment), rel=1e-5)


def test_gradients(step):
    model = step.model
    sum(model.calculate_loss(step.batch)).backward()
    for name, parameter in model.named_parameters():
        theirs = torch.from_numpy(named(step.case, "grad", PARAMETERS[name]))
        ours = parameter.grad[1:] if name in TABLES else parameter.grad.view_as(theirs)
        largest = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6 * largest, msg=lambda text, n=name: f"{n}: {text}")


def test_representations(step):
    model = step.model.eval()
    with torch.no_grad():
        tables = model.forward(model.train_graph) if step.backbone == "SGL" else model.forward()
    for ours, side in zip(tables[:2], ("user", "item")):
        torch.testing.assert_close(ours[1:], torch.from_numpy(step.case[f"inference_{side}"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [("AutoCF", alignment) for alignment in FILES], indirect=True)
def test_autocf_seed_scores(step):
    model, case = step.model, step.case
    scores = model.seed_scores()
    torch.testing.assert_close(scores, torch.from_numpy(case["log_seed_score"]), rtol=1e-5, atol=1e-6)
    (-scores.mean()).backward()
    for table, name in ((model.user_embedding, "user_embeds"), (model.item_embedding, "item_embeds")):
        theirs = torch.from_numpy(case[f"grad_infomax_{name}"])
        torch.testing.assert_close(table.weight.grad[1:], theirs, rtol=1e-4, atol=1e-6 * theirs.abs().max().item())


@pytest.mark.parametrize("step", [("AutoCF", alignment) for alignment in FILES], indirect=True)
def test_autocf_graphs(step):
    model, case = step.model, step.case
    n_users = int(case["n_users"])
    places = positions(model.graph, *shift(case["encoder_indices"], n_users))
    expected = torch.zeros_like(model.graph.values)
    expected[places] = torch.from_numpy(case["encoder_values"])
    torch.testing.assert_close(model.encoder_graph.values, expected, rtol=1e-5, atol=1e-6)

    rows, cols = shift(case["decoder_indices"], n_users)
    theirs = set(zip(rows.tolist(), cols.tolist()))
    encoder = shift(case["encoder_indices"], n_users)
    needed = set(zip(*encoder.tolist())) | {(node, node) for node in shift(np.arange(n_users + int(case["n_items"])), n_users)}
    assert needed <= theirs
    marked, seen = {}, []
    model.draw_nodes = lambda number: seen.append(number) or torch.zeros(0, dtype=torch.long)
    model.draw_pairs = lambda nodes, number: marked.update(nodes=nodes, number=number) or nodes.new_empty(2, 0)
    _, decoder = model.sample_graphs(torch.from_numpy(shift(case["seeds"], n_users)))
    ours = set(zip(decoder.row.tolist(), decoder.col.tolist()))
    assert ours - {(0, 0), (n_users + 1, n_users + 1)} == needed
    assert seen == [int(case["hyper"]["keep_rate"] * 70)] and marked["number"] == case["adj_indices"].shape[1]
    extra_ends = {end for pair in theirs - needed for end in pair} - set(marked["nodes"].tolist())
    assert len(extra_ends) <= seen[0]
