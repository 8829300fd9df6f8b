"""Time and memory of `recbole-rlmrec recommend --all-users` for many users and items.

    python benchmarks/list_speed.py [--users 100000] [--items 100000] [--model LightGCN] [--forms csv,parquet]
        [--output benchmarks/results/list_speed]

Synthetic interactions, ten for each user, and a model of 64 dimensions that is not trained: a list takes as long as with one
that is. The call is a process of its own, measured from its start: it reads the data, draws the split and writes lists of 20.
With `csv,csv --nproc=2` the lists of two processes are compared with those of one, byte by byte; CPU time is of all of them,
memory of the largest.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from convert_speed import measure

import recbole_rlmrec  # noqa: F401  (registers)
from recbole_rlmrec.data.files import file_digest

START = Path.cwd()
FORMS = "csv,parquet,csv --diversify=0.3,csv --reasons"


def write_data(folder: Path, users: int, items: int) -> None:
    """Write ten interactions of each user, popular items more often."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    chosen = (rng.random((users, 10)) ** 2 * items).astype(np.int64)
    with open(folder / "many.inter", "w") as file:
        file.write("user_id:token\titem_id:token\n")
        for user, row in enumerate(chosen):
            file.writelines(f"u{user}\ti{item}\n" for item in np.unique(row))
    with open(folder / "many.item", "w") as file:
        file.write("item_id:token\ttitle:token_seq\n")
        file.writelines(f"i{item}\tThing number {item}\n" for item in range(items))


def make_checkpoint(root: Path, model: str) -> str:
    """A checkpoint of a model that is not trained."""
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    from recbole_rlmrec.runs.split import make_config

    options = {"data_path": str(root / "dataset"), "checkpoint_dir": str(root / "saved"), "epochs": 0, "gpu_id": ""}
    config = make_config(model, "many", {**options, "embedding_size": 64, "show_progress": False})
    init_seed(config["seed"], config["reproducibility"])
    train, *_ = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, get_model(config["model"])(config, train._dataset))
    trainer.fit(train, verbose=False)
    return trainer.saved_model_file


def main() -> None:
    """Measure each form and write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--model", default="LightGCN")
    parser.add_argument("--forms", default=FORMS, help="formats with options, separated by commas")
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md file")
    args, rest = parser.parse_known_args()
    written, sys.argv[1:] = " ".join(sys.argv[1:]), rest
    lines = [f"`python benchmarks/list_speed.py {written}`", ""]
    lines += [f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} thread.", ""]
    lines += [f"{args.model}, {args.users:,} users, {args.items:,} items, lists of 20.", ""]
    lines += ["| format and options | file, MB | CPU, s | clock, s | peak memory, MB |", "| --- | --- | --- | --- | --- |"]
    digests: dict[tuple[str, ...], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data(root / "dataset/many", args.users, args.items)
        os.chdir(root)
        start = [sys.executable, "-m", "recbole_rlmrec", "recommend", "--checkpoint", make_checkpoint(root, args.model)]
        for form, *more in map(str.split, args.forms.split(",")):
            command = [*start, "--all-users", "--topk", "20", "--format", form, *more, "--output", f"lists.{form}"]
            begun = time.monotonic()
            seconds, memory, said = measure(command, folder)
            clock = time.monotonic() - begun
            assert f"top 20 of {args.users} users" in said, said
            plain = tuple([form, *(option for option in more if not option.startswith("--nproc"))])
            digest, size = file_digest(root / f"lists.{form}"), (root / f"lists.{form}").stat().st_size / 1e6
            assert digests.setdefault(plain, digest) == digest, f"{form} {more}: other lists than those of one process"
            lines.append(f"| {' '.join([form, *more])} | {size:.0f} | {seconds:.1f} | {clock:.1f} | {memory:.0f} |")
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if args.output:
        (START / args.output).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
