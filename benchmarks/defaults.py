"""Recall@10 of LightGCN_RLMRec at RecBole's default settings, alignment by alignment, on several data sets.

    python benchmarks/defaults.py --datasets=ml-100k,amazon-office --data_path=FOLDER --output=benchmarks/results/defaults

Test scores after some epochs, and of the epoch that early stopping keeps, chosen by validation; offline default profiles;
and, for the first data set, how long the gradients of a first step are: BPR's, and con's of each of its weights.
ml-100k comes with RecBole; the others lie split under data_path. What the JSON file holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from logging import disable
from pathlib import Path

import torch

import recbole_rlmrec  # noqa: F401  (repairs and registers)

from recbole.config import Config  # isort: skip
from recbole.data import create_dataset, data_preparation  # isort: skip
from recbole.utils import get_model, get_trainer, init_seed  # isort: skip

MODEL = "LightGCN_RLMRec"
VARIANTS = {
    "none": {"alignment": "none"},
    "con, .01 constant": {"alignment": "con", "align_weight": 0.01, "align_schedule": "constant"},
    "con": {"alignment": "con"},
    "gen": {"alignment": "gen"},
    "distance": {"alignment": "distance"},
    "darec": {"alignment": "darec"},
}
EPOCHS = (3, 10, 20)
EPOCHS_OF_RECBOLE = 300
HEAD = """# What the default settings give

