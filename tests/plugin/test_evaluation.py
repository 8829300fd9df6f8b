"""Full-sort evaluation, its collector and the test mask: RecBole's numbers to the last digit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.sampler import RepeatableSampler, Sampler
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_trainer
from recbole.utils.case_study import full_sort_topk

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin import evaluation
from recbole_rlmrec.plugin.collector import FastCollector, top_items, vectorise
from recbole_rlmrec.plugin.evaluation import (
    FastFullSortEvalDataLoader,
    apply_test_mask,
    create_samplers,
    wants_fast_evaluation,
)
from recbole_rlmrec.plugin.sampler import LazySampler

IDS = {"load_col": {"inter": ["user_id", "item_id"]}}
RANKING = [
    "Hit",
    "MRR",
    "MAP",
    "Recall",
    "NDCG",
    "Precision",
    "GAUC",
    "ItemCoverage",
    "AveragePopularity",
    "ShannonEntropy",
    "GiniIndex",
    "TailPercentage",
]


@pytest.fixture
def both(build):
    """``both(model, phase, **options)`` -> config, model, RecBole's loader and ours of a phase, for the same split."""

    def make(model="BPR", phase=2, **options):
        theirs = build(model, fast_loader=False, **options)[2][phase]
        config, model, loaders = build(model, fast_loader=True, **options)
        assert type(theirs) is FullSortEvalDataLoader
        assert type(loaders[phase]) is FastFullSortEvalDataLoader
        return config, model, theirs, loaders[phase]

    return make


