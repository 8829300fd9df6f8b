"""The softmax loss: values and gradients against loops over rows and candidates in float64, and whole models with it."""

import math

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model
from stand_ins import Interactions, batch, defaults, make, semantic

from recbole_rlmrec.errors import ConfigError, ModelError
from recbole_rlmrec.model import softmax
from recbole_rlmrec.model.adapters import ADAPTERS
from recbole_rlmrec.model.lookup import find_model, is_sequential
from recbole_rlmrec.model.softmax import SoftmaxLoss, SoftmaxSettings
from recbole_rlmrec.plugin.record import last_record

N_USERS, N_ITEMS, DIM, TAU = 6, 9, 4, 0.3
POPULARITY = np.array([0, 4, 1, 2, 0, 3, 1, 5, 2])
BATCHES = {
    "repeated items": ([1, 2, 2, 3, 5, 1], [7, 7, 1, 7, 3, 1]),
    "one row": ([4], [2]),
    "one item": ([1, 2, 3], [5, 5, 5]),
}


@pytest.fixture(autouse=True)
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def unit(row):
    return row / math.sqrt(1e-8 + row @ row)


def expected(users, items, user, positive, candidates, factors):
    """Mean over the rows of -s_p + log(exp s_p + sum over the candidates that are not the row's own of factor exp s)."""
    total = 0.0
    for u, p in zip(user, positive):
        own = unit(users[u]) @ unit(items[p]) / TAU
        others = sum(f * math.exp(unit(users[u]) @ unit(items[j]) / TAU) for j, f in zip(candidates, factors) if j != p)
        total += math.log(math.exp(own) + others) - own
    return total / len(user)


def numeric(function, x, step=1e-6):
    """Gradient of a scalar function of an array by central differences."""
    grad = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + step
        above = function()
        x[place] = kept - step
        grad[place] = (above - function()) / (2 * step)
        x[place] = kept
    return grad


def check(negatives, logq, user, positive, candidates, factors):
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(N_USERS, DIM)), rng.normal(size=(N_ITEMS, DIM))
    tables = [torch.tensor(table, requires_grad=True) for table in (users, items)]
    loss = SoftmaxLoss(SoftmaxSettings(TAU, negatives, logq), torch.tensor(POPULARITY))
    ids = torch.tensor(user), torch.tensor(positive)
    value = loss(*[lambda rows, table=table: table[rows] for table in tables], *ids)
    value.backward()

    def oracle():
        return expected(users, items, user, positive, candidates, factors)

    assert value.item() == pytest.approx(oracle(), rel=1e-10)
    for table, own in zip((users, items), tables):
        np.testing.assert_allclose(own.grad, numeric(oracle, table), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("logq", [False, True])
def test_batch(name, logq, waits, monkeypatch):
    """Also where results whose size depends on the data are avoided, as on a GPU."""
    monkeypatch.setattr(softmax, "on_gpu", lambda ids: not waits)
    user, positive = BATCHES[name]
    share = POPULARITY / POPULARITY.sum()
    factors = [1 / (len(user) * share[p]) if logq else 1.0 for p in positive]
    check("batch", logq, user, positive, positive, factors)


@pytest.mark.parametrize("logq", [False, True])
def test_repeats_by_the_loader_change_nothing(logq):
    """With ``sample_num: 3`` RecBole has every interaction three times in a batch, each with a negative of its own."""
    tables = torch.randn(2, N_ITEMS, DIM)
    ids = torch.tensor(BATCHES["repeated items"])
    sampling = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 3}}
    config = {**defaults("LightGCN_RLMRec"), "softmax_negatives": "batch", "softmax_logq": logq}
    values = []
    for settings, rows in ((config, ids), (config | sampling, ids.repeat(1, 3))):
        loss = SoftmaxLoss(SoftmaxSettings.read(settings), torch.tensor(POPULARITY))
        values.append(loss(*[table.__getitem__ for table in tables], *rows).item())
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("negatives", ["all", N_ITEMS - 1, 1000])
def test_all(name, negatives, waits, monkeypatch):
    monkeypatch.setattr(softmax, "on_gpu", lambda ids: not waits)
    check(negatives, True, *BATCHES[name], range(1, N_ITEMS), np.ones(N_ITEMS))


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("name", BATCHES)
def test_drawn(name, waits, monkeypatch):
    """Items 2, 5 and 7 are drawn: some are the positive of a row."""
    monkeypatch.setattr(softmax, "on_gpu", lambda ids: not waits)
    monkeypatch.setattr(softmax, "draw", lambda count, number: torch.tensor([1, 4, 6]))
    check(3, False, *BATCHES[name], [2, 5, 7], np.ones(3))


