"""SASRec, GRU4Rec and BERT4Rec with con and gen, CE and BPR: losses and gradients against NumPy in float64.

Gradients are central differences along random directions, every third parameter at a time.
"""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from sequence_oracles import ENCODERS, contrast, masked_nodes, recommendation, reconstruction

from recbole_rlmrec.model.alignment import Mask
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

WIDTH, LENGTH, N_ITEMS, TAU, WEIGHT = 5, 4, 30, 0.4, 0.3
SIZES = {"hidden_size": 4, "embedding_size": 4, "inner_size": 6, "MAX_ITEM_LIST_LENGTH": LENGTH}
STILL = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "dropout_prob": 0.0, "mask_ratio": 0.5}
WORLD = {  # users 4 and 1 repeat; users without a profile: 3; items: 7 and 11
    "user": [1, 4, 4, 3, 1, 5],
    "read": [[2, 7, 3, 0], [5, 3, 3, 9], [8, 0, 0, 0], [3, 5, 0, 0], [6, 2, 11, 4], [10, 12, 13, 0]],
    "positive": [5, 11, 5, 2, 9, 3],
    "negative": [6, 8, 12, 7, 14, 10],
}
MASKED = {"user": [4, 5, 1, 2], "item": [3, 2, 20, 6]}
# BERT4Rec masks 31, the first id behind those of items; -1 is where it masked nothing, and place 0 is what its loss leaves out.
HIDDEN = [[(1, 7)], [(0, 5), (3, 9)], [(0, 8)], [], [(1, 2), (2, 11)], [(2, 13)]]
SPARE = [6, 14, 12, 9, 1, 4]
CASES = [(name, kind, loss) for name in ENCODERS for kind in ("con", "gen") for loss in ("CE", "BPR")]


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def profiles(monkeypatch):
    """Embeddings by side and id of those who have one."""
    rng = np.random.default_rng(4)
    without = {"user": {0, 3}, "item": {0, 7, 11}}
    counts = {"user": 25, "item": N_ITEMS + 1}
    found = {
        side: {i: rng.normal(size=WIDTH).astype(np.float32) for i in range(count) if i not in without[side]}
        for side, count in counts.items()
    }
    tables = []
    for side, rows in found.items():
        place = np.array([list(rows).index(i) if i in rows else -1 for i in range(counts[side])])
        tables.append(SemanticTable(np.stack(list(rows.values())), place, "cpu"))
    semantic = Semantic(*tables, "tag", "encoder", {})
    monkeypatch.setattr("recbole_rlmrec.model.rlmrec.load_semantic", lambda config, train: semantic)
    return found


@pytest.fixture
def make(build, profiles):
    def go(name, kind, loss):
        options = {"align_weight": WEIGHT, "align_temperature": TAU, "align_schedule": "constant", "loss_type": loss}
        model = build(f"{name}_RLMRec", alignment=kind, **SIZES, **STILL, **options)[1].train()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
        if kind == "gen":
            model.alignment.begin = lambda: Mask(*(torch.tensor(MASKED[side]) for side in ("user", "item")))
        return model

    return go


def batch_of(name, model) -> Interaction:
    read = torch.tensor(WORLD["read"])
    columns = {
        "user_id": torch.tensor(WORLD["user"]),
        "item_id_list": read,
        "item_length": (read > 0).sum(1),
        "item_id": torch.tensor(WORLD["positive"]),
        "neg_item_id": torch.tensor(WORLD["negative"]),
    }
    if name == "BERT4Rec":
        filled = [[(0, 0)] * (2 - len(cells)) + cells for cells in HIDDEN]
        for row, cells in enumerate(HIDDEN):
            for place, _ in cells:
                read[row, place] = N_ITEMS + 1
        columns |= {
            model.MASK_ITEM_SEQ: read,
            model.MASK_INDEX: torch.tensor([[place for place, _ in cells] for cells in filled]),
            model.POS_ITEMS: torch.tensor([[item for _, item in cells] for cells in filled]),
            model.NEG_ITEMS: torch.tensor([[spare] * 2 for spare in SPARE]),
        }
    return Interaction(columns)


