"""Several processes on one machine: are they the same run, and what happens when one is slow or killed?

``python benchmarks/processes.py equal`` trains on ml-100k with one, two and four processes and compares losses, validation and
test. ``... delays`` trains again and again in one pair of processes that wait a random time at every point where they meet.
``... kills`` kills the command, process 0 or process 1 (SIGKILL) at random moments and resumes, ``... lists`` does
so with `recommend`. ``... long`` trains for long.
All are on the CPU; data is made up but for ``equal``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from survive import SETTINGS, write_data

MODELS = ("BPR_RLMRec", "LightGCN_RLMRec", "MultiVAE_RLMRec", "LightGCN")
COLLECTIVES = ("all_gather", "all_gather_object", "all_reduce", "broadcast", "broadcast_object_list")
TELLS = (0.97, 0.01, 2.0)
"""Share of the waits that are short, how long these are at most, and how long the others are, in seconds."""


def command(folder: Path, name: str, model: str, options: dict, *more: str) -> list[str]:
    """A run whose options are in a file; its result file is NAME.json."""
    (folder / f"{name}.yaml").write_text(json.dumps({**SETTINGS, **options}))
    run = [sys.executable, "-m", "recbole_rlmrec", "run", f"--model={model}", f"--config_files={name}.yaml"]
    return [*run, f"--result_file={name}.json", *more]


def run(folder: Path, name: str, *arguments) -> dict:
    """Run a command to its end; its result."""
    with open(folder / f"{name}.log", "w") as log:
        subprocess.run(command(folder, name, *arguments), cwd=folder, stdout=log, stderr=log, check=True)
    return json.loads((folder / f"{name}.json").read_text())


def equal(folder: Path, count: int, models: list[str]) -> bool:
    """Compare runs of one, two and four processes; prints a line for each model."""
    good = True
    for model in models:
        options = {"epochs": count, "train_batch_size": 2048, "loss_decimal_place": 12}
        found = {n: run(folder, f"{model}-{n}", model, options, "--dataset=ml-100k", f"--nproc={n}") for n in (1, 2, 4)}
        losses = {n: result["run"]["series"]["losses"] for n, result in found.items()}
        gap = max(
            abs(one - other) / max(abs(one), 1e-12)
            for n in (2, 4)
            for name in losses[1]
            for one, other in zip(losses[1][name], losses[n][name])
        )
        tests = [found[n]["test_result"] for n in (1, 2, 4)]
        away = max(abs(test[name] - tests[0][name]) for test in tests for name in test)
        seconds = ", ".join(f"{found[n]['run']['median_epoch_seconds']:.2f}" for n in found)
        print(
            f"{model}: losses differ by {gap:.1e} of their value at most, test metrics by {away:.1e}; s per epoch {seconds}",
            flush=True,
        )
        good = good and gap < 5e-3 and away < 5e-3  # MultiVAE draws noise for its rows
    return good


def delayed(folder: str, argv: list[str], rounds: int, seed: int) -> list[dict]:
    """Body of each of a pair of processes: trainings that wait where processes meet; what each found."""
    import torch.distributed as dist

    from recbole_rlmrec.model import parallel
    from recbole_rlmrec.runs.run import main

    os.chdir(folder)
    waits = random.Random(seed + parallel.rank())
    short, little, long = TELLS

    def slow(original):
        def wait_and_call(*args, **kwargs):
            time.sleep(waits.uniform(0, little if waits.random() < short else long))
            return original(*args, **kwargs)

        return wait_and_call

    for name in COLLECTIVES:
        setattr(dist, name, slow(getattr(dist, name)))
    found = []
    for _ in range(rounds):
        result = main(argv)
        found.append(result and {"test": result["test_result"], "losses": result["run"]["series"]["losses"]})
    return found


def delays(folder: Path, count: int) -> bool:
    """Train with delays; prints how many of the runs are equal."""
    from recbole_rlmrec.plugin.launch import Plan, together

    write_data(folder / "dataset" / "made-up", 60, 50, 10)
    (folder / "run.yaml").write_text(json.dumps({**SETTINGS, "epochs": 2, "train_batch_size": 256, "model": "LightGCN_RLMRec"}))
    argv = ["--dataset=made-up", "--config_files=run.yaml"]
    begun = time.monotonic()
    arguments = {"folder": str(folder), "argv": argv, "rounds": count, "seed": 11}
    found = together(Plan(2, 2, 0, "localhost", 0, 60), delayed, arguments)
    same = sum(result == found[0] for result in found)
    print(f"{same} of {count} runs with delays are equal, in {time.monotonic() - begun:.0f} s")
    return same == count


def children_of(pid: int) -> list[int]:
    """Processes of a run, the first one first."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            line = (entry / "cmdline").read_bytes()
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid and b"spawn_main" in line:
            found.append(int(entry.name))
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


ROLES = ("the command", "process 0", "process 1")


