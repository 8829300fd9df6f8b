"""Whether torch.compile or a second thread pays where steps are small: seconds of a training step on ml-100k.

    python benchmarks/compiled_steps.py [--alignments none,con] [--steps 30] [--output benchmarks/results/compiled_steps]

One process for each row. CPU time is that of all threads; the shortest step on the clock is the one that other processes
disturbed least. The first step has what compiling takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pages import in_own_process, publish


def probe(alignment: str, threads: int, compiled: bool, steps: int) -> dict:
    """Take some steps."""
    import torch

    import recbole_rlmrec  # noqa: F401  (registers, so it comes first)

    from recbole.data import create_dataset, data_preparation  # isort: skip
    from recbole.utils import get_model, get_trainer, init_seed  # isort: skip

    from recbole_rlmrec.runs.split import make_config

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        options = {"gpu_id": "", "alignment": alignment, "semantic_path": folder, "checkpoint_dir": folder}
        config = make_config("LightGCN_RLMRec", "ml-100k", {**options, "show_progress": False})
        init_seed(config["seed"], config["reproducibility"])
        loader, *_ = data_preparation(config, create_dataset(config))
        model = get_model(config["model"])(config, loader._dataset)
        optimizer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model).optimizer
    compute = torch.compile(model.calculate_loss) if compiled else model.calculate_loss
    cpu, wall = [], []
    for batch in itertools.islice(itertools.cycle(loader), steps + 1):
        start, now = time.process_time(), time.perf_counter()
        optimizer.zero_grad()
        sum(compute(batch)).backward()
        optimizer.step()
        cpu.append(time.process_time() - start)
        wall.append(time.perf_counter() - now)
    return {"first": cpu[0], "cpu": statistics.median(cpu[1:]), "wall": min(wall[1:])}


def main() -> None:
    """Measure each row and write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alignments", default="none,con")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md file")
    args = parser.parse_args()
    if args.probe:
        sys.argv, (alignment, threads, compiled) = sys.argv[:1], args.probe
        print(json.dumps(probe(alignment, int(threads), compiled == "True", args.steps)))
        return
    import torch

    lines = [f"`python benchmarks/compiled_steps.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"LightGCN_RLMRec on ml-100k, Python {platform.python_version()}, torch {torch.__version__}.", ""]
    lines += [
        "| alignment | threads | compiled | CPU ms per step | shortest step, ms | first step, CPU s |",
        "| --- " * 6 + "|",
    ]
    for alignment, (threads, compiled) in itertools.product(args.alignments.split(","), ((1, False), (2, False), (1, True))):
        row = ["--probe", alignment, str(threads), str(compiled)]
        found = in_own_process(__file__, "--steps", str(args.steps), *row)
        print(alignment, threads, compiled, found, file=sys.stderr, flush=True)
        shown = f"{1000 * found['cpu']:.1f} | {1000 * found['wall']:.1f} | {found['first']:.1f}"
        lines.append(f"| {alignment} | {threads} | {'yes' if compiled else 'no'} | {shown} |")
    publish(lines, args.output)


if __name__ == "__main__":
    main()
