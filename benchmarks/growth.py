"""Time per training interaction of BPR_RLMRec con, and the memory that alignment adds, as the number of users grows.

    python benchmarks/growth.py --output=benchmarks/results/growth

Synthetic data, 10 interactions per user, as many items as users, random semantic embeddings in float16. (With few items a batch
holds the same ones again and again, and the loss over unique rows gets cheaper than at scale.)
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from pages import publish
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from train_speed import Row, measure, random_embeddings, synthetic

from recbole_rlmrec.runs.command_line import command_line

COMMON = ["--gpu_id=", "--show_progress=False", "--learner=sparse_adam", "--embedding_size=32", "--train_batch_size=2048"]
COMMON += ["--eval_step=100000", "--metrics=['Recall']", "--topk=[10]", "--valid_metric=Recall@10"]


def loading(options: list[str]) -> dict[str, float]:
    """Processor time of one interaction, in microseconds: to read and split the data, and in a pass of the training loader."""
    with command_line([*COMMON, *options[1:]]):
        config = Config("BPR_RLMRec", options[0].partition("=")[2])
    start = time.process_time()
    train, _, _ = data_preparation(config, create_dataset(config))
    loaded = time.process_time()
    for _ in train:
        pass
    sampled, count = time.process_time(), len(train.dataset)
    return {"load_us": 1e6 * (loaded - start) / count, "sample_us": 1e6 * (sampled - loaded) / count}


def main() -> None:
    """Measure each size and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", default="10000,100000,1000000")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3, help="per run; the first is left out")
    parser.add_argument("--loading", action="store_true", help="measure loading and sampling alone, in processor time")
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md and .json files")
    args = parser.parse_args()
    records = []
    for users in map(int, args.users.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data = synthetic(folder, users, users, users * 10)
            if not args.loading:
                data += random_embeddings(folder, data, args.width, "float16")
            common = [*COMMON, f"--epochs={args.epochs}", *data]
            found = {"users": users, **loading(data)}
            for alignment in () if args.loading else ("none", "con"):
                run = measure(Row(alignment, None, ("--model=BPR_RLMRec", f"--alignment={alignment}")), common, folder)
                found |= {f"{alignment}_us": 1e6 * statistics.median(run["seconds"]) / (users * 10)}
                found |= {f"{alignment}_mib": run["memory"]}
            print(found, file=sys.stderr, flush=True)
            records.append(found)
    first = records[0]
    lines = [f"`python benchmarks/growth.py {' '.join(sys.argv[1:])}`", ""]
    machine = f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines += [f"{machine}, Python {platform.python_version()}."]
    lines += ["Processor time per interaction: to read and split the data, and in one pass of the training loader."]
    lines += ["", "| users | loading, us | sampling, us |", *["| --- " * 3 + "|"]]
    lines += [f"| {found['users']:,} | {found['load_us']:.2f} | {found['sample_us']:.2f} |" for found in records]
    if not args.loading:
        lines += ["", f"BPR_RLMRec, d 32, batch 2048, learner sparse_adam, {args.width}-d profiles."]
        lines[-1] += " Time per training interaction, median without the first epoch."
        lines += ["", "| users | none, us | con, us | con, x first | memory of alignment, MiB |"]
        lines += ["| --- " * 5 + "|"]
    for found in [] if args.loading else records:
        more, ratio = found["con_mib"] - found["none_mib"], found["con_us"] / first["con_us"]
        lines.append(f"| {found['users']:,} | {found['none_us']:.2f} | {found['con_us']:.2f} | {ratio:.2f} | {more:.0f} |")
    publish(lines, args.output, records)


if __name__ == "__main__":
    main()
