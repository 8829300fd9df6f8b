"""The alignment losses and their gradients against NumPy in float64: loops written from the formulas, nothing of torch.

Gradients are central differences along a random direction of each input.
"""

import itertools

import numpy as np
import pytest
import torch
from stand_ins import Options

from recbole_rlmrec.model.alignment import (
    Contrastive,
    DaRec,
    Distance,
    Generative,
    Mask,
    Step,
    Term,
    anchors,
    contrastive,
    darec,
    generative,
    read_settings,
)
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

OPTIONS = {"align_weight": 0.3, "align_temperature": 0.2, "align_schedule": "constant"}
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


def settings_of(**options):
    return read_settings(Options({**OPTIONS, **options}))


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


def mlp(x, values, of=""):
    hidden = values[f"{of}0.weight"] @ x + values[f"{of}0.bias"]
    return values[f"{of}2.weight"] @ np.where(hidden > 0, hidden, 0.01 * hidden) + values[f"{of}2.bias"]


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


def distance(values, profiles, batch, kind):
    total = 0.0
    for side, ids in zip(("user", "item", "item"), batch):
        for i in ids:
            if i in profiles[side]:
                row, target = values[side][i], mlp(profiles[side][i], values)
                total += 1 - cosine(row, target) if kind == "cosine" else np.mean((row - target) ** 2)
    return 0.3 / len(batch[0]) * total


def unit(x):
    return x / np.sqrt(1e-8 + x @ x)


def clusters(rows, start):
    """Centres that k-means finds in ten rounds, scaled to unit length; empty ones are dropped."""
    centres = [rows[i] for i in start]
    for _ in range(10):
        nearest = [int(np.argmin([np.linalg.norm(row - centre) for centre in centres])) for row in rows]
        own = [[row for row, place in zip(rows, nearest) if place == j] for j in range(len(centres))]
        centres = [np.mean(members, axis=0) if members else centre for members, centre in zip(own, centres)]
    return [unit(centre) for members, centre in zip(own, centres) if members]


def darec_loss(values, profiles, batch, k, push, sides=("user", "item"), limit=None):
    ids = {"user": set(batch[0]), "item": {*batch[1], *batch[2]}}
    nodes = [(side, i) for side in sides for i in sorted(ids[side]) if i in profiles[side]][-(limit or 10**6) :]
    if not nodes:
        return 0.0
    parts = {}
    for part in ("shared", "specific"):
        parts["C", part] = [unit(mlp(values[side][i], values, f"recommender.{part}.")) for side, i in nodes]
        parts["L", part] = [unit(mlp(profiles[side][i], values, f"text.{part}.")) for side, i in nodes]
    total = 0.0
    for space in "CL":
        shared, own = parts[space, "shared"], parts[space, "specific"]
        total += np.mean([(a @ b) ** 2 for a, b in zip(shared, own)])
        total += np.log(np.mean([np.exp(-2 * (a - b) @ (a - b)) for a in own for b in own]))
    ours, theirs = parts["C", "shared"], parts["L", "shared"]
    total += np.mean([(ours[a] @ ours[b] - theirs[a] @ theirs[b]) ** 2 for a in range(len(ours)) for b in range(len(ours))])
    start = range(len(nodes))[-k:]
    ours, theirs = clusters(ours, start), clusters(theirs, start)
    apart = {(a, b): np.sum((x - y) ** 2) for a, x in enumerate(ours) for b, y in enumerate(theirs)}
    pulled, others = [], []
    free = dict(apart)
    while free:
        a, b = min(free, key=free.get)
        pulled.append(apart[a, b])
        apart[a, b] = None
        free = {pair: far for pair, far in free.items() if pair[0] != a and pair[1] != b}
    others = [far for far in apart.values() if far is not None]
    total += np.mean(pulled)
    if others and push != "none":
        total += np.mean([max(0.0, 1 - far) if push == "hinge" else -far for far in others])
    return 0.3 * total


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
    averaged(alignment, network, make_step, formula, [None])


def averaged(alignment, network, make_step, formula, draws):
    """The mean over draws of loss and slopes, ours and the formula's."""
    values = inputs(network)
    tables = {side: torch.tensor(values[side], requires_grad=True) for side in COUNTS}
    step = make_step({side: lambda ids, table=table: table[ids] for side, table in tables.items()})
    losses = [alignment(step) for _ in draws]
    loss = sum(losses) / len(losses)
    assert loss.item() == pytest.approx(formula(values), rel=1e-10, abs=1e-14)
    ours = {**tables, **dict(network.named_parameters())}
    if not loss.requires_grad:
        return losses
    gradients = torch.autograd.grad(loss, list(ours.values()), allow_unused=True, materialize_grads=True)
    rng = np.random.default_rng(4)
    for name, gradient in zip(ours, gradients):
        way = rng.normal(size=values[name].shape)
        ahead, behind = ({**values, name: values[name] + sign * 1e-6 * way} for sign in (1, -1))
        slope = (formula(ahead) - formula(behind)) / 2e-6
        assert (gradient.numpy() * way).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8), name
    return losses


