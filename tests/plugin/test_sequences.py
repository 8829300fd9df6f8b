"""Sequences of data that come split, and the interactions that a sequential split knows and holds out."""

from __future__ import annotations

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_rlmrec.data.pairs import (
    heldout_keys,
    interactions_of,
    pair_key,
    pair_of,
    split_hash,
    split_keys,
    training_interactions,
)
from recbole_rlmrec.errors import ConfigError, DataError

HISTORY = {"ann": "abcdefg", "bob": "bdbdac", "cy": "ce", "dee": "g", "eve": "fag"}


def settings(**more) -> dict:
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    fixed = {"dataset": "shop", "gpu_id": "", "show_progress": False, "epochs": 1, "train_neg_sample_args": None}
    return {**fixed, "load_col": columns, **more}


def write(folder, rows, part: str = "", columns: str = "user_id:token\titem_id:token\ttimestamp:float") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in rows]
    (folder / f"shop{part}.inter").write_text("\n".join([columns, *lines]) + "\n")


def build(model: str = "GRU4Rec", **more):
    config = Config(model, "shop", config_dict=settings(**more))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    return config, dataset, dataset.build()


def sequences(part) -> set[tuple[str, str, str]]:
    """User, what stands before the target, target."""
    feat, names = part.inter_feat, part.field2id_token
    found = set()
    rows = zip(feat["user_id"].tolist(), feat["item_id_list"].tolist(), feat["item_length"].tolist(), feat["item_id"].tolist())
    for user, before, length, target in rows:
        assert all(before[:length]) and not any(before[length:])
        items = "".join(names["item_id"][item] for item in before[:length])
        found.add((str(names["user_id"][user]), items, str(names["item_id"][target])))
    assert len(found) == len(feat)
    return found


def known(keys, dataset) -> set[str]:
    users, items = pair_of(np.asarray(keys), dataset.item_num)
    return {f"{dataset.field2id_token['user_id'][u]} {dataset.field2id_token['item_id'][i]}" for u, i in zip(users, items)}


@pytest.fixture
def shop(workdir):
    """Five users with times that tell one second from the next far above 2^24, in no order of the file."""
    rows = [(user, item, 1_700_000_000 + place) for user, items in HISTORY.items() for place, item in enumerate(items)]
    write(workdir / "dataset" / "shop", [rows[place] for place in np.random.default_rng(5).permutation(len(rows))])
    return workdir / "dataset" / "shop"


def split_as_recbole_does(shop, parts) -> dict[str, list]:
    """Rows of three files: the targets of a run's parts, and in training what begins a sequence, too."""
    rows: dict[str, list] = {"train": [], "valid": [], "test": []}
    targets = [{(user, len(before)) for user, before, _ in sequences(part)} for part in parts]
    for user, items in HISTORY.items():
        for place, item in enumerate(items):
            part = next((name for name, found in zip(rows, targets) if (user, place) in found), "train")
            rows[part].append((user, item, 1_700_000_000 + place))
    for name in rows:
        write(shop, rows[name][::-1], f".{name}")
    return rows


def test_a_sequential_split_knows_what_its_sequences_begin_with_and_holds_out_targets_alone(shop):
    _, dataset, parts = build()
    train = parts[0]
    expected = {"ann": "abcde", "bob": "bdbd", "cy": "ce", "eve": "fa"}
    assert known(split_keys(train), train) == {f"{user} {item}" for user, items in expected.items() for item in items}
    assert len(split_keys(train)) == sum(map(len, expected.values()))
    assert known(heldout_keys(train), train) == {"ann f", "ann g", "bob a", "bob c", "eve g"}


def test_a_sequential_split_has_the_hash_of_the_same_interactions_without_sequences(shop):
    long = {"user_inter_num_interval": "[5,inf)"}
    general = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}}
    assert split_hash(build(**long)[2][0]) == split_hash(build("BPR", **long, **general)[2][0])


