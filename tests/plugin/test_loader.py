"""The training loader and the sampler: RecBole's batches with other numbers of the same distribution."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataloader.user_dataloader import UserDataLoader
from recbole.data.utils import load_split_dataloaders, save_split_dataloaders
from recbole.sampler import Sampler
from recbole.utils import InputType

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin.loader import FastTrainDataLoader, take, wants_fast_loader
from recbole_rlmrec.plugin.sampler import LazySampler, UniformNegatives, UserItems

FEATURES = {
    "load_col": {
        "inter": ["user_id", "item_id", "rating", "timestamp"],
        "user": ["user_id", "age"],
        "item": ["item_id", "genre", "release_year"],
    }
}
SEVERAL = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 3, "alpha": 1.0, "dynamic": False}}


@pytest.fixture
def both(build):
    """``both(model, **options)`` -> RecBole's training loader and ours, for the same split."""

    def make(model="BPR", **options):
        _, _, (theirs, _, _) = build(model, fast_loader=False, **options)
        _, _, (ours, _, _) = build(model, fast_loader=True, **options)
        assert type(theirs) is TrainDataLoader
        assert type(ours) is FastTrainDataLoader
        return theirs, ours

    return make


def user_items(pairs, n_users=4, n_items=6):
    users, items = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return UserItems.of_pairs(users, items, n_users, n_items)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_rows_are_sorted_and_without_repeats():
    rows = user_items([(3, 2), (1, 5), (1, 1), (3, 2)])
    assert rows.counts.tolist() == [0, 2, 0, 1]
    assert rows.items.tolist() == [1, 5, 2]
    assert rows.sets().tolist() == [set(), {1, 5}, set(), {2}]


def test_rows_of_users_in_any_order():
    position, item = user_items([(3, 2), (1, 5), (1, 1)]).rows(torch.tensor([3, 0, 1, 3]))
    assert list(zip(position.tolist(), item.tolist(), strict=True)) == [(0, 2), (2, 1), (2, 5), (3, 2)]


def test_difference_of_rows():
    mine, other = user_items([(1, 1), (1, 2), (3, 4)]), user_items([(1, 2), (2, 4)])
    assert mine.without(other).sets().tolist() == [set(), {1}, set(), {4}]
    assert mine.without(user_items([])).keys.equal(mine.keys)
    assert not len(user_items([]).without(mine).keys)


# --- negatives ------------------------------------------------------------------------------------------------------


def test_negatives_are_uniform_over_what_the_user_lacks():
    used = user_items([(1, 2), (1, 3), (1, 9), (2, 1), (2, 12), (3, 5)], n_users=4, n_items=13)
    users = torch.arange(1, 4).repeat(12_000)
    drawn = UniformNegatives(used, torch.device("cpu"), seed=5).draw(users)
    for user, taken in enumerate(used.sets()):
        if not taken:
            continue
        free = [item for item in range(1, 13) if item not in taken]
        counts = torch.bincount(drawn[users == user], minlength=13)
        assert counts.sum() == counts[free].sum() == 12_000
        expected = 12_000 / len(free)
        chi_square = ((counts[free] - expected) ** 2 / expected).sum()
        assert chi_square < 33  # 99.9% quantile of 12 degrees of freedom, here there are at most 10


def test_every_free_item_can_be_drawn_and_no_other():
    rng = np.random.default_rng(0)
    pairs = [(user, item) for user in range(1, 8) for item in rng.permutation(np.arange(1, 10))[: user + 1]]
    used = user_items(pairs, n_users=8, n_items=10)
    users = torch.arange(1, 8).repeat(400)
    drawn = UniformNegatives(used, torch.device("cpu"), seed=1).draw(users)
    found = UserItems.of_pairs(users, drawn, 8, 10).sets()
    for user in range(1, 8):
        assert found[user] == set(range(1, 10)) - used.sets()[user]


def test_a_user_who_lacks_one_item_gets_it():
    used = user_items([(1, item) for item in range(1, 1000) if item != 617], n_users=2, n_items=1000)
    drawn = UniformNegatives(used, torch.device("cpu"), seed=1).draw(torch.ones(50, dtype=torch.long))
    assert drawn.tolist() == [617] * 50


def test_negatives_continue_after_a_copy():
    negatives = UniformNegatives(user_items([(1, 2)], n_items=1000), torch.device("cpu"), seed=1)
    users = torch.ones(20, dtype=torch.long)
    negatives.draw(users)
    again = copy.deepcopy(negatives)
    assert negatives.draw(users).equal(again.draw(users))


