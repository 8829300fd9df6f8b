"""Recall@20 of the fast settings of LightGCN_RLMRec beside the exact ones: one process per setting and seed.

    python benchmarks/quality.py --dataset=ml-100k-llm --data_path=FOLDER --semantic_path=FOLDER --semantic_tag=TAG \\
        "--benchmark_filename=['train','valid','test']" --output=benchmarks/results/quality

Exact is the released implementation's loss in float32 with RecBole's own loader; every other line changes what its name says.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = Path(__file__).resolve().parents[1] / "run_recbole_rlmrec.py"
EXACT = {"alignment": "con", "align_schedule": "constant", "align_negatives": "all", "align_dtype": "float32"}
EXACT |= {"fast_loader": "False"}
CHANGES = {
    "con exact": {},
    "con batch": {"fast_loader": "True", "align_negatives": "batch"},
    "con bfloat16": {"fast_loader": "True", "align_dtype": "bfloat16"},
    "con 128-d": {"fast_loader": "True", "semantic_dim": "128"},
    "con batch bfloat16 128-d": {
        "fast_loader": "True",
        "align_negatives": "batch",
        "align_dtype": "bfloat16",
        "semantic_dim": "128",
    },
}
COMMON = ["--model=LightGCN_RLMRec", "--embedding_size=32", "--train_batch_size=4096", "--learning_rate=0.001", "--n_layers=3"]
COMMON += ["--layer_combination=sum", "--edge_keep_rate=0.8", "--reg_weight=1e-6", "--reg_scope=all", "--align_weight=0.01"]
COMMON += ["--align_temperature=0.2", "--epochs=1500", "--eval_step=3", "--stopping_step=20", "--valid_metric=Recall@20"]
COMMON += ["--metrics=['Recall','NDCG']", "--topk=[5,10,20]", "--metric_decimal_place=6", "--gpu_id=", "--show_progress=False"]


def measure(name: str, seed: int, more: list[str], folder: Path) -> dict:
    """Train one setting to its early stop; returns its test result and the median seconds of an epoch."""
    result = folder / "result.json"
    options = [f"--{key}={value}" for key, value in (EXACT | CHANGES[name]).items()]
    command = [sys.executable, str(RUN), *COMMON, *options, *more, f"--seed={seed}", f"--result_file={result}"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed} failed:\n{done.stderr[-2000:]}")
    found = json.loads(result.read_text())
    return {"setting": name, "seed": seed, "epochs": found["run"]["epochs"], **found["test_result"]}


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation; 0 for a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def table(records: list[dict]) -> list[str]:
    """Markdown lines: mean and standard deviation over seeds, and the difference from exact in deviations of exact."""
    lines = ["| setting | seeds | Recall@20 | NDCG@20 | from exact |", "| --- " * 5 + "|"]
    by_name = {name: [record for record in records if record["setting"] == name] for name in CHANGES}
    exact = summary([record["recall@20"] for record in by_name["con exact"]])
    for name, found in by_name.items():
        (recall, spread), ndcg = (summary([record[metric] for record in found]) for metric in ("recall@20", "ndcg@20"))
        away = f"{(recall - exact[0]) / exact[1]:+.2f} sd" if exact[1] else ""
        figures = f"{recall:.4f} +- {spread:.4f} | {ndcg[0]:.4f} +- {ndcg[1]:.4f}"
        lines.append(f"| {name} | {len(found)} | {figures} | {away} |")
    return lines


def main() -> None:
    """Run what is missing in the JSON file, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True, help="path without suffix of the .md and .json files")
    args, rest = parser.parse_known_args()
    more = [f"{k}={Path(v).resolve()}" if k.endswith("_path") else f"{k}={v}" for k, _, v in (o.partition("=") for o in rest)]
    path = args.output.with_suffix(".json")
    records = json.loads(path.read_text()) if path.is_file() else []
    known = {(record["setting"], record["seed"]) for record in records}
    for seed in range(2020, 2020 + args.seeds):
        for name in CHANGES:
            if (name, seed) not in known:
                with tempfile.TemporaryDirectory() as folder:
                    records.append(measure(name, seed, more, Path(folder)))
                print(records[-1], file=sys.stderr, flush=True)
                path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    head = [f"`python benchmarks/quality.py {' '.join(sys.argv[1:])}`", ""]
    text = "\n".join([*head, *table(records)]) + "\n"
    print(text)
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