@pytest.mark.parametrize("longest", [3, 2, 1])
def test_the_length_of_sequences_does_not_change_what_training_knows(shop, longest):
    (whole, *_), (short, *_) = (build(MAX_ITEM_LIST_LENGTH=length)[2] for length in (50, longest))
    for one, other in zip(training_interactions(whole), training_interactions(short), strict=True):
        assert np.array_equal(one, other)
    assert split_hash(short) == split_hash(whole)


@pytest.mark.parametrize("longest", [50, 2])
def test_split_data_get_the_sequences_that_recbole_makes_of_a_single_file(shop, longest):
    wanted = build(MAX_ITEM_LIST_LENGTH=50)[2]
    split_as_recbole_does(shop, wanted)
    _, dataset, parts = build(MAX_ITEM_LIST_LENGTH=longest, benchmark_filename=["train", "valid", "test"])
    for one, other in zip(wanted, parts, strict=True):
        assert sequences(other) == {(user, before[-longest:], target) for user, before, target in sequences(one)}
        assert other.inter_feat["timestamp_list"].shape == other.inter_feat["item_id_list"].shape
    assert sequences(dataset) == set().union(*map(sequences, parts))
    assert split_hash(parts[0]) == split_hash(build("BPR", benchmark_filename=["train", "valid", "test"])[2][0])
    assert len(split_keys(parts[0])) == len(split_keys(wanted[0])) + 1  # dee's single interaction is one of training


def test_split_data_that_are_not_in_the_order_of_time_show_training_nothing_of_the_other_parts(shop):
    write(shop, [("ann", "a", 1), ("ann", "c", 5), ("ann", "e", 9), ("bob", "a", 2), ("bob", "b", 2)], ".train")
    write(shop, [("ann", "b", 3), ("bob", "c", 1)], ".valid")
    write(shop, [("ann", "d", 7), ("bob", "d", 2)], ".test")
    parts = build(benchmark_filename=["train", "valid", "test"])[2]
    assert sequences(parts[0]) == {("ann", "a", "c"), ("ann", "ac", "e"), ("bob", "a", "b")}
    assert sequences(parts[1]) == {("ann", "a", "b")}
    assert sequences(parts[2]) == {("ann", "abc", "d"), ("bob", "cab", "d")}
    assert parts[0].rlmrec_deadlines is None


def by_part(parts) -> list[set[str]]:
    """What each part knows, users and items."""
    return [known(pair_key(one.users, one.items, parts[0].item_num), parts[0]) for one in interactions_of(parts)]


def test_what_begins_a_sequence_in_validation_or_test_is_of_that_part(shop):
    write(shop, [("ann", "a", 1), ("ann", "b", 2), ("bob", "b", 1), ("bob", "c", 2)], ".train")
    write(shop, [("ann", "c", 3), ("new", "b", 3), ("once", "a", 3)], ".valid")
    write(shop, [("new", "a", 5), ("late", "c", 5), ("late", "b", 6)], ".test")
    parts = build(benchmark_filename=["train", "valid", "test"])[2]
    expected = [{"ann a", "ann b", "bob b", "bob c"}, {"ann c", "new b", "once a"}, {"new a", "late c", "late b"}]
    assert by_part(parts) == expected
    assert [known(split_keys(parts[0]), parts[0]), known(heldout_keys(parts[0]), parts[0])] == [
        expected[0],
        {"ann c", "new a", "late b"},
    ]


@pytest.mark.parametrize("longest", [50, 1])
def test_what_begins_a_sequence_that_recbole_makes_is_of_the_part_of_the_row_behind_it(shop, longest):
    rows = [("ann", item, 10 + place) for place, item in enumerate("abcdefgh")]
    write(shop, [*rows, ("new", "b", 30), ("new", "a", 31), ("new", "c", 33), ("late", "c", 32), ("late", "a", 40)])
    way = {"split": {"RS": [0.7, 0.1, 0.2]}, "order": "TO", "group_by": None, "mode": "full"}
    parts = build(MAX_ITEM_LIST_LENGTH=longest, eval_args=way)[2]
    expected = {f"ann {item}" for item in "abcdefgh"}, {"new b", "new a"}, {"new c", "late c", "late a"}
    assert by_part(parts) == list(expected)