# --- sampler --------------------------------------------------------------------------------------------------------


def test_lazy_sampler_behaves_like_recbole(both):
    theirs = both()[0]._sampler
    phases, datasets = theirs.phases, theirs.datasets
    theirs, ours = Sampler(phases, datasets), LazySampler(phases, datasets)
    users = np.arange(1, 20)
    for phase in phases:
        assert (ours.used_ids[phase] == theirs.used_ids[phase]).all()
        a, b = theirs.set_phase(phase), ours.set_phase(phase)
        assert b.phase == phase
        assert (a.used_ids == b.used_ids).all()
        np.random.seed(3)
        expected = a.sample_by_user_ids(users, None, 4)
        np.random.seed(3)
        assert b.sample_by_user_ids(users, None, 4).equal(expected)
    with pytest.raises(ValueError, match="Phase"):
        ours.set_phase("dev")


def test_lazy_sampler_makes_no_sets_for_our_loader(both):
    ours = both()[1]
    list(ours)
    assert "used_ids" not in vars(ours._sampler)


def test_a_user_with_every_item_is_refused(workdir, build):
    lines = [f"u{user}\ti{item}" for user in range(6) for item in range(8) if user == 0 or item % 3 == user % 3]
    (workdir / "dataset" / "full").mkdir(parents=True)
    (workdir / "dataset" / "full" / "full.inter").write_text("user_id:token\titem_id:token\n" + "\n".join(lines) + "\n")
    for fast in (True, False):
        with pytest.raises(ValueError, match="interacted with all items"):
            build("BPR", dataset="full", fast_loader=fast, load_col={"inter": ["user_id", "item_id"]})


def test_rows_of_recbole_sampler(both):
    theirs, ours = both()
    n_items = ours.dataset.item_num
    assert UserItems.of_sampler(theirs._sampler, n_items).keys.equal(UserItems.of_sampler(ours._sampler, n_items).keys)


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
@pytest.mark.parametrize("options", [{}, FEATURES, SEVERAL, {**FEATURES, **SEVERAL}])
def test_batches_are_those_of_recbole_but_for_the_negatives(both, model, options):
    theirs, ours = both(model, **options)
    assert len(theirs) == len(ours)
    for _ in range(2):
        batches = list(zip(theirs, ours, strict=True))
        assert len(batches) == len(ours)
        for expected, batch in batches:
            assert batch.columns == expected.columns
            assert len(batch) == len(expected)
            for name in expected.columns:
                assert batch[name].shape == expected[name].shape
                assert batch[name].dtype == expected[name].dtype
                if model == "BPR" and not name.startswith("neg_"):
                    assert batch[name].equal(expected[name])
            if model == "NeuMF":
                positive = expected["label"] == 1
                assert batch["label"].equal(expected["label"])
                assert batch["user_id"].equal(expected["user_id"])
                assert batch["item_id"][positive].equal(expected["item_id"][positive])


@pytest.mark.parametrize("sampler", ["lazy", "recbole"])
def test_negatives_are_never_positives(both, sampler):
    theirs, ours = both(**SEVERAL)
    if sampler == "recbole":
        ours._sampler = theirs._sampler
    used = ours._sampler.used_ids
    for batch in ours:
        pairs = zip(batch["user_id"].tolist(), batch["neg_item_id"].tolist(), strict=True)
        assert all(item not in used[user] and 0 < item < ours.dataset.item_num for user, item in pairs)


def test_features_belong_to_the_items(both):
    dataset = both(**FEATURES)[1].dataset
    for batch in both(**FEATURES)[1]:
        for prefix in ("", "neg_"):
            features = take(dataset.item_feat, batch[f"{prefix}item_id"])
            assert all(batch[prefix + name].equal(features[name]) for name in features.columns)
    for batch in both("NeuMF", **FEATURES)[1]:
        features = take(dataset.item_feat, batch["item_id"])
        assert all(batch[name].equal(features[name]) for name in features.columns)


def test_several_negatives_repeat_the_batch(both):
    ours = both(train_batch_size=50, **SEVERAL)[1]
    first = next(iter(ours))
    assert ours.step == 16
    assert len(first) == 48
    assert first["item_id"].reshape(3, 16).unique(dim=0).shape == (1, 16)
    assert first["neg_item_id"].reshape(3, 16).unique(dim=0).shape == (3, 16)