def expected(values, name, kind, loss, profiles):
    """The two losses."""
    items = values["item_embedding.weight"]
    table, world = items, WORLD
    if kind == "gen":
        table = items.copy()
        table[MASKED["item"]] = values["alignment.mask_token"]
    if name == "BERT4Rec":
        world = {**WORLD, "read": [list(read) for read in WORLD["read"]]}
        for read, cells in zip(world["read"], HIDDEN):
            for place, _ in cells:
                read[place] = N_ITEMS + 1
    states = [ENCODERS[name](values, table, np.array(read)) for read in world["read"]]
    bias = values.get("output_bias", np.zeros(N_ITEMS + 1))
    items = items[: N_ITEMS + 1]
    if name == "BERT4Rec":
        scored = [(b, place, item) for b, cells in enumerate(HIDDEN) for place, item in cells if place > 0]
        rows, positives = [states[b][place] for b, place, _ in scored], [item for _, _, item in scored]
        own = recommendation(rows, positives, [SPARE[b] for b, _, _ in scored], items, bias, loss)
        last = {b: (place, item) for b, place, item in scored}
        users, rows = [WORLD["user"][b] for b in last], [states[b][place] for b, (place, _) in last.items()]
        positives, negatives = [item for _, item in last.values()], [SPARE[b] for b in last]
        world, states = {"user": users, "read": [world["read"][b] for b in last]}, [states[b] for b in last]
    else:
        rows = [state[sum(item > 0 for item in read) - 1] for state, read in zip(states, world["read"])]
        users, positives, negatives = WORLD["user"], WORLD["positive"], WORLD["negative"]
        own = recommendation(rows, positives, negatives, items, bias, loss)
    if kind == "gen":
        nodes = masked_nodes(world, states, rows, MASKED)
        return own, WEIGHT * reconstruction(nodes, profiles, values, TAU)
    total = contrast(rows, users, profiles["user"], values, TAU)
    for ids in (positives, negatives) if loss == "BPR" else (positives,):
        total += contrast(items[ids], ids, profiles["item"], values, TAU)
    return own, WEIGHT * total / len(WORLD["user"])


@pytest.mark.parametrize(("name", "kind", "loss"), CASES)
def test_losses_and_gradients(make, profiles, name, kind, loss):
    model = make(name, kind, loss)
    batch = batch_of(name, model)
    if loss == "CE":
        batch = Interaction({key: batch[key] for key in batch.columns if key != "neg_item_id"})
    losses = model.calculate_loss(batch)
    values = {key: value.detach().numpy().copy() for key, value in model.named_parameters()}
    for found, wanted in zip(losses, expected(values, name, kind, loss, profiles), strict=True):
        np.testing.assert_allclose(found.item(), wanted, rtol=1e-7)
    sum(losses).backward()
    rng, step = np.random.default_rng(1), 1e-6
    parameters = list(model.named_parameters())
    for first in range(3):  # every third parameter at a time
        moved = {key: rng.normal(size=parameter.shape) for key, parameter in parameters[first::3]}
        if "item_embedding.weight" in moved:
            moved["item_embedding.weight"][0] = 0.0  # RecBole gives the padding no gradient of what a sequence reads
        around = []
        for sign in (1, -1):
            changed = {key: values[key] + sign * step * direction for key, direction in moved.items()}
            around.append(sum(expected({**values, **changed}, name, kind, loss, profiles)))
        grads = [(p.grad.numpy() * moved[key]).sum() for key, p in parameters if key in moved and p.grad is not None]
        np.testing.assert_allclose(sum(grads), (around[0] - around[1]) / (2 * step), rtol=1e-6, atol=1e-8)
