"""Seconds per training epoch and peak memory, ours beside RecBole's: one process per run, in alternation.

    python benchmarks/train_speed.py --dataset=ml-100k --rows=LightGCN --output=benchmarks/results/speed_ml-100k
    python benchmarks/train_speed.py --output=benchmarks/results/train_speed

Without --dataset the data is synthetic, of Amazon-book's size in the paper, with random semantic embeddings of --width
dimensions; --dataset=rlmrec-amazon --data_path=FOLDER takes the real interactions. Other --key=value are RecBole's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pages import publish

RUN = Path(__file__).resolve().parents[1] / "run_recbole_rlmrec.py"
BACKBONES = ("LightGCN", "GCCF", "SGL", "SimGCL", "DCCF", "AutoCF")
THEIRS = ("BPR", "LightGCN", "SGL", "NGCF")
PAPER = ["--embedding_size=32", "--train_batch_size=4096", "--n_layers=3", "--learning_rate=0.001"]


@dataclass(frozen=True)
class Row:
    """One line of the table: a name, RecBole's class it is compared with, and the options of its run."""

    name: str
    compared: str | None
    options: tuple[str, ...]


def all_rows() -> list[Row]:
    """Every row: RecBole's models as they are, then ours with each alignment."""
    rows = [Row(f"RecBole {model}", model, (f"--model={model}",)) for model in THEIRS]
    for model in ("BPR", *BACKBONES):
        compared = model if model in THEIRS else None
        variants = {"none": ("--alignment=none",)}
        variants |= {f"con {n}": ("--alignment=con", f"--align_negatives={n}") for n in ("all", "batch", "2048")}
        variants |= {"con batch bf16": (*variants["con batch"], "--align_dtype=bfloat16")}
        variants |= {"con all bf16": (*variants["con all"], "--align_dtype=bfloat16")}
        variants |= {"con batch 256-d": (*variants["con batch"], "--semantic_dim=256")}
        if model != "BPR":
            variants |= {"gen": ("--alignment=gen",)}
            variants |= {"gen bf16": ("--alignment=gen", "--align_dtype=bfloat16")}
            variants |= {"gen 256-d": ("--alignment=gen", "--semantic_dim=256")}
        if model in ("BPR", "LightGCN"):
            softmax = ("--alignment=none", "--loss=softmax")
            variants |= {f"softmax {n}": (*softmax, f"--softmax_negatives={n}") for n in ("512", "batch", "all")}
        if model != "LightGCN":
            variants = {name: value for name, value in variants.items() if not name.endswith(("bf16", "256-d"))}
        rows += [Row(f"{model}_RLMRec {v}", compared, (f"--model={model}_RLMRec", *o)) for v, o in variants.items()]
    narrow = ("--semantic_dim=256",)
    for user_text in ("history", "profile"):
        texts = (f"--user_text={user_text}",)
        for kind in ("linear", "mlp"):
            options = ("--model=AlphaRec", f"--semantic_mlp={kind}", *texts)
            rows += [Row(f"AlphaRec {kind} {user_text}{name}", None, (*options, *o)) for name, o in _widths(narrow)]
        options = ("--model=LightGCN_Semantic", "--loss=softmax", *texts)
        rows += [Row(f"LightGCN_Semantic {user_text}{name}", "LightGCN", (*options, *o)) for name, o in _widths(narrow)]
    return rows