def test_last_batch_is_short(both):
    ours = both(train_batch_size=50)[1]
    sizes = [len(batch) for batch in ours]
    assert sum(sizes) == len(ours.dataset)
    assert sizes[:-1] == [50] * (len(ours) - 1)
    assert 0 < sizes[-1] < 50


def test_without_shuffle_the_order_is_the_dataset(both):
    theirs, ours = both(shuffle=False)
    expected = torch.cat([batch["item_id"] for batch in theirs])
    assert torch.cat([batch["item_id"] for batch in ours]).equal(expected)
    assert expected.equal(ours.dataset.inter_feat["item_id"])


def drawn(loader):
    return torch.cat([torch.stack((batch["item_id"], batch["neg_item_id"])) for batch in loader], dim=1)


def test_draws_depend_on_the_seed_alone(build):
    def loader(seed):
        return build("BPR", fast_loader=True, seed=seed, load_col={"inter": ["user_id", "item_id"]})[2][0]

    first = loader(2020)
    epochs = [drawn(first), drawn(first)]
    torch.manual_seed(99)
    np.random.seed(99)
    again = loader(2020)
    assert drawn(again).equal(epochs[0])
    torch.rand(3)
    assert drawn(again).equal(epochs[1])
    assert not epochs[0][0].equal(epochs[1][0])
    assert not epochs[0][1].equal(epochs[1][1])
    assert not drawn(loader(2021))[1].equal(epochs[0][1])


def test_global_generators_are_left_alone(both):
    ours = both()[1]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(ours)
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()


# --- saving, other settings -----------------------------------------------------------------------------------------


def test_saved_loaders_give_the_same_batches(build, tiny):
    config, _, loaders = build("BPR", fast_loader=True)
    expected = drawn(loaders[0])
    config, _, loaders = build("BPR", fast_loader=True)
    save_split_dataloaders(config, loaders)
    assert drawn(loaders[0]).shape == expected.shape
    loaded, valid, test = load_split_dataloaders(config)
    assert type(loaded) is FastTrainDataLoader
    assert drawn(loaded).equal(expected)
    assert len(list(valid)) == len(valid)
    assert len(list(test)) == len(test)


def test_other_batch_size_after_loading(build):
    config, _, (ours, _, _) = build("BPR", fast_loader=True)
    config["train_batch_size"] = 32
    ours.update_config(config)
    assert [len(batch) for batch in ours][:-1] == [32] * (len(ours) - 1)


def test_loaded_for_another_sampling_is_refused(build):
    config, _, (ours, _, _) = build("BPR", fast_loader=True)
    config["train_neg_sample_args"] = {**config["train_neg_sample_args"], "distribution": "popularity"}
    with pytest.raises(ConfigError, match="saved data loaders"):
        ours.update_config(config)


@pytest.mark.parametrize(
    ("change", "loader", "wanted"),
    [
        ({}, TrainDataLoader, True),
        ({"MODEL_INPUT_TYPE": InputType.POINTWISE}, TrainDataLoader, True),
        ({}, UserDataLoader, False),
        ({"fast_loader": False}, TrainDataLoader, False),
        ({"fast_loader": None}, TrainDataLoader, False),
        ({"MODEL_INPUT_TYPE": InputType.LISTWISE}, TrainDataLoader, False),
        ({"transform": "crop_itemseq"}, TrainDataLoader, False),
        ({"worker": 2}, TrainDataLoader, False),
        ({"repeatable": True}, TrainDataLoader, False),
        ({"train_neg_sample_args": {"distribution": "popularity", "sample_num": 1}}, TrainDataLoader, False),
        ({"train_neg_sample_args": {"distribution": "none", "sample_num": "none"}}, TrainDataLoader, False),
        (
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": True}},
            TrainDataLoader,
            False,
        ),
    ],
)
def test_when_the_loader_is_ours(change, loader, wanted):
    config = {
        "fast_loader": True,
        "MODEL_INPUT_TYPE": InputType.PAIRWISE,
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": False},
        "transform": None,
        "worker": 0,
        "repeatable": False,
    }
    assert wants_fast_loader({**config, **change}, loader) is wanted


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "NeuMF"])
def test_recbole_models_train(run, model):
    first, second = (run(model, fast_loader=True, load_col={"inter": ["user_id", "item_id"]}) for _ in range(2))
    assert first["test_result"] == second["test_result"]
