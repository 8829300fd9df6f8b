"""Loading beside RecBole alone, in a process of its own: the same ids and the same splits, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import Dataset
from recbole_alone import splits_of

ALONE = Path(__file__).parents[1] / "support" / "recbole_alone.py"
COLUMNS = {"inter": ["user_id", "item_id", "rating", "timestamp", "shop"], "user": ["user_id", "age"], "item": ["item_id"]}


def by(split: dict, order: str = "RO", group: str | None = "user") -> dict:
    return {"eval_args": {"split": split, "order": order, "group_by": group, "mode": "full"}}


KINDS = {
    "ratio": by({"RS": [0.8, 0.1, 0.1]}),
    "ratio of odd parts": by({"RS": [7, 2, 1]}, "TO"),
    "ratio of all": by({"RS": [0.6, 0.3, 0.1]}, group=None),
    "two parts": by({"RS": [0.75, 0.25]}),
    "last two": by({"LS": "valid_and_test"}, "TO"),
    "last, valid": by({"LS": "valid_only"}, "TO"),
    "last, test": by({"LS": "test_only"}),
    "time": by({"TS": [0.7, 0.2, 0.1]}, "TO"),
    "core": {"user_inter_num_interval": "[4,inf)", "item_inter_num_interval": "(3,60]"},
    "core of users": {"user_inter_num_interval": "[5,20];[2,3]"},
    "core of items": {"item_inter_num_interval": "[6,inf)", "filter_inter_by_user_or_item": True},
    "filters": {"val_interval": {"rating": "[2,inf)"}, "rm_dup_inter": "first", "user_inter_num_interval": "[3,inf)"},
    "only ids": {"load_col": {"inter": ["user_id", "item_id"]}, "alias_of_item_id": []},
    "files": {"benchmark_filename": ["a", "b", "c"]},
    "unused": {"unused_col": {"inter": ["rating", "timestamp"]}},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Users of one to fifty interactions, repeated pairs, users and items of .user and .item alone, missing shops."""
    root = tmp_path_factory.mktemp("loading")
    folder = root / "odd"
    folder.mkdir()
    rng = np.random.default_rng(11)
    users = np.repeat(np.arange(60), rng.integers(1, 50, 60) ** 2 // 50 + 1)
    users = rng.permutation(np.concatenate([users, users[:40]]))
    table = pd.DataFrame(
        {"user_id:token": [f"u{u}" for u in users], "item_id:token": [f"{i:03d}" for i in rng.zipf(1.4, len(users)) % 90]}
    )
    table["rating:float"] = rng.integers(1, 6, len(table)) / 2
    table["timestamp:float"] = rng.permutation(len(table)) // 3
    table["shop:token"] = [f"s{s}" if s else "" for s in rng.integers(0, 5, len(table))]
    table.to_csv(folder / "odd.inter", sep="\t", index=False)
    for part, rows in zip("abc", (table[:300], table[300:400], table[400:])):
        rows.to_csv(folder / f"odd.{part}.inter", sep="\t", index=False)
    people = pd.DataFrame({"user_id:token": [f"u{u}" for u in range(65, -1, -1)], "age:token": ["old", "young"] * 33})
    people.to_csv(folder / "odd.user", sep="\t", index=False)
    pd.DataFrame({"item_id:token": [f"{i:03d}" for i in range(95)]}).to_csv(folder / "odd.item", sep="\t", index=False)
    return root


@pytest.fixture(scope="module")
def alone(written) -> dict:
    """What RecBole alone makes of each kind."""
    jobs = [{"data_path": str(written), "dataset": "odd", "load_col": COLUMNS, **kind} for kind in KINDS.values()]
    command = [sys.executable, str(ALONE), json.dumps([{**job, "what": "splits"} for job in jobs])]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=written, check=True)
    return {name: (job, found) for name, job, found in zip(KINDS, jobs, json.loads(answer.stdout.splitlines()[-1]))}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_splits_are_those_of_recbole_alone(alone, kind, workdir):
    options, expected = alone[kind]
    assert isinstance(expected, dict), expected
    found = splits_of(Config("BPR", "odd", config_dict={"gpu_id": "", **options}))
    assert json.loads(json.dumps(found)) == expected
    assert [len(part["user_id"][1]) for part in expected["parts"]] != [0] * len(expected["parts"])


def test_tokens_are_read_as_codes(written, workdir, monkeypatch):
    config = Config("BPR", "odd", config_dict={"gpu_id": "", "data_path": str(written), "load_col": COLUMNS})
    read = Dataset._load_feat
    kinds = {}

    def spy(self, path, source):
        feat = read(self, path, source)
        kinds[Path(path).suffix] = feat.dtypes.astype(str).to_dict()
        return feat

    monkeypatch.setattr(Dataset, "_load_feat", spy)
    create_dataset(config)
    assert kinds[".inter"]["user_id"] == "category" and kinds[".inter"]["rating"] == "float64"


def test_an_unknown_way_of_leaving_out_is_refused(written, workdir):
    options = by({"LS": "all"})
    config = Config("BPR", "odd", config_dict={"gpu_id": "", "data_path": str(written), **options})
    with pytest.raises(NotImplementedError, match="leave_one_mode"):
        create_dataset(config).build()
