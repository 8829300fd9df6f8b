"""Recall@10 of LightGCN_RLMRec at RecBole's default settings, alignment by alignment, on several data sets.

    python benchmarks/defaults.py --datasets=ml-100k,amazon-office --data_path=FOLDER --output=benchmarks/results/defaults

Test scores after some epochs, and of the epoch that early stopping keeps, chosen by validation; profiles of the offline default.
ml-100k comes with RecBole; the others lie split under data_path. What the JSON file holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from logging import disable
from pathlib import Path

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


def measure(dataset: str, variant: str, seed: int, options: dict) -> dict:
    """Train one variant to its early stop."""
    given = {} if dataset == "ml-100k" else {**options, "benchmark_filename": ["train", "valid", "test"]}
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


def table(records: list[dict], value, title: str) -> list[str]:
    """Markdown lines: means over seeds, deviations where there are several, and the difference from none."""
    names = [name for name in VARIANTS if any(record["variant"] == name for record in records)]
    lines = ["", title, "", "| data | seeds | " + " | ".join(names) + " |", "| --- " * (2 + len(names)) + "|"]
    for dataset in dict.fromkeys(record["dataset"] for record in records):
        cells, base = [], None
        of_data = [record for record in records if record["dataset"] == dataset]
        for name in names:
            found = [value(record) for record in of_data if record["variant"] == name]
            found = [score for score in found if score is not None]
            if not found:
                cells.append("")
                continue
            mean = statistics.mean(found)
            base = mean if base is None else base
            spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
            cells.append(f"{mean:.4f}{spread}" + (f" ({mean / base - 1:+.0%})" if name != "none" else ""))
        seeds = len({record["seed"] for record in of_data})
        lines.append(f"| {dataset} | {seeds} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Run what is missing in the JSON file, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", required=True)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--variants", default=";".join(VARIANTS), help="names, separated by semicolons (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True, help="path without suffix of the .md and .json files")
    args = parser.parse_args()
    command, sys.argv = sys.argv, sys.argv[:1]  # RecBole's Config reads the command line, too
    path = args.output.with_suffix(".json")
    records = json.loads(path.read_text()) if path.is_file() else []
    known = {(record["dataset"], record["variant"], record["seed"]) for record in records}
    for seed in range(2020, 2020 + args.seeds):
        for dataset in args.datasets.split(","):
            for variant in args.variants.split(";"):
                if (dataset, variant, seed) not in known:
                    records.append(json.loads(json.dumps(measure(dataset, variant, seed, {"data_path": args.data_path}))))
                    print(records[-1], file=sys.stderr, flush=True)
                    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    lines = ["`python benchmarks/defaults.py " + " ".join(command[1:]).replace(args.data_path, "FOLDER") + "`"]
    for epochs in EPOCHS:
        lines += table(records, lambda record, n=str(epochs): record["after"].get(n), f"After {epochs} epochs, Recall@10:")
    lines += table(records, lambda record: record["kept"], "The epoch that early stopping kept, Recall@10:")
    text = "\n".join(lines) + "\n"
    print(text)
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
