"""What cheaper steps cost in quality: the same training with fewer alignment losses, fewer anchors, and larger batches.

    python benchmarks/cheaper_steps.py --dataset=yelp-xrec-sparse --data_path=FOLDER --semantic_path=FOLDER --semantic_tag=TAG
        [--seeds 3] [--rows REGEX] [--output benchmarks/results/cheaper_steps]

LightGCN_RLMRec with default weights; the model of the best validation is tested. Other --key=value are RecBole's. Larger
batches have the learning rate of `train_batch_size: auto`: times the square root. Rows of auto tell apart data of more than
102,400 interactions alone.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pages import publish

COMMON = {"gpu_id": "", "show_progress": False, "benchmark_filename": ["train", "valid", "test"], "embedding_size": 32}
COMMON |= {"train_batch_size": 2048, "learning_rate": 0.005, "n_layers": 3, "epochs": 40, "eval_step": 4, "stopping_step": 4}
COMMON |= {
    "metrics": ["Recall", "NDCG"],
    "topk": [20],
    "valid_metric": "Recall@20",
    "metric_decimal_place": 6,
    "state": "error",
}
LARGE = {"train_batch_size": 8192, "learning_rate": 0.01}
AUTO = {"train_batch_size": "auto"}
ROWS = {
    "none": {"alignment": "none"},
    "none, batch 8192": {"alignment": "none", **LARGE},
    "none, auto": {"alignment": "none", **AUTO},
    "con": {"alignment": "con"},
    "con, align_every 4": {"alignment": "con", "align_every": 4},
    "con, align_anchors 400": {"alignment": "con", "align_anchors": 400},
    "con, batch 8192": {"alignment": "con", **LARGE},
    "con, auto, 2048 anchors and negatives": {"alignment": "con", "align_anchors": 2048, "align_negatives": 2048, **AUTO},
    "gen": {"alignment": "gen"},
    "gen, align_every 4": {"alignment": "gen", "align_every": 4},
    "gen, align_anchors 400": {"alignment": "gen", "align_anchors": 400},
}


def main() -> None:
    """Train each row with each seed; the table is written after every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", default="")
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md and .json files")
    args, rest = parser.parse_known_args()
    given = re.sub(r"(--\w+_path=)\S+", r"\1FOLDER", " ".join(sys.argv[1:]))
    sys.argv = sys.argv[:1]
    import recbole_rlmrec  # noqa: F401  (registers, so it comes first)

    from recbole.quick_start import run_recbole  # isort: skip

    options = dict(option.removeprefix("--").split("=", 1) for option in rest)
    found: dict[str, list[dict]] = {row: [] for row in ROWS if re.search(args.rows, row)}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, args.seeds + 1):
            for row, runs in found.items():
                config = {**COMMON, **options, **ROWS[row], "seed": seed, "checkpoint_dir": folder}
                start = time.process_time()
                result = run_recbole(model="LightGCN_RLMRec", dataset=args.dataset, config_dict=config)
                scores = {name: result["test_result"][name] for name in ("recall@20", "ndcg@20")}
                runs.append({"seed": seed, **scores, "cpu": time.process_time() - start})
                print(row, runs[-1], file=sys.stderr, flush=True)
            _write(found, given, args.output)


def _write(found: dict[str, list[dict]], given: str, output: Path | None) -> None:
    lines = [f"`python benchmarks/cheaper_steps.py {given}`", "", "Test scores, mean and standard deviation over seeds.", ""]
    lines += ["| run | seeds | Recall@20 | NDCG@20 | CPU s per run |", "| --- " * 5 + "|"]
    for row, runs in found.items():
        cells = []
        for name in ("recall@20", "ndcg@20"):
            values = [run[name] for run in runs]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread}")
        lines.append(f"| {row} | {len(runs)} | {' | '.join(cells)} | {statistics.mean(run['cpu'] for run in runs):.0f} |")
    publish(lines, output, found)


if __name__ == "__main__":
    main()
