"""Launchers of experiments that start no processes: cells run here, or are made up."""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from pathlib import Path

import numpy as np

from recbole_rlmrec import cli
from recbole_rlmrec.commands import experiment as command
from recbole_rlmrec.experiments.cells.worker import run_cell

SMALL = ("--train_batch_size=64", "--embedding_size=8", "--topk=[5,10]", "--valid_metric=Recall@10")
QUICK = ("--epochs=2", "--eval_step=1", *SMALL)


class HereLauncher:
    """Runs cells in this process, one at a time."""

    jobs = 1

    def __init__(self):
        self.started = []

    def __call__(self, folder: Path, argv) -> int:
        self.started.append(folder.name[:16])
        before = os.getcwd()
        os.chdir(folder)
        try:
            with open("output.log", "w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                try:
                    return run_cell(argv)
                except Exception:
                    traceback.print_exc(file=log)
                    return 1
        finally:
            os.chdir(before)

    def stop(self):
        """Nothing is running."""


class FakeLauncher:
    """Makes up results: recall depends on alignment and seed; ``fails`` says for which settings a cell fails."""

    def __init__(self, jobs: int = 1, fails=lambda settings: False):
        self.jobs, self.fails, self.started, self.stopped = jobs, fails, [], False

    def __call__(self, folder: Path, argv) -> int:
        settings = json.loads((folder / "cell.yaml").read_text())
        self.started.append((settings.get("alignment"), settings["seed"]))
        (folder / "output.log").write_text("some line\nValueError: no such luck\n\n")
        if self.fails(settings):
            return 1
        write_result(folder, settings)
        return 0

    def stop(self):
        """Remember that it was asked."""
        self.stopped = True


def write_result(folder: Path, settings: dict, n_users: int = 6) -> None:
    """What a run leaves, with figures that follow from its settings."""
    lift = {"none": 0.0, "con": 0.1, "gen": 0.05}[settings.get("alignment", "none")]
    users = np.linspace(0.2, 0.4, n_users) + lift * np.linspace(0.8, 1.2, n_users) + 0.001 * (settings["seed"] % 7)
    values = np.column_stack([users, users / 2]).astype(np.float32)
    means = values.mean(axis=0, dtype=np.float64)
    run = {"epochs": 2, "best_epoch": 1, "median_epoch_seconds": 0.1, "parameters": 10, "checkpoint": "saved/m.pth"}
    run["series"] = {"seconds": [0.1, 0.1], "losses": {}, "valid": [[0, 0.1], [1, 0.2]]}
    result = {
        "test_result": {"recall@10": means[0], "ndcg@10": means[1]},
        "best_valid_result": {"recall@10": means[0]},
        "best_valid_score": means[0],
        "valid_score_bigger": True,
        "run": run,
        "settings": {**settings, "valid_metric": "Recall@10"},
    }
    (folder / "result.json").write_text(json.dumps(result))
    about = {"metrics": ["recall@10", "ndcg@10"], "users": [f"u{n}" for n in range(n_users)]}
    about |= {"items": ["[PAD]", "i0", "i1"], "by_row": False}
    (folder / "users.json").write_text(json.dumps(about))
    np.save(folder / "users.values.npy", values)
    np.save(folder / "users.top.npy", np.ones((n_users, 10), dtype=np.int32))
    usage = {"seconds": 1.0, "threads": 1, "peak_memory": 1000, "peak_gpu_memory": None}
    (folder / "usage.json").write_text(json.dumps(usage))
    (folder / "saved").mkdir()
    (folder / "saved" / "m.pth").write_bytes(b"model")


def run_experiment(launcher, *arguments: str) -> int:
    """Run ``recbole-rlmrec experiment ARGUMENTS`` with a launcher; returns the exit status."""
    _, line = cli.read(["experiment", *arguments])
    return command.run_experiment(line.args, line.options, launcher)