Test Recall@10 of LightGCN_RLMRec at RecBole's default settings (64 dimensions, 2 layers, learning rate 0.001, batches of
2,048, early stopping by MRR@10 after 10 epochs without a better one), profiles of the offline default. `con, .01 constant` is
the paper's usual weight from the first step, the former default; `con` is today's. Percentages compare with `none` on the same
seeds; cells without a number of seeds are seed 2020; where a run has stopped before, there is no score.
"""


def _data(dataset: str, options: dict) -> dict:
    if dataset == "ml-100k":
        return {"epochs": options["epochs"]}
    return {**options, "benchmark_filename": ["train", "valid", "test"]}


def measure(dataset: str, variant: str, seed: int, options: dict) -> dict:
    """Train one variant to its early stop."""
    given = _data(dataset, options)
    with tempfile.TemporaryDirectory() as folder:
        fixed = {"gpu_id": "", "show_progress": False, "seed": seed, "metric_decimal_place": 6, "checkpoint_dir": folder}
        config = Config(MODEL, dataset, config_dict={**fixed, **given, **VARIANTS[variant]})
        disable()
        init_seed(config["seed"], config["reproducibility"])
        train, valid, test = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        model = get_model(config["model"])(config, train._dataset).to(config["device"])
        trainer, after = get_trainer(config["MODEL_TYPE"], config["model"])(config, model), {}

        def look(epoch, _):
            if epoch + 1 in EPOCHS:
                after[epoch + 1] = float(trainer.evaluate(test, load_best_model=False)["recall@10"])

        trainer.fit(train, valid, callback_fn=look, verbose=False)
        kept = float(trainer.evaluate(test, load_best_model=True)["recall@10"])
    epochs = len(trainer.record.seconds)
    return {"dataset": dataset, "variant": variant, "seed": seed, "after": after, "kept": kept, "epochs": epochs}


def gradients(dataset: str, options: dict) -> str:
    """A sentence on the lengths of the gradients that the embeddings of the first batch get from either loss."""
    given = _data(dataset, options)
    config = Config(MODEL, dataset, config_dict={"gpu_id": "", **given, "align_weight": 0.01, "align_schedule": "constant"})
    init_seed(config["seed"], config["reproducibility"])
    train = data_preparation(config, create_dataset(config))[0]
    model = get_model(MODEL)(config, train._dataset)
    bpr, _, aligned = model.calculate_loss(next(iter(train)))
    weights = [model.user_embedding.weight, model.item_embedding.weight]
    lengths = [
        torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights, retain_graph=True)]).norm().item()
        for loss in (bpr, aligned)
    ]
    return (
        f"First step on {dataset}: the embeddings' gradient of BPR has length {lengths[0]:.2g}, that of con with align_weight "
        f"0.01 {lengths[1]:.2g}, with 0.001 {lengths[1] / 10:.2g}, and with 0.001 in the first epoch of a warm-up of three "
        f"{lengths[1] / 30:.2g}; a representation has length {model.forward()[0][1:].norm(dim=1).mean().item():.2g}."
    )


def table(records: list[dict], value, title: str) -> list[str]:
    """Markdown lines: means over seeds, deviations where there are several, and the difference from none of the same seeds."""
    names = [name for name in VARIANTS if any(record["variant"] == name for record in records)]
    lines = ["", title, "", "| data | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|"]
    for dataset in dict.fromkeys(record["dataset"] for record in records):
        of_data = [record for record in records if record["dataset"] == dataset and value(record) is not None]
        scores = {name: {record["seed"]: value(record) for record in of_data if record["variant"] == name} for name in names}
        cells = [_cell(scores[name], None if name == "none" else scores.get("none", {})) for name in names]
        limit = min(record["limit"] for record in records if record["dataset"] == dataset)
        lines.append(f"| {dataset}{'' if limit == EPOCHS_OF_RECBOLE else f', {limit} epochs'} | " + " | ".join(cells) + " |")
    return lines


def _cell(scores: dict[int, float], base: dict[int, float] | None) -> str:
    if not scores:
        return ""
    mean = statistics.mean(scores.values())
    text = f"{mean:.4f}" + (f" ± {statistics.stdev(scores.values()):.4f} ({len(scores)} seeds)" if len(scores) > 1 else "")
    shared = [seed for seed in scores if seed in (base or {})]
    if not shared:
        return text
    ours, theirs = (statistics.mean(of[seed] for seed in shared) for of in (scores, base))
    return f"{text}, {ours / theirs - 1:+.0%}"


def main() -> None:
    """Run what is missing in the JSON file, then write the tables of all that it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", required=True)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--variants", default=";".join(VARIANTS), help="names, separated by semicolons (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS_OF_RECBOLE)
    parser.add_argument("--output", type=Path, required=True, help="path without suffix of the .md and .json files")
    args = parser.parse_args()
    options = {"data_path": args.data_path, "epochs": args.epochs}
    command, sys.argv = sys.argv, sys.argv[:1]  # RecBole's Config reads the command line, too
    told = " ".join(shlex.quote(part) for part in command[1:] if not part.startswith("--output")).replace(
        args.data_path, "FOLDER"
    )
    path = args.output.with_suffix(".json")
    records = json.loads(path.read_text()) if path.is_file() else []
    known = {(record["dataset"], record["variant"], record["seed"]) for record in records}
    for seed in range(2020, 2020 + args.seeds):
        for dataset in args.datasets.split(","):
            for variant in args.variants.split(";"):
                if (dataset, variant, seed) not in known:
                    found = {**measure(dataset, variant, seed, options), "limit": args.epochs, "command": told}
                    records.append(json.loads(json.dumps(found)))
                    print(records[-1], file=sys.stderr, flush=True)
                    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    lines = [
        "```bash",
        *(f"python benchmarks/defaults.py {one}" for one in dict.fromkeys(r["command"] for r in records)),
        "```",
    ]
    for epochs in EPOCHS:
        lines += table(records, lambda record, n=str(epochs): record["after"].get(n), f"After {epochs} epochs:")
    lines += table(records, lambda record: record["kept"], "Of the epoch that early stopping kept:")
    lines += ["", *(gradients(dataset, options) for dataset in args.datasets.split(","))]
    text = "\n".join(lines) + "\n"
    print(text)
    args.output.with_suffix(".md").write_text(f"{HEAD}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