def kill(folder: Path, line: list[str], due: Callable[[], bool], role: int, wait: float) -> tuple[bool, str]:
    """Start a command of two processes and kill one when it is due; whether all ended well, and what happened, in words."""
    with open(folder / "run.log", "w") as log:
        started = subprocess.Popen(line, cwd=folder, stdout=log, stderr=log)
    while started.poll() is None and not due():
        time.sleep(0.05)
    time.sleep(wait)
    pids = children_of(started.pid)
    os.kill([started.pid, *pids][role] if role <= len(pids) else started.pid, signal.SIGKILL)
    begun = time.monotonic()
    while time.monotonic() - begun < 60 and (started.poll() is None or any(map(alive, pids))):
        time.sleep(0.05)
    took, orphans = time.monotonic() - begun, [pid for pid in pids if alive(pid)]
    said = (folder / "run.log").read_text().strip().rpartition("\n")[2]
    sentence = role == 0 or (said.startswith("recbole-rlmrec: Process ") and "was killed (SIGKILL)" in said)
    told = "" if role == 0 else "with a sentence, " if sentence else "without a sentence, "
    words = f"all ended {took:.1f} s later, {len(orphans)} orphans, {told}"
    return started.poll() is not None and not orphans and sentence, words


def kills(folder: Path, count: int) -> bool:
    """Kill each role in turn and resume; prints a line for each kill."""
    write_data(folder / "dataset" / "made-up")
    options, moments = {"epochs": 40, "stopping_step": 100}, random.Random(7)
    whole = run(folder, "whole", "LightGCN_RLMRec", options, "--dataset=made-up", "--nproc=2")
    good = 0
    for number in range(count):
        role, wanted = number % 3, moments.randint(0, 20)
        line = command(folder, "run", "LightGCN_RLMRec", options, "--dataset=made-up", "--nproc=2")
        (folder / "run.json").unlink(missing_ok=True)
        fine, words = kill(
            folder,
            line,
            lambda wanted=wanted: (folder / "run.log").read_text().count(" training [") >= wanted,
            role,
            moments.uniform(0, 1.0),
        )
        again = run(folder, "run", "LightGCN_RLMRec", options, "--dataset=made-up", "--nproc=2", "--resume")
        same = all(again[key] == whole[key] for key in ("test_result", "best_valid_result"))
        same = same and again["run"]["series"]["losses"] == whole["run"]["series"]["losses"]
        good += fine and same
        print(
            f"{ROLES[role]} killed after {wanted} epochs: {words}resumed from {again['run']['resumed_from']}, "
            f"{'the same' if same else 'another'} result",
            flush=True,
        )
    print(f"{good} of {count} kills ended well")
    return good == count


def lists(folder: Path, count: int) -> bool:
    """Kill each role while lists are made, and call again; prints a line for each kill."""
    write_data(folder / "dataset" / "made-up", 40_000, 100, 5)
    run(folder, "one", "BPR", {"epochs": 1, "train_batch_size": 8192}, "--dataset=made-up")
    checkpoint = next((folder / "saved").glob("*.pth"))
    make = [sys.executable, "-m", "recbole_rlmrec", "recommend", f"--checkpoint={checkpoint}", "--all-users", "--format=csv"]
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    subprocess.run([*make, "--output=whole.csv"], **quiet)
    good, moments, parts = 0, random.Random(7), folder / ".lists.csv.parts"
    for number in range(count):
        role, wanted = number % 3, 1 + number % 2
        both = [*make, "--output=lists.csv", "--nproc=2"]
        fine, words = kill(
            folder, both, lambda wanted=wanted: len(list(parts.glob("[0-9]*"))) >= wanted, role, moments.uniform(0, 0.5)
        )
        unwritten, left = not (folder / "lists.csv").exists(), len(list(parts.glob("[0-9]*")))
        said = subprocess.run(both, **quiet).stderr
        same = (folder / "lists.csv").read_bytes() == (folder / "whole.csv").read_bytes()
        used = f"The lists of {min(left * 8192, 40_000):,} users were there" in said
        (folder / "lists.csv").unlink()
        good += fine and same and unwritten and used
        print(f"{ROLES[role]} killed: {words}{left} of 5 parts there, then {'the same' if same else 'other'} lists", flush=True)
    print(f"{good} of {count} kills ended well")
    return good == count


def long(folder: Path, count: int) -> bool:
    """Train many epochs; prints the size of the result file."""
    write_data(folder / "dataset" / "made-up", 60, 50, 10)
    options = {"epochs": count, "eval_step": 0, "train_batch_size": 1024}
    result = run(folder, "long", "BPR", options, "--dataset=made-up", "--nproc=2")
    size = (folder / "long.json").stat().st_size
    print(f"{result['run']['epochs']} epochs of BPR with two processes ended with a result file of {size / 1024:.0f} KiB")
    return result["run"]["epochs"] == count


def main() -> int:
    """Run a benchmark; the exit status is 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("equal", "delays", "kills", "lists", "long"))
    parser.add_argument(
        "--models", default=",".join(MODELS), help=f"of equal, separated by commas (default: {','.join(MODELS)})"
    )
    parser.add_argument("--count", type=int, help="epochs (equal, long), runs (delays) or kills (kills, lists)")
    args = parser.parse_args()
    count = args.count or {"equal": 3, "delays": 20, "kills": 20, "lists": 6, "long": 1600}[args.what]
    with tempfile.TemporaryDirectory(prefix="processes-") as name:
        more = [args.models.split(",")] if args.what == "equal" else []
        return 0 if globals()[args.what](Path(name), count, *more) else 1


if __name__ == "__main__":
    raise SystemExit(main())
