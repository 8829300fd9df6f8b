"""CPU-seconds that the commands need: python benchmarks/startup.py [--times=5] [--tree=FOLDER]

Every command runs in a process of its own in an empty folder with a small data set; user and system time of that process
and of its children are counted, so that what else the machine does matters little. --tree names a checkout to measure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ["--dataset", "tiny"]
PROFILE = ["profile", *DATA, "--tag", "batch", "--chat-model", "gpt", "--base-url", "http://127.0.0.1:9/v1"]
COMMANDS = {
    "--version": ["--version"],
    "--help": ["--help"],
    "profile --help": ["profile", "--help"],
    "run --help": ["run", "--help"],
    "experiment compare --help": ["experiment", "compare", "--help"],
    "import FILE.jsonl": ["import", "profiles.jsonl", *DATA, "--tag", "mine"],
    "export --archive": ["export", *DATA, "--tag", "mine", "--archive", "mine.tar.gz"],
    "show --user": ["show", *DATA, "--tag", "mine", "--user", "u1"],
    "profile --batch status": [*PROFILE, "--batch", "status"],
    "doctor": ["doctor"],
    "run, BPR, one epoch": ["run", "--model=BPR", "--dataset=ml-100k", "--epochs=1", "--gpu_id=", "--show_progress=False"],
}


def main() -> None:
    """Print a Markdown table: the median and the range for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--only", default="", help="commands whose name holds this text")
    args = parser.parse_args()
    print("| command | CPU-seconds, median | range | torch | RecBole |\n| --- | ---: | ---: | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        for name, command in COMMANDS.items():
            if args.only not in name:
                continue
            runs = [_seconds(command, Path(folder), args.tree) for _ in range(args.times)]
            loaded = _loaded(command, Path(folder), args.tree)
            cells = ["imported" if package in loaded else "-" for package in ("torch", "recbole")]
            figures = f"{statistics.median(runs):.2f} | {min(runs):.2f}-{max(runs):.2f}"
            print(f"| {name} | {figures} | {' | '.join(cells)} |", flush=True)


def _prepare(folder: Path) -> None:
    """A data set of 20 users and 20 items, a profile that quotes two of its interactions, and a tag with no open batch."""
    data = folder / "dataset" / "tiny"
    data.mkdir(parents=True)
    pairs = [(user, item) for user in range(20) for item in range(20) if (user + item) % 2]
    rows = [f"u{user}\ti{item}\t{1 + item % 5}\t{1000 + user * 20 + item}" for user, item in pairs]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (data / "tiny.inter").write_text("\n".join([header, *rows]) + "\n")
    titles = [f"i{item}\tThe story number {item}" for item in range(20)]
    (data / "tiny.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")
    profile = {"user_id": "u1", "profile": "Likes stories.", "pairs": [["u1", "i0"], ["u1", "i2"]]}
    (folder / "profiles.jsonl").write_text(json.dumps(profile) + "\n")
    (data / "semantic" / "batch").mkdir(parents=True)


def _start(arguments: list[str], folder: Path, tree: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def _seconds(command: list[str], folder: Path, tree: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = _start(["-m", "recbole_rlmrec.cli", *command], folder, tree)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _loaded(command: list[str], folder: Path, tree: Path) -> set[str]:
    """Packages that the command imports."""
    done = _start(["-X", "importtime", "-m", "recbole_rlmrec.cli", *command], folder, tree)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


if __name__ == "__main__":
    main()
