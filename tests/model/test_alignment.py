"""The alignment losses against float64 formulas written from the paper, and their blocks against the whole."""

import numpy as np
import pytest
import torch
from stand_ins import Options

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.alignment import (
    ALIGNMENTS,
    Contrastive,
    Generative,
    Mask,
    Step,
    Term,
    read_settings,
    register_alignment,
)
from recbole_rlmrec.model.alignment.contrastive import draw
from recbole_rlmrec.model.alignment.infonce import block_logsumexp
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

N_USERS, N_ITEMS, DIM, WIDTH = 9, 12, 4, 6


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    yield
    torch.set_default_dtype(before)


def settings_of(**options):
    """Settings of con with some options and no schedule; the others have their defaults."""
    return read_settings(Options({"alignment": "con", "align_schedule": "constant", **options}))


def table(n: int, missing: tuple[int, ...] = ()) -> SemanticTable:
    rng = np.random.default_rng(n)
    covered = [i for i in range(1, n) if i not in missing]
    row_of_id = np.full(n, -1)
    row_of_id[covered] = np.arange(len(covered))
    return SemanticTable(rng.normal(size=(len(covered), WIDTH)).astype(np.float32), row_of_id, torch.device("cpu"))


def semantic(missing_users=(), missing_items=()) -> Semantic:
    return Semantic(table(N_USERS, missing_users), table(N_ITEMS, missing_items), "tag", "encoder", {})


def batch(users, positives, negatives):
    generator = torch.Generator().manual_seed(11)
    tables = {
        "user": torch.randn(N_USERS, DIM, generator=generator, requires_grad=True),
        "item": torch.randn(N_ITEMS, DIM, generator=generator, requires_grad=True),
    }
    ids = {"user": torch.tensor(users), "positive": torch.tensor(positives), "negative": torch.tensor(negatives)}
    sides = {"user": "user", "positive": "item", "negative": "item"}
    terms = [Term(sides[name], ids[name], lambda i, side=sides[name]: tables[side][i]) for name in ids]
    return Step(terms, None, None, len(users)), tables


def cosine(a, b):
    return (a / torch.sqrt(1e-8 + a.square().sum(-1, keepdim=True))) @ (
        b / torch.sqrt(1e-8 + b.square().sum(-1, keepdim=True))
    ).T


def naive_con(step, tables, alignment, candidates):
    """L = w/B sum over terms and rows of -cos/tau + log sum over C, one row at a time, repeats kept."""
    tau, total = alignment.settings["align_temperature"], 0.0
    for position, term in enumerate(step.terms):
        profiles = getattr(alignment.semantic, term.side)
        rows = [i for i in term.ids.tolist() if profiles.covered[i]]
        for i in rows:
            own = alignment.down(profiles.rows(torch.tensor([i])).double())
            columns = candidates(position, profiles, i, rows)
            columns = alignment.down(profiles.rows(torch.tensor(columns)).double())
            anchor = tables[term.side][i][None]
            total = total - cosine(anchor, own).squeeze() / tau + torch.logsumexp(cosine(anchor, columns) / tau, 1)[0]
    return alignment.settings["align_weight"] / step.batch_size * total


def gradients(loss, alignment, tables):
    inputs = [*alignment.parameters(), *tables.values()]
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


CASES = {
    "distinct": ([1, 2, 3], [4, 5, 6], [7, 8, 9]),
    "one row": ([1], [2], [3]),
    "repeats": ([1, 1, 2, 1, 3], [5, 5, 6, 5, 7], [8, 9, 8, 8, 8]),
    "padding": ([0, 1, 2, 0], [4, 0, 6, 5], [0, 0, 3, 2]),
}


@pytest.fixture(params=["cpu", "as on a GPU"])
def device(request, monkeypatch):
    """Whether ids are made unique, or stay as they are so that nobody waits for their number."""
    waits = request.param == "cpu"
    for module in ("base", "contrastive"):
        monkeypatch.setattr(f"recbole_rlmrec.model.alignment.{module}.on_gpu", lambda ids: not waits)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("block", [1, 7, None])
