"""Full ranking of many users and items with every top-k metric: RecBole's own evaluation beside ours, a process each.

    python benchmarks/evaluation_speed.py [--users 100000] [--items 100000] [--slice 1000]
        [--output benchmarks/results/evaluation_speed]

LightGCN of 64 dimensions that is not trained, the default split of ten interactions for each user, one thread. RecBole
evaluates --slice of the users and its CPU-seconds are multiplied by what is left out; ours evaluates all. Both sides first
evaluate the same few users, whose metrics must be equal. Time is that of `Trainer.evaluate`, with the model's tables at hand.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from pages import in_own_process, publish

METRICS = "Recall,MRR,NDCG,Hit,Precision,MAP,ItemCoverage,AveragePopularity,GiniIndex,ShannonEntropy,TailPercentage"
SAME = 200


def probe(side: str, root: Path, users: int | None) -> dict:
    """Evaluate some users, or all, and say how long it took."""
    import torch

    import recbole_rlmrec  # noqa: F401  (registers, so it comes first)

    from recbole.data import create_dataset, data_preparation  # isort: skip
    from recbole.utils import get_model, get_trainer, init_seed  # isort: skip

    from recbole_rlmrec.runs.split import make_config

    options = {"data_path": str(root / "dataset"), "checkpoint_dir": str(root / "saved"), "gpu_id": "", "embedding_size": 64}
    options |= {"metrics": METRICS.split(","), "topk": [5, 10, 20], "metric_decimal_place": 10, "show_progress": False}
    config = make_config("LightGCN", "many", {**options, "valid_metric": "Recall@20", "fast_loader": side == "ours"})
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(train)
    small = trainer.evaluate(_of_users(config, test, SAME), load_best_model=False)
    loader = _of_users(config, test, users) if users else test
    start, now = time.process_time(), time.perf_counter()
    trainer.evaluate(loader, load_best_model=False)
    found = {"cpu": time.process_time() - start, "wall": time.perf_counter() - now, "users": len(loader.uid_list)}
    return {**found, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, "same": dict(small)}


def _of_users(config, loader, count: int):
    """A loader of the first users of another."""
    dataset = loader._dataset
    last = dataset.inter_feat[dataset.uid_field].unique()[:count].max()
    part = dataset.copy(dataset.inter_feat[dataset.inter_feat[dataset.uid_field] <= last])
    return type(loader)(config, part, loader._sampler)


def main() -> None:
    """Measure both sides and write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--slice", type=int, default=1000, help="users that RecBole evaluates; 0 for all")
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md file")
    args = parser.parse_args()
    if args.probe:
        side, root, users = args.probe
        sys.argv = sys.argv[:1]
        print(json.dumps(probe(side, Path(root), int(users) or None)))
        return
    from list_speed import write_data

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder) / "dataset/many", args.users, args.items)
        for side, users in (("RecBole", args.slice), ("ours", 0)):
            row = [str(Path(__file__).resolve()), "--probe", side, folder, str(users)]
            found[side] = in_own_process(*row, cwd=folder, OMP_NUM_THREADS="1")
            print(side, found[side], file=sys.stderr, flush=True)
    theirs, ours = found["RecBole"], found["ours"]
    if theirs["same"] != ours["same"]:
        raise SystemExit(f"The metrics differ: {theirs['same']} and {ours['same']}")
    per_user = {side: one["cpu"] / one["users"] for side, one in found.items()}
    import torch

    lines = [f"`python benchmarks/evaluation_speed.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"Python {platform.python_version()}, torch {torch.__version__}, 1 thread.", ""]
    lines += [f"{args.users:,} users, {args.items:,} items; {METRICS.replace(',', ', ')} at 5, 10 and 20.", ""]
    lines += ["| evaluation | users | CPU, s | CPU per user, ms | all users, CPU, s | peak memory, MB |", "| --- " * 6 + "|"]
    for side, one in found.items():
        whole = f"{per_user[side] * ours['users']:.1f}" + ("" if one["users"] == ours["users"] else " (scaled)")
        lines.append(
            f"| {side} | {one['users']:,} | {one['cpu']:.1f} | {1000 * per_user[side]:.3f} | {whole} | {one['MB']:.0f} |"
        )
    lines += ["", f"Ratio: {per_user['RecBole'] / per_user['ours']:.1f}. Peak memory is that of the process, data included."]
    lines += [f"The metrics of the first {SAME} users are equal to ten decimals."]
    publish(lines, args.output)


if __name__ == "__main__":
    main()
