"""Runs and commands on data as people have it: other names of columns, times, users and folders."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_rlmrec import cli
from recbole_rlmrec.data.atomic import PARTS, read_atomic
from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.runs.command_line import config_files
from recbole_rlmrec.runs.frozen import freeze_split
from recbole_rlmrec.runs.run import main

RUN = ["--gpu_id=", "--epochs=1", "--show_progress=False", "--train_batch_size=64", "--embedding_size=8"]
ORDERS = {
    "LS": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"},
    "RS by user": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "user"},
    "RS of all": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "none"},
    "TS": {"split": {"TS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "user"},
}
LOADED = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}


def write_times(folder: Path, name="clock", n_users=6, n_each=11, start=1_700_000_000, step=20) -> pd.DataFrame:
    """Interactions of each user a few seconds apart, rows shuffled."""
    rng = np.random.default_rng(3)
    rows = [(f"u{k // n_each}", f"i{(k * 7) % 23}", start + step * k) for k in range(n_users * n_each)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).iloc[rng.permutation(len(rows))]
    folder.mkdir(parents=True, exist_ok=True)
    table.rename(columns={"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}).to_csv(
        folder / f"{name}.inter", sep="\t", index=False
    )
    return table


def expected_parts(table: pd.DataFrame, order: str) -> dict[str, set]:
    """The split by exact times, worked out with pandas alone."""
    table = table.sort_values("timestamp", kind="stable")
    if order == "RS of all":
        cuts = np.split(np.arange(len(table)), [round(0.6 * len(table)), round(0.8 * len(table))])
        return {part: pairs(table.iloc[rows]) for part, rows in zip(PARTS, cuts)}
    if order == "TS":
        late = table["timestamp"] > np.percentile(table["timestamp"], 80)
        early = table[~late]
        place, size = early.groupby("user_id").cumcount(), early.groupby("user_id")["item_id"].transform("size")
        trained = place < (size * (0.6 / 0.8)).astype(int)
        return {"train": pairs(early[trained]), "valid": pairs(early[~trained]), "test": pairs(table[late])}
    last = 1 if order == "LS" else 2
    place = table.groupby("user_id").cumcount(ascending=False)
    return {
        "train": pairs(table[place >= 2 * last]),
        "valid": pairs(table[(place >= last) & (place < 2 * last)]),
        "test": pairs(table[place < last]),
    }


def pairs(table: pd.DataFrame) -> set:
    return set(zip(table["user_id"], table["item_id"], table["timestamp"].astype(int)))


@pytest.mark.parametrize("order", ORDERS)
def test_the_split_goes_by_exact_times(workdir, order):
    table = write_times(workdir / "dataset" / "clock")
    frozen = freeze_split("clock", "frozen", workdir / "dataset", {"gpu_id": "", "eval_args": ORDERS[order], **LOADED})
    for part, expected in expected_parts(table, order).items():
        found = read_atomic(frozen.folder / f"frozen.{part}.inter").table
        assert pairs(found.assign(timestamp=found["timestamp"].astype(float))) == expected, part


@pytest.mark.parametrize("options", [{}, {"normalize_all": True}, {"rm_dup_inter": "last"}])
def test_the_last_of_each_user_is_tested_and_times_are_float32_after_that(workdir, options):
    table = write_times(workdir / "dataset" / "clock")
    config = Config("BPR", "clock", config_dict={"gpu_id": "", "eval_args": ORDERS["LS"], **LOADED, **options})
    data = create_dataset(config)
    parts = data.build()
    last = table.sort_values("timestamp").groupby("user_id").last()["item_id"].to_dict()
    test = parts[2]
    names = [test.id2token(field, test.inter_feat[field].numpy()) for field in ("user_id", "item_id")]
    assert dict(zip(*names)) == last
    assert {str(part.inter_feat["timestamp"].dtype) for part in (data, *parts)} == {"torch.float32"}


def test_sequences_are_in_the_order_of_exact_times(workdir):
    table = write_times(workdir / "dataset" / "clock")
    config = Config("GRU4Rec", "clock", config_dict={"gpu_id": "", "train_neg_sample_args": None, **LOADED})
    init_seed(1, True)
    test = data_preparation(config, create_dataset(config))[2]._dataset
    feat = test.inter_feat
    for row in range(len(feat)):
        user = test.id2token("user_id", int(feat["user_id"][row]))
        items = [test.id2token("item_id", int(item)) for item in feat["item_id_list"][row] if item]
        expected = table[table["user_id"] == user].sort_values("timestamp")["item_id"].tolist()
        assert [*items, test.id2token("item_id", int(feat["item_id"][row]))] == expected
    assert str(feat["timestamp_list"].dtype) == "torch.float32"


def test_filters_by_time_are_exact(workdir):
    table = write_times(workdir / "dataset" / "clock")
    bound = 1_700_000_000 + 20 * 31
    options = {"gpu_id": "", **LOADED, "val_interval": {"timestamp": f"[{bound},inf)"}}
    data = create_dataset(Config("BPR", "clock", config_dict=options))
    assert len(data) == (table["timestamp"] >= bound).sum() == 35


# --- other names ----------------------------------------------------------------------------------------------------

RENAMED = {
    "USER_ID_FIELD": "uid",
    "ITEM_ID_FIELD": "business_id",
    "RATING_FIELD": "stars",
    "TIME_FIELD": "when",
    "LABEL_FIELD": "click",
}


@pytest.fixture
def renamed(tiny, workdir) -> list[str]:
    """The small data set with other names of its columns; options that say so."""
    folder = workdir / "dataset" / "tiny"
    names = {"user_id": "uid", "item_id": "business_id", "rating:": "stars:", "timestamp": "when"}
    for path in folder.iterdir():
        head, _, rest = path.read_text().partition("\n")
        for old, new in names.items():
            head = head.replace(old, new)
        path.write_text(f"{head}\n{rest}")
    return [f"--{key}={value}" for key, value in RENAMED.items()]


@pytest.mark.parametrize("model", ["BPR", "LightGCN_RLMRec", "GRU4Rec", "FM"])
def test_a_run_takes_other_names_of_columns(renamed, model):
    more = []
    if model == "GRU4Rec":
        more = ["--train_neg_sample_args=None", "--load_col={'inter':['uid','business_id','when']}"]
    if model == "FM":
        more = ["--threshold={'stars':3}", "--load_col={'inter':['uid','business_id','stars']}", "--metrics=['AUC']"]
        more += ["--valid_metric=AUC", "--eval_args={'mode':'labeled'}"]
    result = main([f"--model={model}", "--dataset=tiny", *RUN, *renamed, *more])
    assert result["test_result"]


def test_commands_take_other_names_of_columns(renamed, workdir, capsys):
    data = ["--dataset", "tiny"]
    assert cli.main(["run", "--model=LightGCN_RLMRec", "--dataset=tiny", *RUN, *renamed]) == 0
    (tag,) = [path.name for path in (workdir / "dataset" / "tiny" / "semantic").iterdir() if path.name[0] != "."]
    assert cli.main(["profile", *data, "--tag", "t", "--chat-model", "none", "--dry-run", *renamed]) == 0
    assert cli.main(["encode", *data, "--tag", tag, "--encoder", "lsa"]) == 0
    assert cli.main(["show", *data, "--tag", tag, "--user", "u1", *renamed]) == 0
    assert cli.main(["export", *data, "--tag", tag, "--output", "out", *renamed]) == 0
    assert cli.main(["split", *data, *renamed]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert cli.main([*shlex.split(command)[1:], "--model=BPR", *RUN]) == 0


def test_columns_that_are_named_are_loaded_as_they_are_named(tiny):
    config = Config("BPR", "tiny", config_dict={**tiny, **RENAMED, "load_col": {"inter": ["user_id", "rating"]}})
    assert config["load_col"] == {"inter": ["user_id", "rating"]}


# --- names that are awkward -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["my shop", "data[2023]", "it's", "2024", "key", "a*b", "$HOME"])
def test_every_name_works_and_printed_commands_run(tiny, workdir, capsys, name):
    folder = workdir / "place here" / name
    folder.mkdir(parents=True)
    for path in (workdir / "dataset" / "tiny").iterdir():
        (folder / f"{name}{path.suffix}").write_bytes(path.read_bytes())
    places = ["--data_path=place here", "--semantic_path=place here"]
    assert cli.main(["run", f"--dataset={name}", *places, *RUN]) == 0
    assert cli.main(["split", "--dataset", name, "--output", "out of it", *places]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    split = json.loads((workdir / "out of it" / f"{name}-split" / "split.json").read_text())
    assert split["source_digest"] and (workdir / "out of it" / f"{name}-split" / f"{name}-split.item").is_file()
    assert cli.main([*shlex.split(command)[1:], *RUN]) == 0
    assert cli.main(["doctor", "--semantic-path", "place here"]) == 0
    assert f"{name}: {name}.inter, {name}.item, {name}.user" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["2024", "key", "os"])
def test_a_folder_is_text_whatever_it_looks_like(tiny, workdir, place):
    (workdir / "dataset").rename(workdir / place)
    result = main(["--dataset=tiny", "--model=BPR", f"--data_path={place}", f"--checkpoint_dir={place}", *RUN])
    assert Path(result["run"]["checkpoint"]).parent == Path(place)


def test_configuration_files_may_have_spaces_in_their_names(workdir):
    for name in ("a.yaml", "b c.yaml", "my folder/d e.yaml"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("seed: 1\n")
    assert config_files("a.yaml b c.yaml") == ["a.yaml", "b c.yaml"]
    assert config_files("my folder/d e.yaml  a.yaml") == ["my folder/d e.yaml", "a.yaml"]
    assert config_files("none.yaml a.yaml") == ["none.yaml", "a.yaml"]
    assert config_files("") == []


# --- what cannot be done --------------------------------------------------------------------------------------------


def change(workdir, head=None, add=""):
    path = workdir / "dataset" / "tiny" / "tiny.inter"
    text = path.read_text()
    path.write_text((text.replace(*head, 1) if head else text) + add)


BAD = {
    "everything bought": (
        dict(add="".join(f"u0\ti{item}\t3\t5\n" for item in range(30))),
        [],
        r"'u0'.*all items of tiny \(30\)",
    ),
    "ids that are numbers": (dict(head=("user_id:token", "user_id:float")), [], r"user_id a float.*user_id:token"),
    "padding as a user": (dict(add="[PAD]\ti3\t3\t5\n"), [], r"tiny.inter, line 263: user_id is \[PAD\]"),
    "labels and pairs": (
        {},
        ["--eval_args={'mode':'labeled'}", "--metrics=['AUC']", "--valid_metric=AUC", "--train_neg_sample_args=None"]
        + ["--threshold={'rating':3}", "--load_col={'inter':['user_id','item_id','rating']}"],
        "train_neg_sample_args draws none",
    ),
    "no labels": ({}, ["--eval_args={'mode':'labeled'}", "--metrics=['AUC']", "--valid_metric=AUC"], "no labels"),
    "labels and ranks": ({}, ["--eval_args={'mode':'labeled'}"], "needs metrics of values"),
    "a line break": (dict(add='"u1\n1"\ti3\t3\t5\n'), [], "tiny.inter, line 263: 1 field.*line break"),
    "no rows": ("empty", [], "No interaction of tiny is left: .*tiny.inter holds none"),
}


@pytest.mark.parametrize("model", ["BPR", "LightGCN_RLMRec"])
@pytest.mark.parametrize("bad", BAD)
def test_it_is_said_in_one_sentence(tiny, workdir, capsys, bad, model):
    changes, arguments, said = BAD[bad]
    if changes == "empty":
        (workdir / "dataset" / "tiny" / "tiny.inter").write_text("user_id:token\titem_id:token\n\n")
    elif changes:
        change(workdir, **changes)
    status = cli.main(["run", f"--model={model}", "--dataset=tiny", "--alignment=none", *RUN, *arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("recbole-rlmrec: ")]
    assert status == 2 and len(lines) == 1
    with pytest.raises(DataError, match=said):
        raise DataError(lines[0])


@pytest.mark.parametrize("model", ["MultiVAE", "AutoCF_RLMRec", "EASE"])
def test_models_that_read_no_negatives_need_none(tiny, model):
    assert main([f"--model={model}", "--dataset=tiny", "--train_neg_sample_args=None", *RUN])["test_result"]


def test_labels_to_learn_that_are_not_loaded(tiny):
    with pytest.raises(ConfigError, match="NeuMF learns labels, but none are loaded.*threshold"):
        main(["--model=NeuMF", "--dataset=tiny", "--train_neg_sample_args=None", *RUN])


def test_texts_are_looked_at_before_the_run_prints(tiny, workdir, capsys):
    with open(workdir / "dataset" / "tiny" / "tiny.item", "a", encoding="utf-8") as file:
        file.write('i99\t"A title\nover two lines"\t1990\tdrama\tx\n')
    assert cli.main(["run", "--model=LightGCN_RLMRec", "--dataset=tiny", *RUN]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "tiny.item, line 32: 2 fields where the header has 5; a text in quotation marks" in said.err
    assert cli.main(["run", "--model=LightGCN", "--dataset=tiny", *RUN]) == 0


@pytest.mark.parametrize("separator", [",", "\t"])
def test_ids_in_quotation_marks(tiny, workdir, separator):
    folder = workdir / "dataset" / "tiny"
    for path in folder.iterdir():
        table = read_atomic(path)
        head = separator.join(f"{name}:{kind.value}" for name, kind in table.types.items())
        rows = [separator.join('"' + value.replace('"', '""') + '"' for value in row) for row in table.table.to_numpy()]
        path.write_text("\n".join([head, *rows]) + "\n")
    (workdir / "more.yaml").write_text(json.dumps({"field_separator": separator}))
    result = main(["--model=LightGCN_RLMRec", "--dataset=tiny", "--config_files=more.yaml", *RUN])
    assert result["run"]["profiles"]["coverage"] == {"users": [24, 24], "items": [30, 30]}
    frozen = freeze_split("tiny", "frozen", workdir / "dataset", {"gpu_id": "", "field_separator": separator})
    assert frozen.about["users"] == 24 and os.path.exists(frozen.folder / "frozen.item")
    found = read_atomic(frozen.folder / "frozen.train.inter", separator).table
    assert set(found["user_id"]) == {f"u{user}" for user in range(24)}