@pytest.mark.parametrize("negatives", ["batch", "all", 2, 100])
@pytest.mark.parametrize("batch", BATCHES)
def test_contrastive(profiles, batch, negatives, monkeypatch):
    alignment = Contrastive(semantic(profiles), settings_of(alignment="con", align_negatives=negatives), DIM, 0)
    monkeypatch.setattr(contrastive, "draw", lambda count, number: torch.arange(count)[-number:])
    drawn = {side: set(list(rows)[-negatives:]) for side, rows in profiles.items()} if isinstance(negatives, int) else None
    ids = BATCHES[batch]

    def step(lookups):
        terms = [Term(side, torch.tensor(i), lookups[side]) for side, i in zip(("user", "item", "item"), ids)]
        return Step(terms, None, None, len(ids[0]))

    check(alignment, alignment.down, step, lambda values: con(values, profiles, ids, negatives, drawn))


@pytest.mark.parametrize(("users", "items"), [([1, 3, 6], [2, 4]), ([2], []), ([], [7])])
def test_generative(profiles, users, items):
    alignment = Generative(semantic(profiles), settings_of(alignment="gen"), DIM, DIM)
    mask = Mask(torch.tensor(users, dtype=torch.long), torch.tensor(items, dtype=torch.long))
    masked = [("user", i) for i in users] + [("item", i) for i in items]
    check(
        alignment,
        alignment.up,
        lambda lookups: Step([], lookups["user"], lookups["item"], 3, mask),
        lambda values: gen(values, profiles, masked),
    )


def steps(ids, rows=False):
    """A step over a batch, whose terms look representations up or hold them."""

    def step(lookups):
        terms = []
        for side, some in zip(("user", "item", "item"), ids):
            some = torch.tensor(some)
            terms.append(Term(side, some, rows=lookups[side](some)) if rows else Term(side, some, lookups[side]))
        return Step(terms, None, None, len(ids[0]))

    return step


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("kind", ["cosine", "mse"])
@pytest.mark.parametrize("batch", BATCHES)
def test_distance(profiles, batch, kind, rows):
    alignment = Distance(semantic(profiles), settings_of(alignment="distance", align_distance=kind), DIM, 0)
    ids = BATCHES[batch]
    check(alignment, alignment.down, steps(ids, rows), lambda values: distance(values, profiles, ids, kind))


def every_draw(monkeypatch, module, number, *counts):
    """All that ``draw`` of a module may return in a step that calls it for these counts, one combination after the other."""
    for chosen in itertools.product(*(itertools.combinations(range(count), number) for count in counts)):
        left = [torch.tensor(one) for one in chosen]
        monkeypatch.setattr(module, "draw", lambda count, number, left=left: left.pop(0))
        yield chosen


@pytest.mark.parametrize(("negatives", "rows"), [("batch", False), ("batch", True), ("all", False), (2, False)])
def test_drawn_anchors_of_con_give_the_loss_of_all_on_average(profiles, negatives, rows, monkeypatch):
    settings = settings_of(alignment="con", align_negatives=negatives, align_anchors=2)
    alignment = Contrastive(semantic(profiles), settings, DIM, 0)
    monkeypatch.setattr(contrastive, "draw", lambda count, number: torch.arange(count)[-number:])
    drawn = {side: set(list(some)[-2:]) for side, some in profiles.items()}
    ids = [1, 1, 2, 3, 6], [5, 5, 6, 7, 0], [8, 1, 2, 2, 4]
    sizes = [5, 4, 4] if rows else [4, 3, 3]
    draws = every_draw(monkeypatch, anchors, 2, *sizes)
    losses = averaged(
        alignment, alignment.down, steps(ids, rows), lambda values: con(values, profiles, ids, negatives, drawn), draws
    )
    assert max(losses) > 1.01 * min(losses)


@pytest.mark.parametrize("number", [1, 3])
def test_drawn_anchors_of_gen_give_the_loss_of_all_on_average(profiles, number, monkeypatch):
    alignment = Generative(semantic(profiles), settings_of(alignment="gen", align_anchors=number), DIM, DIM)
    mask = Mask(torch.tensor([1, 3, 6]), torch.tensor([2, 4]))
    masked = [("user", 1), ("user", 3), ("user", 6), ("item", 2), ("item", 4)]
    losses = averaged(
        alignment,
        alignment.up,
        lambda lookups: Step([], lookups["user"], lookups["item"], 3, mask),
        lambda values: gen(values, profiles, masked),
        every_draw(monkeypatch, generative, number, 5),
    )
    assert max(losses) > 1.01 * min(losses)