def _widths(narrow: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [("", ()), (" 256-d", narrow)]


class RandomEncoder:
    """Stands in for a text encoder: unit vectors of a given width, seeded."""

    name, needs_fit, truncated = "random", False, 0

    def __init__(self, width: int):
        self._width, self._rng = width, np.random.default_rng(0)

    def encode(self, texts):
        vectors = self._rng.standard_normal((len(texts), self._width), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def info(self) -> dict:
        return {"encoder": self.name, "revision": str(self._width)}


def synthetic(folder: Path, users: int, items: int, interactions: int) -> list[str]:
    """Write interactions with a long tail of popularity; returns the options that name them.

    Validation and test are small and not looked at.
    """
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, items + 1) ** 0.6
    n = int(interactions * 1.3)
    pairs = pd.DataFrame({"user": rng.integers(0, users, n), "item": rng.choice(items, n, p=popularity / popularity.sum())})
    pairs = pairs.drop_duplicates().head(interactions)
    seen = pd.DataFrame({"user": np.arange(users), "item": np.arange(users) % items})
    pairs = pd.concat([seen, pairs]).drop_duplicates().head(interactions)
    target = folder / "data" / "synthetic"
    target.mkdir(parents=True)
    few = pairs.sample(2000, random_state=0)
    for part, frame in {"train": pairs, "valid": few, "test": few}.items():
        frame = frame if part == "train" else frame.assign(item=(frame["item"] + 1) % items)
        frame.columns = ["user_id:token", "item_id:token"]
        frame.to_csv(target / f"synthetic.{part}.inter", sep="\t", index=False)
    return ["--dataset=synthetic", f"--data_path={folder / 'data'}", "--benchmark_filename=['train','valid','test']"]


def random_embeddings(folder: Path, options: list[str], width: int, dtype: str = "float32") -> list[str]:
    """Give every user and item of a data set a random embedding; returns the options that name them."""
    from recbole_rlmrec.data.store import Profile, ProfileStore
    from recbole_rlmrec.encoding.encode import encode_tag
    from recbole_rlmrec.runs.split import load_split

    dataset = next(option.partition("=")[2] for option in options if option.startswith("--dataset="))
    _, data, _ = load_split(dataset, [option for option in options if not option.startswith("--dataset=")])
    store = ProfileStore(folder / "semantic" / dataset / "semantic" / "random")
    for side, field in (("user", data.uid_field), ("item", data.iid_field)):
        tokens = data.field2id_token[field][1:]
        store.write(side, [Profile(str(token), f"{side} {token}", pairs=[]) for token in tokens])
    counts = {"users": data.user_num - 1, "items": data.item_num - 1}
    store.write_manifest({"dataset": dataset, "tag": "random", "by": "benchmark", "provenance": "recorded", **counts})
    encode_tag(store.folder, "random", encoder=RandomEncoder(width), dtype=dtype, show_progress=False)
    return [f"--semantic_path={folder / 'semantic'}", "--semantic_tag=random"]


def measure(row: Row, common: list[str], folder: Path) -> dict:
    """Run one row; returns the seconds of each epoch after the first and the peak of its own memory in MiB.

    Memory is what the process itself has allocated; pages of memory-mapped files are the system's to drop and do not count.
    """
    result, log = folder / "result.json", folder / "log.txt"
    result.unlink(missing_ok=True)
    command = [sys.executable, str(RUN), *row.options, *common, f"--result_file={result}"]
    peak = 0.0
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        while process.poll() is None:
            peak = max(peak, _allocated(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{row.name} failed:\n{log.read_text(encoding='utf-8')[-2000:]}")
    run = json.loads(result.read_text())["run"]
    return {"seconds": run["series"]["seconds"][1:], "memory": peak or run["peak_rss_mib"], "gpu": run["peak_gpu_mib"]}


def _allocated(pid: int) -> float:
    """MiB of anonymous memory of a process; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return float(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) / 1024
    except (OSError, AttributeError):
        return 0.0


def table(rows: list[Row], measured: dict[str, list[dict]]) -> tuple[list[str], list[dict]]:
    """Markdown lines and JSON records of the results."""
    seconds = {name: [s for m in runs for s in m["seconds"]] for name, runs in measured.items()}
    unit = {row.compared: statistics.median(seconds[row.name]) for row in rows if row.name.startswith("RecBole")}
    lines = ["| run | s/epoch | range | x RecBole's class | x RecBole's LightGCN | peak MiB |", "| --- " * 6 + "|"]
    records = []
    for row in rows:
        values, median = seconds[row.name], statistics.median(seconds[row.name])
        ratios = [median / unit[name] if name in unit else None for name in (row.compared, "LightGCN")]
        peak = max(m["memory"] for m in measured[row.name])
        shown = " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"| {row.name} | {median:.3f} | {min(values):.3f} to {max(values):.3f} | {shown} | {peak:.0f} |")
        record = {"run": row.name, "median": median, "seconds": values, "peak_mib": peak}
        records.append({**record, "ratio_own": ratios[0], "ratio_lightgcn": ratios[1], "options": row.options})
    return lines, records


def main() -> None:
    """Measure the chosen rows and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=None)
    parser.add_argument("--rows", default="", help="regular expression on the names of the rows")
    parser.add_argument("--epochs", type=int, default=6, help="per run; the first is left out")
    parser.add_argument("--rounds", type=int, default=2, help="how often the rows are gone through")
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md and .json files")
    args, rest = parser.parse_known_args()
    rows = [row for row in all_rows() if re.search(args.rows, row.name)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = [f"--dataset={args.dataset}"] if args.dataset else synthetic(folder, 11_000, 9_332, 120_464)
        data += [option if "path=" not in option else _absolute(option) for option in rest]
        if args.dataset != "ml-100k":
            data += ["--gpu_id=", *PAPER, *random_embeddings(folder, data, args.width)]
        common = ["--gpu_id=", "--show_progress=False", f"--epochs={args.epochs}", "--eval_step=100000"]
        common = list(dict.fromkeys([*common, *data]))
        measured: dict[str, list[dict]] = {row.name: [] for row in rows}
        for turn in range(args.rounds):
            for row in rows:
                measured[row.name].append(measure(row, common, folder))
                print(turn + 1, row.name, statistics.median(measured[row.name][-1]["seconds"]), file=sys.stderr, flush=True)
    lines, records = table(rows, measured)
    import torch

    machine = f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    head = [f"`python benchmarks/train_speed.py {' '.join(sys.argv[1:])}`", ""]
    head += [f"{machine}, Python {platform.python_version()}."]
    head += [f"Median seconds per epoch over {args.rounds} x {args.epochs - 1} epochs, each run's first left out.", ""]
    publish([*head, *lines], args.output, records)


def _absolute(option: str) -> str:
    key, _, value = option.partition("=")
    return f"{key}={Path(value).resolve()}"


if __name__ == "__main__":
    main()
