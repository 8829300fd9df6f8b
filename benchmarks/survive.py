"""Runs that are killed, and runs that start together: do they end as undisturbed ones do?

``python benchmarks/survive.py kills`` trains seven models on made-up data, kills each 20 times (SIGKILL) at random moments
of a run, each time a fresh one, resumes it, and compares result, series, best model and its optimiser bit by bit.
``python benchmarks/survive.py together`` starts three runs 20 times within one second in one folder and compares what each
of them tests with what it tests alone. ``python benchmarks/survive.py cost`` times the last checkpoint beside an epoch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

MODELS = {
    "con": ("LightGCN_RLMRec", {"alignment": "con", "align_negatives": 50}),
    "gen": ("LightGCN_RLMRec", {"alignment": "gen"}),
    "none": ("LightGCN_RLMRec", {"alignment": "none"}),
    "SGL": ("SGL_RLMRec", {}),
    "AutoCF": ("AutoCF_RLMRec", {"n_seeds": 20}),
    "BPR": ("BPR_RLMRec", {}),
    "RecBole's LightGCN": ("LightGCN", {}),
}
SETTINGS = {
    "gpu_id": "",
    "epochs": 12,
    "train_batch_size": 512,
    "embedding_size": 32,
    "topk": [10],
    "metrics": ["Recall", "NDCG"],
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 8,
    "stopping_step": 5,
    "show_progress": False,
}


def write_data(folder: Path, users: int = 200, items: int = 150, each: int = 20) -> None:
    """Interactions of two tastes, and items with titles."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(users):
        weights = np.where(np.arange(items) % 2 == user % 2, 4.0, 1.0) / (1 + np.arange(items) / 40)
        chosen = rng.choice(items, each, replace=False, p=weights / weights.sum())
        lines += [f"u{user}\ti{item}\t5\t{1000 + user + item}" for item in chosen]
    (folder / "made-up.inter").write_text("\n".join(lines) + "\n")
    titles = [f"i{item}\tPart {item} of {('comedy', 'drama')[item % 2]} {item % 11}" for item in range(items)]
    (folder / "made-up.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")


def train(folder: str, arguments: list[str], name: str) -> None:
    """Body of a process: one run; the result file is NAME.json."""
    import logging

    from recbole_rlmrec.errors import guarded
    from recbole_rlmrec.runs.run import main

    os.chdir(folder)
    logging.getLogger().handlers.clear()
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = guarded(lambda: main([*arguments, f"--result_file={name}.json"]) and 0)
    os._exit(status)


def wait_and_train(folder: str, arguments: list[str], name: str, moment: float) -> None:
    """The same from a moment on, so that several begin in one second."""
    import recbole_rlmrec  # noqa: F401

    time.sleep(max(moment - time.time(), 0))
    train(folder, arguments, name)


def start(context, target, *arguments):
    """Start a process."""
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def command(folder: Path, model: str, options: dict, name: str) -> list[str]:
    """Options of a run, its own ones in a file."""
    (folder / f"{name}.yaml").write_text(json.dumps({**SETTINGS, **options}))
    return [f"--model={model}", "--dataset=made-up", f"--config_files={name}.yaml"]


def seen(folder: Path, name: str) -> dict:
    """Everything of a run that must be the same."""
    from recbole_rlmrec.plugin.checkpoint import load_checkpoint

    found = json.loads((folder / f"{name}.json").read_text())
    run = found["run"]
    best = load_checkpoint(folder / run["checkpoint"], map_location="cpu")
    return {
        **{key: found[key] for key in ("test_result", "best_valid_result", "best_valid_score")},
        "series": {key: run["series"][key] for key in ("losses", "valid")},
        "epochs": [run["epochs"], run["best_epoch"], best["epoch"], best["cur_step"]],
        "weights": best["state_dict"],
        "optimizer": best["optimizer"],
    }