def test_logq_estimates_the_sum_over_all_items():
    """Over many batches drawn by popularity, the corrected sum of the others is on average that over all items."""
    torch.manual_seed(0)
    popularity = torch.tensor([0, 8, 4, 2, 1, 1])
    items, user = torch.randn(6, 3), torch.randn(2, 3)
    loss = SoftmaxLoss(SoftmaxSettings(1.0, "batch", True), popularity)
    everything = SoftmaxLoss(SoftmaxSettings(1.0, "all", True), popularity)
    sums = []
    for _ in range(300):
        positives = torch.multinomial(popularity.double(), 200, replacement=True)
        sums.append(loss(lambda ids: user[ids], lambda ids: items[ids], torch.ones(200).long(), positives).item())
    exact = everything(
        lambda ids: user[ids], lambda ids: items[ids], torch.ones(16).long(), torch.arange(6).repeat_interleave(popularity)
    )
    assert np.mean(sums) == pytest.approx(exact.item(), rel=0.02)


PAIRS = np.unique(np.random.default_rng(1).integers(1, (N_USERS, N_ITEMS), size=(30, 2)), axis=0)
ROWS = batch([1, 2, 2, 5], [3, 4, 3, 1], [8, 7, 2, 5])
MODELS = ("BPR", "LightGCN", "SGL", "NGCF", "DGCF", "SpectralCF", "GCCF", "SimGCL", "DCCF")


def build(tiny, model, **options):
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    torch.set_default_dtype(torch.float32)
    config = Config(model, tiny["dataset"], config_dict={**tiny, "alignment": "none", "loss": "softmax", **options})
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    return config, find_model(model)(config, loaders[0]._dataset), loaders


