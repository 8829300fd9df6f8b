"""Processor time of a training epoch and of a validation, and memory, by the number of users: the figures of docs/scale.md.

    python benchmarks/scale.py --users=100000 --rows="BPR none,BPR con,LightGCN none,LightGCN con"

Synthetic data, as many items as users, 10 interactions per user; random semantic embeddings of --width dimensions in float16.
Each row is a process of its own with one thread; memory is the most that it has held, memory-mapped files not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from train_speed import random_embeddings, synthetic

ROWS = "BPR none,BPR con,LightGCN none,LightGCN con"
COMMON = ["--gpu_id=", "--show_progress=False", "--embedding_size=64", "--metrics=['Recall']", "--topk=[10]"]
COMMON += ["--valid_metric=Recall@10", "--eval_step=1", "--checkpoint_every=0"]
OWN = {"BPR": ["--learner=sparse_adam"], "LightGCN": ["--n_layers=3"]}


def probe(arguments: list[str]) -> None:
    """Train in this process; prints processor time of each epoch and validation, and the peak of anonymous memory."""
    import threading

    from recbole_rlmrec.plugin.trainer import RLMRecTrainer
    from recbole_rlmrec.runs.run import main

    spent: dict[str, list[float]] = {"_train_epoch": [], "_valid_epoch": []}

    def timed(name):
        original = getattr(RLMRecTrainer, name)

        def call(*args, **kwargs):
            start = time.process_time()
            found = original(*args, **kwargs)
            spent[name].append(time.process_time() - start)
            return found

        setattr(RLMRecTrainer, name, call)

    for name in spent:
        timed(name)
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.2):
            lines = Path("/proc/self/status").read_text().splitlines()
            peak[0] = max(peak[0], *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    main(arguments)
    ended.set()
    watcher.join()
    print("found " + json.dumps({**spent, "mib": peak[0] / 1024}))


def main() -> None:
    """Measure each row and write Markdown."""
    if sys.argv[1:2] == ["--probe"]:
        return probe(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", default="100000")
    parser.add_argument("--rows", default=ROWS)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--epochs", type=int, default=2, help="per row; the first is left out")
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md file")
    args = parser.parse_args()
    lines = [f"`python benchmarks/scale.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"Python {platform.python_version()}, torch {torch.__version__}, one thread; processor time."]
    lines += [f"d 64, batch {args.batch:,}, {args.width}-d profiles; median without the first epoch.", ""]
    lines += ["| users | interactions | model | epoch, s | of one interaction, us | 2,000 users ranked, s | memory, MiB |"]
    lines += ["| --- " * 7 + "|"]
    for users in map(int, args.users.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data = synthetic(folder, users, users, users * 10)
            data += random_embeddings(folder, data, args.width, "float16")
            for row in args.rows.split(","):
                model, alignment = row.split()
                options = [f"--model={model}_RLMRec", f"--alignment={alignment}", *COMMON, *OWN[model], *data]
                options += [f"--train_batch_size={args.batch}", f"--epochs={args.epochs}"]
                command = [sys.executable, str(Path(__file__).resolve()), "--probe", *options]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1].removeprefix("found "))
                seconds, valid = (
                    statistics.median(found[name][1:] or found[name]) for name in ("_train_epoch", "_valid_epoch")
                )
                each = 1e6 * seconds / (users * 10)
                lines.append(
                    f"| {users:,} | {users * 10:,} | {model}_RLMRec {alignment} | {seconds:.1f} | {each:.1f} | {valid:.1f} | "
                    f"{found['mib']:,.0f} |"
                )
                print(lines[-1], flush=True)
    if args.output:
        args.output.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