@pytest.mark.parametrize("negatives", ["batch", "all"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("missing", [((), ()), ((1, 4), (5, 8))])
def test_contrastive_equals_the_formula(case, negatives, missing, block):
    settings = settings_of(align_negatives=negatives, align_block=block)
    alignment = Contrastive(semantic(*missing), settings, DIM, 0)
    step, tables = batch(*CASES[case])

    def candidates(position, profiles, i, rows):
        return profiles.ids.tolist() if negatives == "all" and position == 0 else rows

    loss, expected = alignment(step), naive_con(step, tables, alignment, candidates)
    if not torch.is_tensor(expected):
        assert loss.item() == expected
        return
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(gradients(loss, alignment, tables), gradients(expected, alignment, tables)):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("number", [1, 3, 100])
@pytest.mark.parametrize("case", CASES)
def test_drawn_negatives_count_the_own_profile_once(case, number, monkeypatch):
    alignment = Contrastive(semantic((4,), (5,)), settings_of(align_negatives=number), DIM, 0)
    drawn, original = [], alignment._candidates
    monkeypatch.setattr(alignment, "_candidates", lambda side, t: drawn.append(original(side, t)) or drawn[-1])
    step, tables = batch(*CASES[case])
    loss = alignment(step)
    for chosen, profiles in zip(drawn, (alignment.semantic.user, alignment.semantic.item)):
        assert len(chosen) == min(number, len(profiles.ids)) == len(chosen.unique())
        assert profiles.covered[chosen].all()

    def candidates(position, profiles, i, rows):
        return sorted({i, *drawn[0 if position == 0 else 1].tolist()})

    expected = naive_con(step, tables, alignment, candidates)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(gradients(loss, alignment, tables), gradients(expected, alignment, tables)):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("count", "number"), [(40, 3), (40, 10), (40, 39), (40, 40), (40, 50), (1, 1)])
def test_drawn_positions_are_distinct_and_all_equally_likely(count, number):
    seen = torch.zeros(count)
    for _ in range(3000):
        drawn = draw(count, number)
        assert len(drawn) == min(count, number) == len(drawn.unique())
        seen[drawn] += 1
    share = min(number / count, 1.0)
    assert (seen / 3000 - share).abs().max() < 5 * (share * (1 - share) / 3000) ** 0.5 + 1e-9


def test_rows_in_batch_order_equal_a_lookup():
    alignment = Contrastive(semantic((1,), (5,)), settings_of(), DIM, 0)
    step, tables = batch(*CASES["repeats"])
    rows = [Term(term.side, term.ids, rows=tables[term.side][term.ids]) for term in step.terms]
    torch.testing.assert_close(alignment(step), alignment(Step(rows, None, None, step.batch_size)))


def test_nobody_has_a_profile():
    alignment = Contrastive(semantic((1, 2, 3), (4, 5, 6, 7, 8, 9)), settings_of(), DIM, 0)
    step, _ = batch(*CASES["distinct"])
    assert alignment(step).item() == 0.0


@pytest.mark.parametrize("block", [1, 5, 1 << 24])
@pytest.mark.parametrize("tau", [0.05, 0.5])
@pytest.mark.parametrize(("users", "items"), [([1, 3, 5], [2, 4]), ([2], []), ([], [7])])
def test_generative_equals_the_formula(users, items, tau, block):
    settings = settings_of(alignment="gen", align_temperature=tau, align_block=block)
    alignment = Generative(semantic(), settings, DIM, DIM)
    _, tables = batch(*CASES["distinct"])
    mask = Mask(torch.tensor(users, dtype=torch.long), torch.tensor(items, dtype=torch.long))
    loss = alignment(Step([], lambda i: tables["user"][i], lambda i: tables["item"][i], 3, mask))
    nodes = torch.cat([tables["user"][mask.user], tables["item"][mask.item]])
    query = alignment.up(nodes)
    profiles = torch.cat([alignment.semantic.user.rows(mask.user), alignment.semantic.item.rows(mask.item)]).double()
    unit = torch.nn.functional.normalize
    similarity = torch.exp(unit(query) @ unit(profiles).T / tau)
    expected = -torch.log(similarity.diagonal() / (similarity.sum(1) + 1e-8) + 1e-8).mean() * 0.1
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(gradients(loss, alignment, tables), gradients(expected, alignment, tables)):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("ratio", [1e-6, 0.15, 0.5, 0.999])
def test_masked_nodes_have_profiles_and_are_distinct(ratio):
    tables = semantic((1, 4), (5, 8))
    alignment = Generative(tables, settings_of(alignment="gen", mask_ratio=ratio), DIM, DIM)
    count = len(tables.user.ids) + len(tables.item.ids)
    mask = alignment.begin()
    assert len(mask.user) + len(mask.item) == max(int(count * ratio), 1)
    assert len(mask.user.unique()) == len(mask.user) and len(mask.item.unique()) == len(mask.item)
    assert tables.user.covered[mask.user].all() and tables.item.covered[mask.item].all()


def test_mask_covers_users_and_items_evenly():
    alignment = Generative(semantic(), settings_of(alignment="gen", mask_ratio=0.5), DIM, DIM)
    seen = torch.zeros(N_USERS), torch.zeros(N_ITEMS)
    for _ in range(2000):
        mask = alignment.begin()
        seen[0][mask.user] += 1
        seen[1][mask.item] += 1
    shares = torch.cat([seen[0][1:], seen[1][1:]]) / 2000
    assert (shares - 9 / 19).abs().max() < 0.06
    assert seen[0][0] == seen[1][0] == 0


def test_logsumexp_is_stable():
    lse = block_logsumexp(torch.eye(2), torch.eye(2), 0.001)
    assert torch.equal(lse, torch.tensor([1000.0, 1000.0]))


def test_bfloat16_products_stay_close():
    torch.set_default_dtype(torch.float32)
    step, _ = batch(*CASES["repeats"])
    step = Step([Term(t.side, t.ids, rows=t.lookup(t.ids).float()) for t in step.terms], None, None, 5)
    exact = Contrastive(semantic(), settings_of(), DIM, 0)
    narrow = Contrastive(semantic(), settings_of(align_dtype="bfloat16"), DIM, 0)
    narrow.load_state_dict(exact.state_dict())
    loss = narrow(step)
    assert loss.dtype == torch.float32 and abs(loss.item() - exact(step).item()) < 0.02 * abs(exact(step).item())


def test_bfloat16_reconstruction_stays_close():
    torch.set_default_dtype(torch.float32)
    exact = Generative(semantic(), settings_of(alignment="gen"), DIM, DIM)
    narrow = Generative(semantic(), settings_of(alignment="gen", align_dtype="bfloat16"), DIM, DIM)
    narrow.load_state_dict(exact.state_dict())
    tables = torch.randn(N_USERS, DIM, requires_grad=True), torch.randn(N_ITEMS, DIM, requires_grad=True)
    mask = Mask(torch.tensor([1, 3, 5]), torch.tensor([2, 4, 6, 7]))
    losses = [a(Step([], lambda i: tables[0][i], lambda i: tables[1][i], 3, mask)) for a in (exact, narrow)]
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=0.01, atol=0)
    theirs, ours = (torch.autograd.grad(loss, tables[0])[0] for loss in losses)
    assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.99


