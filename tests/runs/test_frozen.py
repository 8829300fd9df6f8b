"""A frozen split is the run's split, filtered, with its texts and profiles."""

from __future__ import annotations

import json

import pytest
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_rlmrec.data.atomic import PARTS, read_atomic
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError, DataError, RLMRecError
from recbole_rlmrec.runs.frozen import freeze_split
from recbole_rlmrec.runs.run import main
from recbole_rlmrec.runs.split import make_config


def run_splits(dataset, options):
    config = make_config("BPR", dataset, options)
    init_seed(config["seed"], config["reproducibility"])
    return create_dataset(config).build()


def pairs(dataset):
    users = dataset.id2token(dataset.uid_field, dataset.inter_feat[dataset.uid_field])
    items = dataset.id2token(dataset.iid_field, dataset.inter_feat[dataset.iid_field])
    return sorted(zip(users, items))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seed": 7, "val_interval": {"rating": "[3,inf)"}, "load_col": {"inter": ["user_id", "item_id", "rating"]}},
        {"item_inter_num_interval": "[9,inf)", "rm_dup_inter": "first"},
        {
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
            "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
            "normalize_all": True,
        },
    ],
)
def test_parts_are_those_of_a_run(tiny, workdir, options):
    options = {**options, "gpu_id": ""}
    split = freeze_split("tiny", "frozen", workdir / "dataset", options)
    settings = json.loads((split.folder / "frozen.yaml").read_text().partition("\n")[2])
    expected = run_splits("tiny", options)
    found = run_splits("frozen", {**settings, "gpu_id": ""})
    for part, theirs, mine in zip(PARTS, expected, found):
        assert pairs(mine) == pairs(theirs), part
    assert split.about["split_hash"] == split_hash(expected[0]) == split_hash(found[0])
    assert split.about["interactions"] == {part: len(data) for part, data in zip(PARTS, expected)}


def test_raw_values_and_texts_come_along(tiny, workdir):
    split = freeze_split("tiny", "frozen", workdir / "dataset", {"gpu_id": "", "item_inter_num_interval": "[9,inf)"})
    raw = read_atomic(workdir / "dataset" / "tiny" / "tiny.inter").table
    raw = {(row.user_id, row.item_id): (row.rating, row.timestamp) for row in raw.itertuples()}
    train = read_atomic(split.folder / "frozen.train.inter")
    assert list(train.types) == ["user_id", "item_id", "rating", "timestamp"]
    assert all(raw[row.user_id, row.item_id] == (row.rating, row.timestamp) for row in train.table.itertuples())
    items = read_atomic(split.folder / "frozen.item").table
    assert 0 < len(items) < 30 and len(items) == split.about["items"]
    assert "title" in items


def test_profiles_come_along_under_the_new_name(tiny, workdir):
    root = workdir / "dataset" / "tiny" / "semantic"
    for tag, made_for in (("mine", None), ("other", "0" * 64)):
        store = ProfileStore(root / tag)
        store.write("item", [Profile(f"i{n}", f"a film number {n} of kind {n % 3}", pairs=[]) for n in range(30)])
        store.write("user", [Profile(f"u{n}", f"likes films of kind {n % 3}", pairs=[]) for n in range(24)])
        store.write_manifest({"dataset": "tiny", "tag": tag, "by": "import x", "split_hash": made_for})
        encode_tag(root / tag, "lsa", show_progress=False)
    split = freeze_split("tiny", "frozen", workdir / "dataset", {"gpu_id": ""})
    assert split.about["tags"] == ["mine"]
    settings = {**tiny, "semantic_tag": "mine", "epochs": 1}
    settings.pop("dataset")
    (workdir / "run.yaml").write_text(json.dumps(settings))
    files = f"{split.folder / 'frozen.yaml'} run.yaml"
    result = main(["--model=LightGCN_RLMRec", "--dataset=frozen", f"--config_files={files}"])
    assert result["run"]["profiles"]["coverage"] == {"users": [24, 24], "items": [30, 30]}


@pytest.mark.parametrize(
    ("dataset", "name", "options", "error"),
    [
        ("tiny", "tiny", {}, ConfigError),
        ("tiny", "a/b", {}, ConfigError),
        ("tiny", "", {}, ConfigError),
        ("absent", "frozen", {}, DataError),
        ("tiny", "frozen", {"benchmark_filename": ["a", "b", "c"]}, ConfigError),
    ],
)
def test_bad_input(tiny, workdir, dataset, name, options, error):
    with pytest.raises(error):
        freeze_split(dataset, name, workdir / "dataset", {"gpu_id": "", **options})
    assert [path.name for path in (workdir / "dataset").iterdir()] == ["tiny"]


def test_nothing_is_overwritten_and_nothing_half_written_stays(tiny, workdir, monkeypatch):
    freeze_split("tiny", "frozen", workdir / "dataset", {"gpu_id": ""})
    with pytest.raises(DataError, match="exists"):
        freeze_split("tiny", "frozen", workdir / "dataset", {"gpu_id": ""})
    monkeypatch.setattr("recbole_rlmrec.runs.frozen.copy_semantic", lambda *a: (_ for _ in ()).throw(RLMRecError("stop")))
    with pytest.raises(RLMRecError):
        freeze_split("tiny", "second", workdir / "dataset", {"gpu_id": ""})
    assert sorted(path.name for path in (workdir / "dataset").iterdir()) == ["frozen", "tiny"]


SHORT = [("ann", "abcdef"), ("bob", "abc"), ("cy", "ab"), ("dee", "a"), ("eve", "cbade")]
PROTOCOLS = [
    {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    {"split": {"RS": [0.5, 0.2, 0.3]}, "order": "TO", "group_by": "user", "mode": "full"},
]


@pytest.mark.parametrize("eval_args", PROTOCOLS)
def test_a_sequential_run_draws_the_split_that_is_frozen_short_sequences_too(workdir, eval_args):
    folder = workdir / "dataset" / "short"
    folder.mkdir(parents=True)
    rows = [f"{user}\t{item}\t{100 * at + len(user)}" for user, items in SHORT for at, item in enumerate(items)]
    (folder / "short.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    options = {"eval_args": eval_args, "train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 3}
    options["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
    frozen = freeze_split("short", "cut", workdir / "dataset", options, "GRU4Rec_RLMRec")
    assert sum(frozen.about["interactions"].values()) == len(rows)
    seen = []
    for name, more in (("short", options), ("cut", {**options, "benchmark_filename": list(PARTS)})):
        config = make_config("GRU4Rec_RLMRec", name, more)
        init_seed(config["seed"], config["reproducibility"])
        parts = create_dataset(config).build()
        seen.append(([sequences(part) for part in parts], split_hash(parts[0])))
    assert seen[0][0] == seen[1][0] and seen[1][1] == frozen.about["split_hash"]
    short = {user for user, *_ in seen[0][0][0]} == {user for user, _ in SHORT}
    assert short or seen[0][1] != seen[1][1]  # who has no training row has a first interaction on disk


def sequences(part):
    """User, what stands before and target of every row."""
    tokens, feat = part.field2id_token, part.inter_feat
    lists, lengths = feat["item_id_list"].numpy(), feat["item_length"].numpy()
    before = ["".join(tokens["item_id"][row[:length]]) for row, length in zip(lists, lengths)]
    return sorted(zip(tokens["user_id"][feat["user_id"].numpy()], before, tokens["item_id"][feat["item_id"].numpy()]))