def same(left, right) -> bool:
    """Whether two values are equal bit by bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool((left == right).all()) if hasattr(left, "shape") and left.shape else bool(left == right)


def kills(folder: Path, context, count: int, names: list[str]) -> bool:
    """Kill and resume; prints a line for each model."""
    from recbole_rlmrec.plugin.saving import claim_folder

    moments, good = random.Random(7), True
    for name in names:
        model, options = MODELS[name]
        place = claim_folder(folder, "runs")
        (place / "dataset").symlink_to(folder / "dataset")
        arguments = command(place, model, options, "run")
        for run in ("built", "whole"):  # the first writes profiles
            start(context, train, str(place), arguments, run).join()
        series = json.loads((place / "whole.json").read_text())["run"]["series"]["seconds"]
        expected, identical, killed, resumed = seen(place, "whole"), 0, 0, 0
        for _ in range(count):
            (place / "killed.log").unlink(missing_ok=True)
            (place / "killed.json").unlink(missing_ok=True)
            process = start(context, train, str(place), arguments, "killed")
            wait_for(place / "killed.log", process, moments.randint(0, len(series)))
            time.sleep(moments.uniform(0, 2 * sum(series) / len(series)))
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.join()
            start(context, train, str(place), [*arguments, "--resume"], "killed").join()
            resumed += bool(json.loads((place / "killed.json").read_text())["run"]["resumed_from"])
            identical += same(seen(place, "killed"), expected)
        print(f"{name}: {identical} of {count} identical ({killed} killed, {resumed} taken up within training)", flush=True)
        good = good and identical == count
    return good


def wait_for(log: Path, process, epochs: int) -> None:
    """Wait until a run has trained so many epochs, or has ended."""
    while process.is_alive() and not log.is_file():
        time.sleep(0.005)
    while process.is_alive() and len(re.findall(r"epoch \d+ training", log.read_text())) < epochs:
        time.sleep(0.005)


def together(folder: Path, context, rounds: int) -> bool:
    """Start three runs at once, again and again; prints how many tested their own model."""
    variants = [("BPR", {"seed": 1, "learning_rate": 0.01}), ("BPR", {"seed": 2}), ("BPR", {"seed": 3, "learning_rate": 0.1})]
    variants = [(model, {**options, "epochs": 8}) for model, options in variants]
    commands = [command(folder, model, options, f"v{number}") for number, (model, options) in enumerate(variants)]
    alone = []
    for number, arguments in enumerate(commands):
        start(context, train, str(folder), arguments, f"alone-{number}").join()
        alone.append(seen(folder, f"alone-{number}"))
    right = 0
    for _ in range(rounds):
        moment = int(time.time()) + 2.0
        running = [
            start(context, wait_and_train, str(folder), arguments, f"both-{number}", moment)
            for number, arguments in enumerate(commands)
        ]
        for process in running:
            process.join()
        right += sum(same(seen(folder, f"both-{number}"), expected) for number, expected in enumerate(alone))
    print(f"{right} of {3 * rounds} runs that began together tested their own model")
    return right == 3 * rounds


def cost(folder: Path, epochs: int) -> bool:
    """Time last checkpoints on ml-100k; prints a line for each model."""
    from recbole_rlmrec.plugin import resume
    from recbole_rlmrec.runs.run import main as run

    os.chdir(folder)
    resume.SHARE, written, write = 1e9, [], resume.LastCheckpoint._write

    def timed(self, epoch):
        begun = time.perf_counter()
        write(self, epoch)
        written.append(time.perf_counter() - begun)

    resume.LastCheckpoint._write = timed
    lines = []
    for model in ("LightGCN_RLMRec", "SGL_RLMRec", "BPR_RLMRec", "LightGCN"):
        written.clear()
        options = [f"--model={model}", "--dataset=ml-100k", "--gpu_id=", "--show_progress=False", f"--epochs={epochs}"]
        epoch = run(options)["run"]["median_epoch_seconds"]
        lines.append(f"{model}: an epoch {epoch:.2f} s, a last checkpoint {1000 * np.median(written):.0f} ms")
    print("\n".join(lines))
    return True


def main() -> int:
    """Run a benchmark; the exit status is 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kills", "together", "cost"))
    parser.add_argument("--count", type=int, default=20, help="kills of each model, or rounds (default: 20)")
    parser.add_argument("--models", default=",".join(MODELS), help="names of this file's table, separated by commas")
    args = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["recbole_rlmrec.runs.run", "recbole_rlmrec.plugin.trainer", "torch.utils.tensorboard", "thop", "survive"]
    )
    with tempfile.TemporaryDirectory(prefix="survive-") as name:
        folder = Path(name)
        if args.what == "cost":
            return 0 if cost(folder, args.count) else 1
        write_data(folder / "dataset" / "made-up")
        if args.what == "kills":
            return 0 if kills(folder, context, args.count, args.models.split(",")) else 1
        return 0 if together(folder, context, args.count) else 1


if __name__ == "__main__":
    raise SystemExit(main())