def test_rows_of_narrow_products_come_in_multiples():
    torch.set_default_dtype(torch.float32)
    alignment = Contrastive(semantic(), settings_of(align_dtype="bfloat16"), DIM, 0)
    seen, original = [], alignment.down.forward
    alignment.down.forward = lambda x: seen.append(len(x)) or original(x)
    step, _ = batch(*CASES["repeats"])
    alignment(Step([Term(t.side, t.ids, rows=t.lookup(t.ids).float()) for t in step.terms], None, None, 5))
    assert seen and all(rows % 256 == 0 for rows in seen)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alignment", "contrastive"),
        ("align_weight", -1),
        ("align_weight", "big"),
        ("align_temperature", 0),
        ("align_temperature", float("inf")),
        ("align_negatives", 0),
        ("align_negatives", "some"),
        ("align_negatives", 2.7),
        ("mask_ratio", 0),
        ("mask_ratio", 1),
        ("mask_ratio", True),
        ("align_block", 0),
        ("align_dtype", "float8"),
    ],
)
def test_options_out_of_range(key, value):
    with pytest.raises(ConfigError, match=key) as error:
        settings_of(**{"alignment": "gen" if key == "mask_ratio" else "con", key: value})
    assert "set it to" in str(error.value)


def test_defaults_depend_on_the_kind():
    con, gen = settings_of(), settings_of(alignment="gen")
    names = "align_weight", "align_temperature"
    assert [con[name] for name in names] == [0.001, 0.2] and [gen[name] for name in names] == [0.1, 0.5]
    assert settings_of(alignment=None).kind == "none"


def test_the_case_of_an_alignments_name_does_not_matter(monkeypatch):
    monkeypatch.setitem(ALIGNMENTS, "Mine", Contrastive)
    assert settings_of(alignment="Mine").kind == "Mine"
    assert settings_of(alignment="CON").kind == "con"


def test_names_of_alignments_are_taken_once():
    with pytest.raises(ConfigError, match="exists already"):
        register_alignment("con", Contrastive)
    with pytest.raises(ConfigError, match="derive it"):
        register_alignment("other", dict)
