"""Seconds per training epoch of LightGCN_RLMRec beside RecBole's LightGCN, in alternation, one process per run.

python benchmarks/epoch_time.py --dataset=ml-100k --epochs=5 --rounds=3 --output=benchmarks/results/epoch_time.md
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

CELLS = {
    "RecBole LightGCN": ["--model=LightGCN"],
    "LightGCN_RLMRec none": ["--model=LightGCN_RLMRec", "--alignment=none"],
    "LightGCN_RLMRec con": ["--model=LightGCN_RLMRec", "--alignment=con"],
    "LightGCN_RLMRec gen": ["--model=LightGCN_RLMRec", "--alignment=gen"],
}
RUN = Path(__file__).resolve().parents[1] / "run_recbole_rlmrec.py"


def epoch_seconds(options: list[str], folder: Path) -> float:
    """Median seconds of the epochs after the first of one run."""
    result = folder / "result.json"
    command = [sys.executable, str(RUN), *options, f"--result_file={result}", f"--checkpoint_dir={folder}/saved"]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return statistics.median(json.loads(result.read_text())["run"]["series"]["seconds"][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args, rest = parser.parse_known_args()
    common = [f"--dataset={args.dataset}", f"--epochs={args.epochs}", "--gpu_id=", "--eval_step=1000"]
    common += ["--show_progress=False", *rest]
    times = {name: [] for name in CELLS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name, options in CELLS.items():
                times[name].append(epoch_seconds([*options, *common], Path(folder)))
    base = statistics.median(times["RecBole LightGCN"])
    lines = [f"`python benchmarks/epoch_time.py {' '.join(sys.argv[1:])}`", ""]
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
    lines += [f"{args.dataset}, CPU, {machine}."]
    lines += ["Median seconds per training epoch, the first left out; the runs alternate.", ""]
    lines += ["| run | seconds | smallest to largest | ratio |", "| --- | --- | --- | --- |"]
    for name, values in times.items():
        median = statistics.median(values)
        lines.append(f"| {name} | {median:.3f} | {min(values):.3f} to {max(values):.3f} | {median / base:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
