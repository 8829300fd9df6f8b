"""Every way to use texts beside the best recommender without, on one data set: search, comparison, shuffled control.

    python benchmarks/where_text_wins.py yelp-xrec-sparse --data_path=FOLDER --output=FOLDER

Three steps of the command line, printed before they run and resumed when run again: the same number of trials and of choices
for every variant, hopeless ones ended early, on the first seed; five seeds with what the search found; con, semantic and
alpharec once more with the texts of others. The items' texts are their LLM profile where there is one, behind the columns of
.item that TEXTS names; users' profiles are those of the data set. LightGCN, MiniLM; training items masked at test.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

VARIANTS = "base,softmax,con,gen,darec,kar,init,semantic,alpharec"
TEXTS = {  # columns of .item that stand before the profile
    "yelp-xrec-sparse": [],
    "yelp-xrec": [],
    "dbbook-llama3": ["title", "author", "genre", "series", "subject", "description"],
    "amazon-office": ["title", "brand", "description"],
    "goodreads-once": ["title"],
    "ml-100k-llm": [],
    "mind-reclm": ["title", "abstract"],
}
PROFILES = {"yelp-xrec-sparse": "yelp-xrec"}  # whose profiles a data set shares
RUN = [
    "--benchmark_filename=['train','valid','test']",
    "--test_mask=train",
    "--topk=[20]",
    "--epochs=90",
    "--eval_step=3",
    "--stopping_step=8",
    "--gpu_id=",
]


def profiles(folder: Path) -> list[dict]:
    """Profiles of users as they are, and of items with the columns before them; lines of an import file."""
    written_for = folder.with_name(PROFILES.get(folder.name, folder.name))
    known = {side: _lines(written_for / f"{side}_profiles.jsonl") for side in ("user", "item")}
    header, *rows = (folder / f"{folder.name}.item").read_text(encoding="utf-8").rstrip("\n").split("\n")
    names = [column.split(":")[0] for column in header.split("\t")]
    written = {str(line["item_id"]): line["profile"] for line in known["item"]}
    lines = []
    for row in rows:
        values = dict(zip(names, row.split("\t")))
        parts = [f"{name}: {values[name]}" for name in TEXTS[folder.name] if values.get(name)]
        text = ". ".join(part for part in (*parts, written.get(values["item_id"])) if part)
        lines += [{"item_id": values["item_id"], "profile": text}] * bool(text)
    return lines + known["user"]


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def command(*words: str) -> None:
    """Print a sub-command of recbole-rlmrec and run it; end where it fails."""
    print("recbole-rlmrec", shlex.join(words), flush=True)
    if code := subprocess.run([sys.executable, "-W", "ignore", "-m", "recbole_rlmrec", *words]).returncode:
        sys.exit(code)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=TEXTS)
    parser.add_argument("--data_path", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--models", default="LightGCN")
    parser.add_argument("--variants", default=VARIANTS)
    parser.add_argument("--trials", default="16")
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--embedding_size", default="64")
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="or a folder with a model")
    args, more = parser.parse_known_args()  # what else experiment takes: --trust-cells, --epochs=60 in place of RUN's
    args.output.mkdir(parents=True, exist_ok=True)
    semantic = ["--dataset", args.dataset, "--semantic_path", str(args.output), "--data_path", str(args.data_path)]
    tag = args.output / args.dataset / "semantic" / "texts"
    if not tag.is_dir():
        source = args.output / f"{args.dataset}.jsonl"
        lines = [json.dumps(line) for line in profiles(args.data_path / args.dataset)]
        source.write_text("\n".join(lines), encoding="utf-8")
        command("import", str(source), *semantic, "--tag", "texts")
    command("encode", *semantic, "--tag", "texts", "--encoder", args.encoder)
    place = args.output / f"{args.dataset}-{args.models}-{args.embedding_size}"
    options = ["--models", args.models, "--output", str(place), "--jobs", args.jobs, "--semantic_tag", "texts"]
    given = {word.split("=")[0] for word in more}
    run = [word for word in RUN if word.split("=")[0] not in given]
    options += [*semantic, f"--embedding_size={args.embedding_size}", *run, *more]
    best = ["--params", str(place / "tune" / "best.yaml")]
    command("experiment", "tune", "--variants", args.variants, "--trials", args.trials, "--prune", *options)
    command("experiment", "compare", "--variants", args.variants, "--seeds", args.seeds, *best, *options)
    with_text = ",".join(name for name in ("con", "semantic", "alpharec") if name in args.variants.split(","))
    if with_text:
        command("experiment", "ablation", "--kinds", "shuffled", "--variants", with_text, "--seeds", "3", *best, *options)


if __name__ == "__main__":
    main()
