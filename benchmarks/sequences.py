"""Sequential recommenders beside RecBole's own: CPU seconds of a training step and of a full-ranking evaluation, in turns.

    python benchmarks/sequences.py --dataset=ml-100k --output=benchmarks/results/sequences_ml-100k

All runs of a recommender stand in one process and take turns on the same batches. An epoch is as many steps as there are
batches, whatever is aligned, so the ratio of the steps is that of the epochs. Other --key=value are RecBole's.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

import recbole_rlmrec  # noqa: F401  (registers NAME_RLMRec)

RUNS = {
    "RecBole": ("", {"train_neg_sample_args": None, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}),
    "none": ("_RLMRec", {"alignment": "none"}),
    "con": ("_RLMRec", {"alignment": "con"}),
    "gen": ("_RLMRec", {"alignment": "gen"}),
    "text added": ("_Semantic", {}),
}
COMPUTED = ("MASK_INDEX", "MASK_ITEM_SEQ", "POS_ITEMS", "NEG_ITEMS", "INVERSE_ITEM_SEQ")  # RecBole's transforms set them


def main() -> None:
    """Measure and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--models", default="SASRec,GRU4Rec,BERT4Rec,SRGNN")
    parser.add_argument("--runs", default=",".join(RUNS), help="which of them, RecBole first")
    parser.add_argument("--steps", type=int, default=5, help="training steps of each run; the first is left out")
    parser.add_argument(
        "--evaluations", type=int, default=3, help="evaluations of RecBole's and of ours; the first is left out"
    )
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md and .json files")
    args, rest = parser.parse_known_args()
    given = re.sub(r"(--data_path=)\S+", r"\1FOLDER", " ".join(sys.argv[1:]))
    sys.argv = [sys.argv[0], *rest]  # RecBole reads the command line
    records = []
    for model in args.models.split(","):
        records.append(measure(model, args))
        text = "\n".join([f"`python benchmarks/sequences.py {given}`", "", *_machine(), "", *table(records)]) + "\n"
        if args.output:
            args.output.with_suffix(".md").write_text(text, encoding="utf-8")
            args.output.with_suffix(".json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(text)


def measure(backbone: str, args) -> dict:
    """CPU seconds of each step of each run, of loading a batch, and of each evaluation."""
    import torch
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    first = _config(backbone, args.dataset, RUNS["RecBole"][1])
    init_seed(first["seed"], first["reproducibility"])
    loaders = data_preparation(first, create_dataset(first))
    runs = {name: RUNS[name] for name in args.runs.split(",")}
    models, steps = {}, {name: [] for name in (*runs, "batch")}
    for name, (suffix, options) in runs.items():
        config = _config(backbone + suffix, args.dataset, options)
        for key in COMPUTED:
            config[key] = first[key]
        model = get_model(config["model"])(config, loaders[0]._dataset).train()
        models[name] = config, model, torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = iter(loaders[0])
    for _ in range(args.steps):
        start = time.process_time()
        batch = next(batches)
        steps["batch"].append(time.process_time() - start)
        for name, (_, model, optimizer) in models.items():
            steps[name].append(_step(model, optimizer, batch))
    evaluations = {name: [] for name in list(runs)[:2]}  # what is aligned makes no difference to it
    for _ in range(args.evaluations):
        for name in evaluations:
            evaluations[name].append(_evaluate(*models[name][:2], loaders))
    return {"model": backbone, "batches": len(loaders[0]), "steps": steps, "evaluations": evaluations}


def _config(model: str, dataset: str, options: dict):
    from recbole.config import Config

    return Config(model, dataset, config_dict={"gpu_id": "", "show_progress": False, "state": "ERROR", **options})


def _step(model, optimizer, batch) -> float:
    if hasattr(model, "begin_epoch"):
        model.begin_epoch(0)
    start = time.process_time()
    optimizer.zero_grad()
    losses = model.calculate_loss(batch)
    (sum(losses) if isinstance(losses, tuple) else losses).backward()
    optimizer.step()
    return time.process_time() - start


def _evaluate(config, model, loaders) -> float:
    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(loaders[0])
    start = time.process_time()
    trainer.evaluate(loaders[2], load_best_model=False)
    seconds = time.process_time() - start
    model.train()
    return seconds


def table(records: list[dict]) -> list[str]:
    """Markdown lines: seconds of RecBole's epoch and evaluation, and the others as multiples of them."""
    others = [name for name in RUNS if name != "RecBole" and name in records[0]["steps"]]
    head = [
        "recommender",
        "batches",
        "RecBole's epoch, s",
        *(f"{name}, x" for name in others),
        "RecBole's evaluation, s",
        "ours, x",
    ]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for record in records:
        loading = statistics.median(record["steps"]["batch"][1:])
        step = {name: loading + statistics.median(record["steps"][name][1:]) for name in ("RecBole", *others)}
        theirs, ours = (statistics.median(seconds[1:]) for seconds in record["evaluations"].values())
        cells = [record["model"], str(record["batches"]), f"{step['RecBole'] * record['batches']:.1f}"]
        cells += [f"{step[name] / step['RecBole']:.2f}" for name in others]
        lines.append(f"| {' | '.join([*cells, f'{theirs:.2f}', f'{ours / theirs:.2f}'])} |")
    return lines


def _machine() -> list[str]:
    import platform

    import torch

    threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
    return [f"{threads}. Medians of CPU seconds, the first of each left out."]


if __name__ == "__main__":
    main()
