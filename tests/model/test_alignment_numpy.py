"""The alignment losses and their gradients against NumPy in float64: loops written from the formulas, nothing of torch.

Gradients are central differences along a random direction of each input.
"""

import numpy as np
import pytest
import torch

from recbole_rlmrec.model.alignment import Contrastive, Generative, Mask, Step, Term, contrastive, read_settings
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

OPTIONS = {"align_weight": 0.3, "align_temperature": 0.2, "mask_ratio": 0.5, "align_block": None, "align_dtype": "float32"}
WIDTH, DIM = 6, 4
COUNTS = {"user": 7, "item": 9}
BATCHES = {
    "distinct": ([1, 2, 3], [4, 5, 6], [7, 8, 1]),
    "one row": ([2], [4], [7]),
    "repeats": ([1, 1, 2, 1, 3], [5, 5, 6, 5, 7], [8, 1, 8, 8, 8]),
    "padding": ([0, 1, 2, 0], [4, 0, 6, 5], [0, 0, 3, 2]),
    "nobody": ([4], [3], [3]),
}
WITHOUT_PROFILE = {"user": {0, 4}, "item": {0, 3, 8}}


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def profiles():
    """Embeddings by side and id of those who have one."""
    rng = np.random.default_rng(2)
    return {
        side: {i: rng.normal(size=WIDTH).astype(np.float32) for i in range(count) if i not in WITHOUT_PROFILE[side]}
        for side, count in COUNTS.items()
    }


def semantic(profiles) -> Semantic:
    tables = []
    for side, rows in profiles.items():
        row_of_id = np.array([list(rows).index(i) if i in rows else -1 for i in range(COUNTS[side])])
        tables.append(SemanticTable(np.stack(list(rows.values())), row_of_id, "cpu"))
    return Semantic(*tables, "tag", "encoder", {})


def inputs(network) -> dict:
    """What the losses depend on, as NumPy: the two tables of representations and the layers of the network."""
    rng = np.random.default_rng(3)
    tables = {side: rng.normal(size=(count, DIM)) for side, count in COUNTS.items()}
    layers = {name: value.detach().numpy().copy() for name, value in network.named_parameters()}
    return {**tables, **layers}


def mlp(x, values):
    hidden = values["0.weight"] @ x + values["0.bias"]
    return values["2.weight"] @ np.where(hidden > 0, hidden, 0.01 * hidden) + values["2.bias"]


def cosine(a, b):
    return a @ b / np.sqrt(1e-8 + a @ a) / np.sqrt(1e-8 + b @ b)


def con(values, profiles, batch, negatives, drawn):
    total = 0.0
    for side, ids, term in zip(("user", "item", "item"), batch, ("user", "positive", "negative")):
        rows = [i for i in ids if i in profiles[side]]
        for i in rows:
            candidates = rows
            if negatives == "all" and term == "user":
                candidates = list(profiles[side])
            elif isinstance(negatives, int):
                candidates = {i} | drawn[side]
            own = cosine(values[side][i], mlp(profiles[side][i], values))
            each = [np.exp(cosine(values[side][i], mlp(profiles[side][c], values)) / 0.2) for c in candidates]
            total += -own / 0.2 + np.log(sum(each))
    return 0.3 / len(batch[0]) * total


def gen(values, profiles, masked):
    queries = [mlp(values[side][i], values) for side, i in masked]
    targets = [profiles[side][i].astype(np.float64) for side, i in masked]
    total = 0.0
    for i, query in enumerate(queries):
        each = [np.exp(query @ s / np.linalg.norm(query) / np.linalg.norm(s) / 0.2) for s in targets]
        total -= np.log(each[i] / (sum(each) + 1e-8) + 1e-8)
    return 0.3 * total / len(masked)


def check(alignment, network, make_step, formula):
    """Loss and the slope along one direction of each input, ours and the formula's."""
    values = inputs(network)
    tables = {side: torch.tensor(values[side], requires_grad=True) for side in COUNTS}
    loss = alignment(make_step({side: lambda ids, table=table: table[ids] for side, table in tables.items()}))
    assert loss.item() == pytest.approx(formula(values), rel=1e-10, abs=1e-14)
    ours = {**tables, **dict(network.named_parameters())}
    if not loss.requires_grad:
        return
    gradients = torch.autograd.grad(loss, list(ours.values()), allow_unused=True, materialize_grads=True)
    rng = np.random.default_rng(4)
    for name, gradient in zip(ours, gradients):
        way = rng.normal(size=values[name].shape)
        ahead, behind = ({**values, name: values[name] + sign * 1e-6 * way} for sign in (1, -1))
        slope = (formula(ahead) - formula(behind)) / 2e-6
        assert (gradient.numpy() * way).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("negatives", ["batch", "all", 2, 100])
@pytest.mark.parametrize("batch", BATCHES)
def test_contrastive(profiles, batch, negatives, monkeypatch):
    alignment = Contrastive(
        semantic(profiles), read_settings({**OPTIONS, "alignment": "con", "align_negatives": negatives}), DIM, 0
    )
    monkeypatch.setattr(contrastive, "draw", lambda count, number: torch.arange(count)[-number:])
    drawn = {side: set(list(rows)[-negatives:]) for side, rows in profiles.items()} if isinstance(negatives, int) else None
    ids = BATCHES[batch]

    def step(lookups):
        terms = [Term(side, torch.tensor(i), lookups[side]) for side, i in zip(("user", "item", "item"), ids)]
        return Step(terms, None, None, len(ids[0]))

    check(alignment, alignment.down, step, lambda values: con(values, profiles, ids, negatives, drawn))


@pytest.mark.parametrize(("users", "items"), [([1, 3, 6], [2, 4]), ([2], []), ([], [7])])
def test_generative(profiles, users, items):
    settings = read_settings({**OPTIONS, "alignment": "gen", "align_negatives": "batch"})
    alignment = Generative(semantic(profiles), settings, DIM, DIM)
    mask = Mask(torch.tensor(users, dtype=torch.long), torch.tensor(items, dtype=torch.long))
    masked = [("user", i) for i in users] + [("item", i) for i in items]
    check(
        alignment,
        alignment.up,
        lambda lookups: Step([], lookups["user"], lookups["item"], 3, mask),
        lambda values: gen(values, profiles, masked),
    )
