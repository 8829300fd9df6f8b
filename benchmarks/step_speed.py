"""CPU time of a training step beside RecBole's LightGCN and beside the time that its matrix products take at the least.

    python benchmarks/step_speed.py [--turns 3] [--rows REGEX] [--output benchmarks/results/step_speed]

Synthetic data of Amazon-book's size in the paper, batches of 4,096, d 32, random semantic embeddings of --width dimensions.
All runs stand in one process and take turns, so that a busy machine slows all of them alike; a turn is as many steps as
`align_every` says. An epoch has as many steps whatever is trained, so ratios of steps are those of epochs.

The least time is the number of floating-point operations of the step's dense matrix products, counted while it runs, over the
rate of the largest of them, measured in the same turns on matrices of that shape.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml
from pages import publish
from train_speed import PAPER, random_embeddings, synthetic

CON, GEN = {"alignment": "con"}, {"alignment": "gen"}
NARROW, BF16 = {"semantic_dim": 256}, {"align_dtype": "bfloat16"}
SEMANTIC = {"loss": "softmax", "alignment": "none", "user_text": "history"}
ROWS = {
    "RecBole LightGCN": ("LightGCN", {}),
    "none": ("LightGCN_RLMRec", {"alignment": "none"}),
    "con": ("LightGCN_RLMRec", CON),
    "con, bfloat16": ("LightGCN_RLMRec", CON | BF16),
    "con, align_every 4": ("LightGCN_RLMRec", CON | {"align_every": 4}),
    "con, align_every 4, bfloat16": ("LightGCN_RLMRec", CON | BF16 | {"align_every": 4}),
    "con, semantic_dim 256": ("LightGCN_RLMRec", CON | NARROW),
    "con, semantic_dim 256, align_anchors 512": ("LightGCN_RLMRec", CON | NARROW | {"align_anchors": 512}),
    "gen": ("LightGCN_RLMRec", GEN),
    "gen, bfloat16": ("LightGCN_RLMRec", GEN | BF16),
    "gen, align_anchors 400": ("LightGCN_RLMRec", GEN | {"align_anchors": 400}),
    "gen, align_every 4, align_anchors 1024": ("LightGCN_RLMRec", GEN | {"align_every": 4, "align_anchors": 1024}),
    "gen, semantic_dim 256": ("LightGCN_RLMRec", GEN | NARROW),
    "gen, semantic_dim 256, align_anchors 400": ("LightGCN_RLMRec", GEN | NARROW | {"align_anchors": 400}),
    "AlphaRec": ("AlphaRec", {}),
    "AlphaRec, semantic_dim 256": ("AlphaRec", NARROW),
    "LightGCN_Semantic": ("LightGCN_Semantic", SEMANTIC),
    "LightGCN_Semantic, semantic_dim 256": ("LightGCN_Semantic", SEMANTIC | NARROW),
}


class Run:
    """A row of the table: a recommender with its loader and its optimizer."""

    def __init__(self, name: str, options: list[str]):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        from recbole_rlmrec.runs.split import make_config

        self.name, (model, own) = name, ROWS[name]
        parts = (option.removeprefix("--").partition("=") for option in options)
        given = {key: yaml.safe_load(value) or "" for key, _, value in parts}
        dataset = given.pop("dataset")
        config = make_config(model, dataset, {**given, **own, "show_progress": False})
        init_seed(1, True)
        self.loader, *_ = data_preparation(config, create_dataset(config))
        self.model = get_model(config["model"])(config, self.loader._dataset)
        self.optimizer = get_trainer(config["MODEL_TYPE"], config["model"])(config, self.model).optimizer
        self.cycle, self.narrow = own.get("align_every", 1), "align_dtype" in own
        self.seconds: list[float] = []
        self._batches = iter(())
        self.model.train()

    def step(self) -> None:
        """One training step, the loading of its batch included."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self.loader)
            batch = next(self._batches)
        self.optimizer.zero_grad()
        losses = self.model.calculate_loss(batch)
        (sum(losses) if isinstance(losses, tuple) else losses).backward()
        self.optimizer.step()

    def turn(self) -> None:
        """As many steps as `align_every` says; their mean CPU time."""
        start = time.process_time()
        for _ in range(self.cycle):
            self.step()
        self.seconds.append((time.process_time() - start) / self.cycle)

    def operations(self) -> float:
        """Floating-point operations of the dense matrix products of a step, the mean over a turn."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        def product(left, right, **_) -> int:
            dense = left.layout == right.layout == torch.strided
            return 2 * left.shape[0] * left.shape[1] * right.shape[1] if dense else 0

        def added(total, left, right, **_) -> int:
            return product(left, right)

        product._get_raw = added._get_raw = True
        aten = torch.ops.aten
        mapping = {aten.mm: product, aten.addmm: added, aten.addmm_: added}
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            for _ in range(self.cycle):
                self.step()
        return counter.get_total_flops() / self.cycle


def rate(width: int, dtype) -> float:
    """Floating-point operations of a CPU-second, in the products of a projection's first layer and its gradient."""
    import torch

    x, weight = torch.randn(8192, width, dtype=dtype), torch.randn((width + 32) // 2, width, dtype=dtype)
    start = time.process_time()
    hidden = x @ weight.T
    hidden.T @ x
    return 4 * x.numel() * len(weight) / (time.process_time() - start)


def main() -> None:
    """Measure the chosen rows and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="regular expression on the names of the rows, RecBole's aside")
    parser.add_argument("--turns", type=int, default=3, help="turns of each run, after two steps that do not count")
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md and .json files")
    args = parser.parse_args()
    given, sys.argv = " ".join(sys.argv[1:]), sys.argv[:1]
    output = args.output and args.output.resolve()
    import torch

    import recbole_rlmrec  # noqa: F401  (registers)

    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        data = synthetic(Path(name), 11_000, 9_332, 120_464)
        data = ["--gpu_id=", *PAPER, *data, *random_embeddings(Path(name), data, args.width)]
        runs = [Run(row, data) for row in ROWS if row == "RecBole LightGCN" or re.search(args.rows, row)]
        counts = {run.name: run.operations() for run in runs}
        rates: dict[bool, list[float]] = {False: [], True: []}
        for run in runs:
            run.step()
        for _ in range(args.turns):
            rates[False].append(rate(args.width, torch.float32))
            rates[True].append(rate(args.width, torch.bfloat16))
            for run in runs:
                run.turn()
                print(run.name, round(run.seconds[-1], 3), file=sys.stderr, flush=True)
        os.chdir("/")
    median = {narrow: statistics.median(found) for narrow, found in rates.items()}
    unit = statistics.median(runs[0].seconds)
    lines = [f"`python benchmarks/step_speed.py {given}`", ""]
    lines += [
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}; {args.width}-d."
    ]
    lines += [
        f"Matrix products in a CPU-second: {median[False] / 1e9:.0f} GFLOP in float32, {median[True] / 1e9:.0f} in bfloat16."
    ]
    lines += ["", "| run | CPU s per step | range | x RecBole's LightGCN | GFLOP | least CPU s | x least |", "| --- " * 7 + "|"]
    records = []
    for run in runs:
        seconds, least = statistics.median(run.seconds), counts[run.name] / median[run.narrow]
        shown = f"{min(run.seconds):.3f} to {max(run.seconds):.3f} | {seconds / unit:.2f} | {counts[run.name] / 1e9:.1f}"
        limit = f"{least:.3f} | {seconds / least:.2f}" if least > 0.1 * seconds else " | "
        lines.append(f"| {run.name} | {seconds:.3f} | {shown} | {limit} |")
        records.append({"run": run.name, "seconds": run.seconds, "ratio": seconds / unit, "operations": counts[run.name]})
    publish(lines, output, records)


if __name__ == "__main__":
    main()
