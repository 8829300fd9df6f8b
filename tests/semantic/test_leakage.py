"""What profiles may quote where a run holds out the latest interactions: by pair and by time, sequences or not."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.errors import LeakageError
from recbole_rlmrec.semantic.leakage import QuoteReader, check_quotes

NOW = 1_700_000_000
LATEST = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
# Ann looks at two pages again: kettle at the end, lamp after her last interaction, with a rating that a filter takes.
ROWS = [
    ("ann", "kettle", 5, 0),
    ("ann", "lamp", 4, 1),
    ("ann", "rope", 1, 2),
    ("ann", "tent", 3, 3),
    ("ann", "mug", 4, 3),
    ("ann", "oven", 2, 3),
    ("ann", "stove", 5, 3),
    ("ann", "kettle", 4, 4),
    ("ann", "lamp", 1, 5),
    ("ann", "axe", 1, 6),
    ("bob", "tent", 4, 2),
    ("bob", "lamp", 4, 5),
    ("bob", "mug", 4, 7),
    ("bob", "stove", 3, 8),
    ("bob", "kettle", 3, 9),
]
FUTURE = [
    (("ann", "stove"), "validation or test split, for example user 'ann' with item 'stove'"),
    (("bob", "kettle", 9), "validation or test split, for example user 'bob' with item 'kettle'"),
    (("ann", "kettle", 4), f"user 'ann' with item 'kettle' at {NOW + 4}, held out from {NOW + 3} on"),
    (("ann", "lamp", 5), f"user 'ann' with item 'lamp' at {NOW + 5}, held out"),
    (("ann", "axe"), f"user 'ann' with item 'axe' at {NOW + 6}, held out"),
    (("ann", "boat", 3), f"user 'ann' at {NOW + 3}, held out from {NOW + 3} on"),
    (("bob", "axe", 8.5), f"user 'bob' at {NOW + 8}.5, held out from {NOW + 8} on"),
]


def write(folder, rows, part: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{user}\t{item}\t{rating}\t{'' if at is None else NOW + at}" for user, item, rating, at in rows]
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *lines]
    (folder / f"trek{part}.inter").write_text("\n".join(lines) + "\n")


@pytest.fixture
def trek(workdir):
    write(workdir / "dataset" / "trek", ROWS)
    return workdir / "dataset" / "trek"


def split(model: str = "GRU4Rec", **more):
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    settings = {"load_col": columns, "gpu_id": "", "eval_args": LATEST, "val_interval": {"rating": "[2,5]"}, **more}
    if model == "GRU4Rec":
        settings["train_neg_sample_args"] = None
    config = Config(model, "trek", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    return config, create_dataset(config).build()[0]


def check(train, *quotes, mode: str = "error") -> int | None:
    """Quotes are of user, item and perhaps a time."""
    times = [NOW + quote[2] if len(quote) > 2 else None for quote in quotes]
    profile = Profile("x", "text", pairs=[quote[:2] for quote in quotes], times=times)
    reader = QuoteReader(train)
    reader.note(0, profile)
    return check_quotes(reader.quotes(np.zeros(1, dtype=int)), train, mode, "mine")


MODELS = pytest.mark.parametrize("model", ["GRU4Rec", "BPR"])


@MODELS
def test_training_may_be_quoted_whatever_comes_first_or_at_the_same_time_or_is_repeated(trek, model):
    train = split(model)[1]
    first = [("ann", "kettle", 0), ("ann", "lamp", 1), ("ann", "tent", 3), ("ann", "mug", 3), ("ann", "oven", 3)]
    assert check(train, *first, ("bob", "tent", 2), ("bob", "lamp", 5), ("bob", "mug", 7)) == 0
    assert check(train, *(quote[:2] for quote in first)) == 0


@MODELS
def test_the_future_is_refused_by_pair_and_by_time(trek, model):
    train = split(model)[1]
    for quote, said in FUTURE:
        with pytest.raises(LeakageError) as caught:
            check(train, ("ann", "lamp", 1), quote, quote)
        assert said in str(caught.value) and "quote 1 interaction" in str(caught.value)
        assert ("--model=GRU4Rec" in str(caught.value)) is (model == "GRU4Rec")
        assert check(train, ("ann", "lamp", 1), quote, quote, mode="warn") == 1


def test_what_a_filter_took_from_before_and_whom_nobody_dates_may_be_quoted(trek):
    train = split()[1]
    assert check(train, ("ann", "rope"), ("ann", "rope", 2), ("ann", "boat"), ("cy", "axe", 9), ("bob", "boat", 7)) == 0


def test_missing_times_are_compared_as_pairs_alone(trek):
    write(trek, [*ROWS[:9], ("ann", "axe", 1, None), *ROWS[10:]])
    train = split()[1]
    assert check(train, ("ann", "axe")) == 0
    with pytest.raises(LeakageError, match="user 'ann' with item 'stove'"):
        check(train, ("ann", "stove"))


@pytest.mark.parametrize("scaled", [{"normalize_all": True}, {"normalize_field": ["timestamp"]}])
def test_times_that_a_run_scales_are_compared_as_they_are_written(trek, scaled):
    train = split(**scaled)[1]
    assert float(train.inter_feat["timestamp"].max()) <= 1
    assert check(train, ("bob", "mug", 7), ("bob", "boat", 7)) == 0
    with pytest.raises(LeakageError, match=f"user 'bob' at {NOW + 8}, held out from {NOW + 8} on"):
        check(train, ("bob", "boat", 8))


@pytest.mark.parametrize("loaded", [["timestamp"], []])
def test_a_split_at_one_moment_holds_out_everybodys_future(trek, loaded):
    """Whether the run loads the times, as sequential recommenders do, or not."""
    for part, first, last in (("train", 0, 3), ("valid", 3, 6), ("test", 6, 20)):
        rows = [row for row in [*ROWS, ("cy", "mug", 3, 1)] if first <= row[3] < last and row[0] != "bob"]
        write(trek, rows, f".{part}")
    more = {"benchmark_filename": ["train", "valid", "test"], "val_interval": None}
    train = split("BPR", **more, load_col={"inter": ["user_id", "item_id", *loaded]})[1]
    assert check(train, ("cy", "tent", 2.5)) == 0
    with pytest.raises(LeakageError, match=f"user 'cy' with item 'tent' at {NOW + 3}, held out from {NOW + 3} on"):
        check(train, ("cy", "tent", 3))


def test_a_random_split_is_checked_by_pairs_alone(trek):
    train = split("BPR", eval_args={"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": "user", "mode": "full"})[1]
    assert check(train, ("ann", "axe"), ("ann", "boat", 9)) == 0


@pytest.mark.parametrize("columns", [["user_id", "item_id"], ["user_id", "item_id", "timestamp"]])
def test_files_that_are_split_otherwise_than_by_time_are_checked_by_pairs_alone(trek, columns):
    for part, rows in (("train", ROWS[5:12]), ("valid", ROWS[:2]), ("test", ROWS[2:5])):
        write(trek, rows, f".{part}")
    more = {"benchmark_filename": ["train", "valid", "test"], "val_interval": None, "load_col": {"inter": columns}}
    assert check(split("BPR", **more)[1], ("ann", "boat", 9)) == 0


@MODELS
def test_the_corpus_dates_and_orders_a_repeated_item_by_what_training_knows_of_it(trek, model):
    """Ann's second look at the kettle is a test target, and her second one at the lamp comes later still."""
    config, train = split(model)
    rows = Corpus.from_config(config, train).interactions
    mine = rows[rows["user"] == "ann"]
    assert mine["item"].tolist() == ["kettle", "lamp", "tent", "mug", "oven"]
    assert mine["timestamp"].astype(float).tolist() == [NOW, NOW + 1, NOW + 3, NOW + 3, NOW + 3]
    assert mine["rating"].tolist() == ["5", "4", "3", "4", "2"]