class ScoreTable(torch.nn.Module):
    """Fixed scores, so that two ways of batching users see the same ones."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.nn.Parameter(scores)

    def full_sort_predict(self, interaction):
        return self.scores[interaction["user_id"]].clone().view(-1)


def evaluate(config, model, loader, collector, train):
    trainer = Trainer(config, model)
    trainer.eval_collector = collector(config)
    trainer.eval_collector.data_collect(train)
    return trainer.evaluate(loader, load_best_model=False)


def by_user(loader):
    """Users, masked and positive items of every user, in the order of the loader."""
    found = []
    for users, (history_u, history_i), positive_u, positive_i in loader:
        for position, user in enumerate(users["user_id"].tolist()):
            history, positive = history_i[history_u == position], positive_i[positive_u == position]
            found.append((user, sorted(history.tolist()), sorted(positive.tolist())))
    return found


# --- loader ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("scores", [1, 31 * 5, 2**21])
def test_users_and_items_are_those_of_recbole(both, monkeypatch, phase, scores):
    monkeypatch.setattr(evaluation, "SCORES_PER_BLOCK", scores)
    _, _, theirs, ours = both(phase=phase, eval_batch_size=1)
    assert by_user(ours) == by_user(theirs)
    assert ours.uid_list.equal(theirs.uid_list)
    assert (ours.uid2items_num == theirs.uid2items_num).all()


def test_attributes_that_others_read(both):
    _, _, theirs, ours = both()
    users = set(ours.uid_list.tolist())
    for user, (positive, history) in enumerate(zip(ours.uid2positive_item, ours.uid2history_item, strict=True)):
        if user in users:
            assert sorted(positive.tolist()) == sorted(theirs.uid2positive_item[user].tolist())
            assert sorted(history.tolist()) == sorted(theirs.uid2history_item[user].tolist())
        else:
            assert positive is None
            assert set(history.tolist()) == ours._sampler.used_ids[user]
    assert (ours.uid_field, ours.iid_field, ours.is_sequential) == ("user_id", "item_id", False)
    assert len(ours.dataset) == len(theirs.dataset)


def test_user_features_are_joined(both):
    _, _, theirs, ours = both(load_col={"inter": ["user_id", "item_id"], "user": ["user_id", "age"]})
    theirs = [batch[0] for batch in theirs]
    ours = next(iter(ours))[0]
    assert ours.columns == theirs[0].columns == ["user_id", "age"]
    assert ours["age"].equal(torch.cat([batch["age"] for batch in theirs]))


def test_number_of_users_in_a_block(both, monkeypatch):
    _, _, theirs, ours = both(eval_batch_size=62)
    n_items = ours.dataset.item_num
    assert ours.step == evaluation.SCORES_PER_BLOCK // n_items
    monkeypatch.setattr(evaluation, "SCORES_PER_BLOCK", 3 * n_items)
    assert both(eval_batch_size=1)[3].step == 3
    assert both(eval_batch_size=5 * n_items)[3].step == 5
    monkeypatch.setattr(evaluation, "SCORES_PER_BLOCK", 1)
    assert both(eval_batch_size=1)[3].step == 1


@pytest.mark.parametrize("model", ["NeuMF", "ENMF"])
def test_models_that_expand_pairs_keep_the_small_block(both, model):
    config, network, theirs, ours = both(model, eval_batch_size=62)
    assert ours.step == theirs.step
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    assert trainer.evaluate(ours, load_best_model=False) == trainer.evaluate(theirs, load_best_model=False)


def test_shares_of_users_in_any_order(both):
    ours = both()[3]
    users, (history_u, history_i), positive_u, positive_i = ours.collate_fn([3, 0, 3])
    assert users["user_id"].tolist() == ours.uid_list[[3, 0, 3]].tolist()
    expected = ours.uid2history_item[users["user_id"].numpy()]
    assert history_i.equal(torch.cat(list(expected)))
    assert history_u.tolist() == [position for position, items in enumerate(expected) for _ in items]
    assert positive_i.equal(torch.cat(list(ours.uid2positive_item[users["user_id"].numpy()])))


def test_case_study_knows_every_user(both):
    _, model, theirs, ours = both()
    users = ours.uid_list[:5].numpy()
    model.eval()
    assert full_sort_topk(users, model, ours, 5)[1].equal(full_sort_topk(users, model, theirs, 5)[1])
    everyone = np.arange(1, ours.dataset.user_num)
    scores, items = full_sort_topk(everyone, model, ours, 5)
    assert torch.isfinite(scores).all()
    used = ours._sampler.used_ids - items_of(ours.dataset)
    assert not any(set(row) & used[user] for user, row in zip(everyone, items.tolist(), strict=True))


# --- metrics --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 31 * 7, 2**21])
@pytest.mark.parametrize("scores", ["all different", "ties", "constant"])
def test_ranking_metrics_are_equal_to_the_last_digit(both, monkeypatch, block, scores):
    monkeypatch.setattr(evaluation, "SCORES_PER_BLOCK", block)
    config, _, theirs, ours = both(metrics=RANKING, topk=[1, 5, 10], metric_decimal_place=16, eval_batch_size=62)
    n_users, n_items = ours.dataset.user_num, ours.dataset.item_num
    generator = torch.Generator().manual_seed(0)
    table = {
        "all different": torch.randn(n_users, n_items, generator=generator),
        "ties": torch.randint(4, (n_users, n_items), generator=generator).float(),
        "constant": torch.zeros(n_users, n_items),
    }[scores]
    model = ScoreTable(table)
    expected = evaluate(config, model, theirs, Collector, theirs)
    assert len(expected) == 11 * 3 + 1
    assert evaluate(config, model, ours, FastCollector, ours) == expected
    assert evaluate(config, model, ours, Collector, ours) == expected


def test_collected_hits_are_those_of_recbole(both):
    config = both(metrics=RANKING, topk=[3, 6])[0]
    scores = torch.randint(5, (4, 9)).float()
    positive_u, positive_i = torch.tensor([3, 0, 0, 2, 0, 3]), torch.tensor([8, 2, 2, 5, 7, 1])
    structs = []
    for collector in (Collector(config), FastCollector(config)):
        for batch in (scores, scores.flip(1)):
            collector.eval_batch_collect(batch, None, positive_u, positive_i)
        structs.append(collector.get_data_struct())
    for name in ("rec.items", "rec.topk", "rec.meanrank"):
        assert structs[0][name].dtype == structs[1][name].dtype
        assert structs[0][name].equal(structs[1][name])


@pytest.mark.parametrize("n_items", [800, 1000, 1003])
def test_the_top_items_are_those_of_torch(n_items, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(40, n_items, generator=generator)
    scores[5:10] = scores[5:10].round(decimals=1)
    scores[10, 3:], scores[11], scores[12, ::7] = -torch.inf, 0.0, torch.nan
    scores[13, -1] = 9.0
    asked = []
    monkeypatch.setattr(torch.Tensor, "amax", lambda x, dim, amax=torch.Tensor.amax: asked.append(1) or amax(x, dim))
    for k in (1, 2):
        assert top_items(scores, k).equal(scores.topk(k).indices)
    assert len(asked) == 2
    assert top_items(scores, 50).equal(scores.topk(50).indices) and len(asked) == 2


@pytest.mark.parametrize("tail_ratio", [None, 0.3, 1, 2])
def test_metrics_without_loops_have_the_same_values(both, tail_ratio):
    options = {"metrics": ["AveragePopularity", "TailPercentage"], "topk": [1, 4], "tail_ratio": tail_ratio}
    config = both(**options, valid_metric="TailPercentage@4")[0]
    lists = np.random.default_rng(0).integers(1, 12, (9, 4))
    counts = {3: 5, 1: 2, 7: 1, 2: 2, 9: 3}
    theirs, ours = Evaluator(config), Evaluator(config)
    vectorise(ours, config)
    for name, metric in theirs.metric_class.items():
        value = "get_pop" if name == "averagepopularity" else "get_tail"
        expected = getattr(metric, value)(lists, counts)
        found = getattr(ours.metric_class[name], value)(lists, counts)
        assert type(metric) is not type(ours.metric_class[name])
        assert found.dtype == expected.dtype and (found == expected).all() and expected.any()


@pytest.mark.parametrize("mode", ["full", "uni5", "pop5"])
@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}])
@pytest.mark.parametrize("order", ["RO", "TO"])
@pytest.mark.parametrize("group_by", ["user", "none"])
def test_ranking_protocols(build, mode, split, order, group_by):
    options = {
        "eval_args": {"mode": mode, "split": split, "order": order, "group_by": group_by},
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }
    results = []
    for fast in (False, True):
        config, model, (train, _, test) = build("BPR", fast_loader=fast, **options)
        assert (type(test) is FastFullSortEvalDataLoader) == (fast and mode == "full")
        assert isinstance(test, FullSortEvalDataLoader if mode == "full" else NegSampleEvalDataLoader)
        np.random.seed(1)
        results.append(evaluate(config, model, test, FastCollector if fast else Collector, train))
    assert results[0] == results[1]


@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}])
@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
def test_value_metrics(build, split, model):
    options = {
        "eval_args": {"mode": "labeled", "split": split, "order": "RO", "group_by": "none"},
        "metrics": ["AUC", "MAE"],
        "valid_metric": "AUC",
        "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
        "threshold": {"rating": 3},
    }
    results = []
    for fast in (False, True):
        config, network, (train, _, test) = build(model, fast_loader=fast, **options)
        results.append(evaluate(config, network, test, FastCollector if fast else Collector, train))
    assert results[0] == results[1]
    assert 0 <= results[0]["auc"] <= 1


def test_a_run_with_the_fast_loaders_repeats(run):
    options = {"fast_loader": True, "metrics": RANKING}
    assert run("BPR", **options)["test_result"] == run("BPR", **options)["test_result"]


@pytest.mark.parametrize(
    ("change", "loader", "wanted"),
    [
        ({}, FullSortEvalDataLoader, True),
        ({}, NegSampleEvalDataLoader, False),
        ({"fast_loader": False}, FullSortEvalDataLoader, False),
        ({"MODEL_TYPE": ModelType.SEQUENTIAL}, FullSortEvalDataLoader, False),
        ({"repeatable": True}, FullSortEvalDataLoader, False),
    ],
)
def test_when_the_loader_is_ours(change, loader, wanted):
    config = {"fast_loader": True, "MODEL_TYPE": ModelType.GENERAL, "repeatable": False}
    assert wants_fast_evaluation({**config, **change}, loader) is wanted


# --- samplers and the test mask -------------------------------------------------------------------------------------


def items_of(dataset):
    sets = [set() for _ in range(dataset.user_num)]
    for user, item in zip(dataset.inter_feat["user_id"].tolist(), dataset.inter_feat["item_id"].tolist(), strict=True):
        sets[user].add(item)
    return np.array(sets)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("mask", ["train_valid", "train"])
@pytest.mark.parametrize("mode", ["full", "uni5"])
def test_mask_of_the_test_phase(build, fast, mask, mode):
    _, _, loaders = build("BPR", fast_loader=fast, test_mask=mask, eval_args={"mode": mode})
    train, valid, test = (items_of(loader.dataset) for loader in loaders)
    used = train | test if mask == "train" else train | valid | test
    assert (loaders[2]._sampler.used_ids == used).all()
    assert (loaders[1]._sampler.used_ids == train | valid).all()
    assert (loaders[0]._sampler.used_ids == train).all()
    if mode == "full":
        for user, history, positive in by_user(loaders[2]):
            assert set(history) == used[user] - test[user]
            assert set(positive) == test[user]


def test_the_mask_changes_the_metrics(build):
    def recall(**options):
        config, _, (train, _, test) = build("BPR", fast_loader=True, **options)
        table = torch.zeros(test.dataset.user_num, test.dataset.item_num)
        valid = build("BPR", fast_loader=True)[2][1].dataset.inter_feat
        table[valid["user_id"], valid["item_id"]] = 1.0
        table[test.dataset.inter_feat["user_id"], test.dataset.inter_feat["item_id"]] = 0.5
        return evaluate(config, ScoreTable(table), test, FastCollector, train)["mrr@5"]

    assert recall() == 1
    assert recall(test_mask="train_valid") == 1
    assert recall(test_mask="train") < 1


def test_unknown_mask(build):
    with pytest.raises(ConfigError, match=r"`test_mask` is 'valid'.*train_valid, train"):
        build("BPR", test_mask="valid")


def test_mask_without_a_sampler_or_with_repeats():
    samplers = (None, None, None)
    assert apply_test_mask({"test_mask": "train"}, samplers) is samplers
    repeatable = (None, None, object.__new__(RepeatableSampler))
    assert apply_test_mask({"test_mask": "train"}, repeatable) is repeatable


@pytest.mark.parametrize(
    "distributions",
    [
        ("uniform",) * 3,
        ("none", "uniform", "uniform"),
        ("popularity", "uniform", "popularity"),
        ("uniform", "none", "none"),
    ],
)
def test_samplers_are_those_of_recbole(build, distributions):
    config, _, loaders = build("BPR", **IDS)
    for phase, distribution in zip(("train", "valid", "test"), distributions, strict=True):
        config[f"{phase}_neg_sample_args"] = {"distribution": distribution, "sample_num": 1, "alpha": 0.5}
    datasets = [loader.dataset for loader in loaders]
    config["fast_loader"] = False
    theirs = create_samplers(config, None, datasets)
    config["fast_loader"] = True
    for expected, sampler in zip(theirs, create_samplers(config, None, datasets), strict=True):
        if expected is None:
            assert sampler is None
            continue
        assert type(expected) is Sampler
        assert type(sampler) is LazySampler
        assert (sampler.phase, sampler.distribution, sampler.alpha) == (
            expected.phase,
            expected.distribution,
            expected.alpha,
        )
        assert (sampler.used_ids == expected.used_ids).all()
        assert getattr(sampler, "prob", None) == getattr(expected, "prob", None)


def test_repeatable_runs_keep_their_sampler(build):
    loaders = build("BPR", fast_loader=True, repeatable=True)[2]
    assert type(loaders[0]._sampler) is RepeatableSampler
    assert type(loaders[2]) is FullSortEvalDataLoader
    assert isinstance(next(iter(loaders[0])), Interaction)