def test_one_step_of_several_gives_the_loss_of_all_on_average(profiles, monkeypatch):
    alignment = Distance(semantic(profiles), settings_of(alignment="distance", align_every=3), DIM, 0)
    begins = []

    def epochs():
        for begin in range(3):
            monkeypatch.setattr(torch, "randint", lambda *_, begin=begin: torch.tensor(begin))
            alignment.begin_epoch(0)
            for place in range(7):
                begins.append((begin, place))
                yield

    ids = BATCHES["repeats"]
    losses = averaged(alignment, alignment.down, steps(ids), lambda values: distance(values, profiles, ids, "cosine"), epochs())
    paid = {at for at, loss in zip(begins, losses) if loss.item()}
    assert paid == {(begin, place) for begin, place in begins if place % 3 == begin}


def test_the_begin_of_one_step_of_several_is_drawn(profiles):
    alignment = Distance(semantic(profiles), settings_of(alignment="distance", align_every=3), DIM, 0)
    step = steps(BATCHES["distinct"])({side: lambda ids: torch.ones(len(ids), DIM) for side in COUNTS})
    first = []
    for epoch in range(30):
        alignment.begin_epoch(epoch)
        first.append([bool(alignment(step)) for _ in range(4)].index(True))
    assert set(first) == {0, 1, 2}


@pytest.fixture
def last_drawn(monkeypatch):
    """The last positions instead of drawn ones."""
    monkeypatch.setattr(darec, "draw", lambda count, number: torch.arange(count)[-number:])


@pytest.mark.usefixtures("last_drawn")
@pytest.mark.parametrize("push", ["hinge", "distance", "none"])
@pytest.mark.parametrize("k", [1, 3, 100])
@pytest.mark.parametrize("batch", BATCHES)
def test_darec(profiles, batch, k, push):
    settings = settings_of(alignment="darec", darec_clusters=k, darec_push=push, darec_size=3)
    alignment = DaRec(semantic(profiles), settings, DIM, 0)
    ids = BATCHES[batch]
    check(alignment, alignment, steps(ids), lambda values: darec_loss(values, profiles, ids, k, push))


@pytest.mark.usefixtures("last_drawn")
@pytest.mark.parametrize("block", [1, 5, None])
@pytest.mark.parametrize(("sides", "limit"), [("user", None), ("item", None), ("both", 4), ("both", 1)])
def test_darec_of_some_nodes(profiles, sides, limit, block):
    settings = settings_of(alignment="darec", align_sides=sides, darec_nodes=limit, align_block=block)
    alignment = DaRec(semantic(profiles), settings, DIM, 0)
    ids, chosen = ([1, 2, 3], [1, 4, 5], [6, 7, 8]), ("user", "item") if sides == "both" else (sides,)
    check(
        alignment,
        alignment,
        steps(ids, rows=limit is None),
        lambda values: darec_loss(values, profiles, ids, 4, "hinge", chosen, limit),
    )


@pytest.mark.usefixtures("last_drawn")
def test_darec_of_equal_nodes(profiles):
    """Rows that are the same leave all clusters but one empty."""
    same = {side: {i: profiles["user"][1] for i in rows} for side, rows in profiles.items()}
    alignment = DaRec(semantic(same), settings_of(alignment="darec", darec_clusters=3), DIM, 0)
    table = torch.ones(10, DIM, requires_grad=True)
    loss = alignment(steps(BATCHES["distinct"])({side: lambda ids: table[ids] for side in COUNTS}))
    values = {**inputs(alignment), "user": np.ones((10, DIM)), "item": np.ones((10, DIM))}
    assert loss.item() == pytest.approx(darec_loss(values, same, BATCHES["distinct"], 3, "hinge"), rel=1e-9)
    assert torch.autograd.grad(loss, table)[0].isfinite().all()


def test_darec_is_the_same_for_the_same_seed(profiles):
    alignment = DaRec(semantic(profiles), settings_of(alignment="darec", darec_clusters=2, darec_nodes=5), DIM, 0)
    table = torch.randn(10, DIM)
    losses = []
    for seed in (1, 1, 2, 3, 4):
        torch.manual_seed(seed)
        losses.append(alignment(steps(BATCHES["repeats"])({side: lambda ids: table[ids] for side in COUNTS})).item())
    assert losses[0] == losses[1] and len(set(losses)) > 2


def test_centres_are_matched_nearest_first():
    distances = torch.tensor([[0.5, 0.4, 9.0], [0.1, 0.2, 0.3]])
    assert darec.match(distances).nonzero().tolist() == [[0, 1], [1, 0]]
    assert darec.match(distances.T).nonzero().tolist() == [[0, 1], [1, 0]]