@pytest.mark.parametrize("backbone", MODELS)
def test_every_pairwise_recommender_takes_it(tiny, backbone):
    """Its value is that of the representations of the step, and scores are their cosines."""
    options = {"node_dropout": 0.0, "message_dropout": 0.0, "reg_weight": 0.0, "cor_weight": 0.0, "softmax_negatives": "all"}
    _, model, (train, _, _) = build(tiny, f"{backbone}_RLMRec", **options)
    interaction = next(iter(train))
    losses = model.calculate_loss(interaction)
    losses = losses if isinstance(losses, tuple) else (losses,)
    assert len(losses) == len(model.loss_names)
    n_items = model.n_items
    users = torch.arange(1, model.n_users).repeat_interleave(n_items)
    items = torch.arange(n_items).repeat(model.n_users - 1)
    pairs = batch(users, items, items)
    with torch.no_grad():
        scores = model.predict(pairs).view(-1, n_items)
        full = model.full_sort_predict(batch(range(1, model.n_users), [1] * (model.n_users - 1), [1] * (model.n_users - 1)))
    torch.testing.assert_close(full.view(-1, n_items), scores)
    assert scores.abs().max() <= 1.0001
    rows = scores[interaction["user_id"] - 1, 1:].double() / 0.15
    own = rows.gather(1, interaction["item_id"].unsqueeze(1) - 1).squeeze(1)
    expected = (rows.logsumexp(dim=1) - own).mean()
    torch.testing.assert_close(losses[0].double().squeeze(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alignment", ["con", "gen"])
def test_it_combines_with_alignment(monkeypatch, alignment):
    rng = np.random.default_rng(0)
    known = semantic(rng.normal(size=(N_USERS - 1, 3)), rng.normal(size=(N_ITEMS - 1, 3)))
    data = Interactions(*PAIRS.T, N_USERS, N_ITEMS)
    options = {"loss": "softmax", "alignment": alignment, "embedding_size": 4, "n_layers": 2, "reg_weight": 1e-4}
    options |= {"mask_ratio": 0.3, "require_pow": True}
    model = make("LightGCN_RLMRec", data, known, monkeypatch, **options).train()
    forwards = []
    combined = model.norm_adj_matrix.combined
    model.norm_adj_matrix.combined = lambda x, layers, how: forwards.append(layers) or combined(x, layers, how)
    losses = model.calculate_loss(ROWS)
    assert model.loss_names == ("softmax", "reg", "alignment") and forwards == [2]  # one pass of two layers
    sum(losses).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


OWN_LOSS = [name for name, adapter in ADAPTERS.items() if adapter.softmax and not is_sequential(name)]


def test_adapters_tell_who_has_a_bpr_loss():
    assert {*MODELS, "NCL"} == {name for name in ADAPTERS if not is_sequential(name)} - set(OWN_LOSS)


@pytest.mark.parametrize("backbone", OWN_LOSS)
def test_others_say_why_not(tiny, backbone, monkeypatch):
    """By their adapter, and, where an adapter does not say it, by what is there."""
    with pytest.raises(ModelError, match=f"loss: softmax does not work for {backbone}: it takes the place of a BPR loss"):
        build(tiny, f"{backbone}_RLMRec")
    monkeypatch.setattr(type(ADAPTERS[backbone]), "softmax", "")
    with pytest.raises(ModelError, match=f"the BPR loss, which {backbone} does not have"):
        build(tiny, f"{backbone}_RLMRec")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("softmax_temperature", 0),
        ("softmax_temperature", -1),
        ("softmax_negatives", 0),
        ("softmax_negatives", "some"),
        ("softmax_logq", "maybe"),
        ("loss", "hinge"),
    ],
)
def test_options_out_of_range(key, value):
    with pytest.raises(ConfigError, match=key):
        SoftmaxSettings.from_config({**defaults("LightGCN_RLMRec"), "loss": "softmax", key: value})


@pytest.mark.parametrize("model", ["BPR_RLMRec", "LightGCN_RLMRec"])
def test_a_checkpoint_scores_as_the_model_did(tiny, model):
    """The test of the best epoch is not made with tables of a later one."""
    from recbole.trainer import Trainer

    config, recommender, (train, valid, test) = build(tiny, model, epochs=3, learning_rate=0.05)
    trainer = Trainer(config, recommender)
    _, best = trainer.fit(train, valid, show_progress=False)
    assert set(recommender.other_parameter_name) >= {"restore_user_e", "restore_item_e"}
    again = load_data_and_model(trainer.saved_model_file)[1].eval()
    rows = batch([1, 2], [1, 1], [1, 1])
    kept = again.full_sort_predict(rows)
    again.restore_user_e = again.restore_item_e = None
    torch.testing.assert_close(again.full_sort_predict(rows), kept)
    result = trainer.evaluate(valid, model_file=trainer.saved_model_file, show_progress=False)
    assert result["recall@10"] == pytest.approx(best["recall@10"] if "recall@10" in best else best["Recall@10"])


def test_a_run_names_the_loss(tiny):
    from recbole.quick_start import run_recbole

    torch.set_default_dtype(torch.float32)
    run_recbole("LightGCN_RLMRec", "tiny", config_dict={**tiny, "alignment": "none", "loss": "softmax"}, saved=False)
    assert list(last_record().losses) == ["softmax", "reg"]