def test_what_begins_ready_made_sequences_is_of_the_part_that_has_it_first(shop):
    columns = "user_id:token\titem_id_list:token_seq\titem_id:token"
    for part, rows in (("train", [("ann", "x", "y")]), ("valid", [("ann", "x y", "z"), ("new", "y x", "z")])):
        write(shop, rows, f".{part}", columns)
    write(shop, [("ann", "x y z", "w"), ("new", "y x z", "w"), ("late", "w", "x")], ".test", columns)
    parts = build(load_col=None, benchmark_filename=["train", "valid", "test"], alias_of_item_id=["item_id_list"])[2]
    expected = {"ann x", "ann y"}, {"ann z", "new y", "new x", "new z"}, {"ann w", "new w", "late w", "late x"}
    assert by_part(parts) == list(expected)


def test_without_a_column_of_times_the_order_of_the_files_counts(shop):
    for part, rows in (("train", ["ca", "cb"]), ("valid", ["cd"]), ("test", ["ce"])):
        write(shop, [(*row,) for row in rows], f".{part}", "user_id:token\titem_id:token")
    columns = {"inter": ["user_id", "item_id"]}
    parts = build(benchmark_filename=["train", "valid", "test"], load_col=columns)[2]
    assert [sequences(part) for part in parts] == [{("c", "a", "b")}, {("c", "ab", "d")}, {("c", "abd", "e")}]


def test_sequences_that_the_files_have_are_taken_as_they_are_whatever_items_are_called(shop):
    columns = "user_id:token\tasin_list:token_seq\tasin:token\ttimestamp_list:float_seq\ttimestamp:float"
    write(shop, [("ann", "x y", "z", "1 2", 3), ("bob", "z", "x", "1", 4), ("bob", "z x", "y", "1 4", 5)], ".train", columns)
    write(shop, [("ann", "x y z", "w", "1 2 3", 6)], ".valid", columns)
    write(shop, [("ann", "x y z w", "v", "1 2 3 6", 7)], ".test", columns)
    names = {"ITEM_ID_FIELD": "asin", "load_col": None, "benchmark_filename": ["train", "valid", "test"]}
    with pytest.raises(ConfigError, match=r"alias_of_item_id: \[asin_list\]"):
        build(**names)
    parts = build(**names, alias_of_item_id=["asin_list"])[2]
    keys = split_keys(parts[0])
    users, items = pair_of(keys, parts[0].item_num)
    tokens = parts[0].field2id_token
    found = sorted(f"{tokens['user_id'][u]}{tokens['asin'][i]}" for u, i in zip(users, items))
    assert found == ["annx", "anny", "annz", "bobx", "boby", "bobz"]


def test_data_without_a_sequence_to_learn_from_are_refused(shop):
    for part in ("train", "valid", "test"):
        write(shop, [("ann", part[0], 1), ("bob", part[1], 1)], f".{part}")
    with pytest.raises(DataError, match="No user of shop has two training interactions"):
        build(benchmark_filename=["train", "valid", "test"])


def test_times_that_a_run_does_not_use_order_it_nevertheless(shop):
    wanted = build()[2]
    split_as_recbole_does(shop, wanted)
    unused = {"unused_col": {"inter": ["timestamp"]}, "benchmark_filename": ["train", "valid", "test"]}
    config, dataset, parts = build(**unused)
    assert [sequences(part) for part in parts] == [sequences(part) for part in wanted]
    assert "timestamp" not in parts[0].inter_feat and config["unused_col"] == unused["unused_col"]
    assert parts[0].rlmrec_deadlines is not None
    assert len(data_preparation(config, create_dataset(config))) == 3