def test_quotes_of_lines_that_a_later_one_replaces_do_not_count(tmp_path):
    train = SimpleNamespace(uid_field="u", iid_field="i", field2token_id={"u": {"u1": 1, "u2": 2}, "i": {"i1": 1, "i2": 2}})
    store = ProfileStore(tmp_path)
    pairs = [("u1", "i1"), ("u1", "new"), ("u9", "i2")]
    profiles = [Profile("a", "old", pairs=pairs), Profile("b", "x", pairs=pairs, times=[7, None, None]), Profile("a", "later")]
    store.write("user", [*profiles, Profile("c", " ", pairs=pairs), Profile("d", "y", pairs=[("u2", "i2")])])
    reader = QuoteReader(train)
    scan = store.scan("user", reader.note)
    found = reader.quotes(scan.lines)
    assert (scan.lines.tolist(), scan.unknown) == ([2, 1, 4], True) and found.strangers == (("u1", "new"),)
    assert (found.users.tolist(), found.items.tolist()) == ([1, 1, 0, 2], [1, 0, 2, 2])
    assert found.times[0] == 7 and np.isnan(found.times[1:]).all()
    assert len(found.plus(found).users) == 8


def test_reading_quotes_keeps_few_bytes_of_each_profile(tmp_path):
    users, items = ({f"{side}{n}": n for n in range(1, 5001)} for side in "ui")
    train = SimpleNamespace(uid_field="u", iid_field="i", field2token_id={"u": users, "i": items})
    store = ProfileStore(tmp_path)
    store.write(
        "user", (Profile(f"u{n}", "word " * 20, pairs=[(f"u{n}", f"i{k}") for k in range(1, 6)]) for n in range(1, 5001))
    )
    reader = QuoteReader(train)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    scan = store.scan("user", reader.note)
    held = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
    tracemalloc.stop()
    assert len(scan.lines) == 5000 and held < 5000 * 5 * 30, held / 5000
