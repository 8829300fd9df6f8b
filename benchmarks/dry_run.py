"""What `recbole-rlmrec profile --dry-run` costs as the data grows: CPU-seconds and peak memory of the whole command.

    python benchmarks/dry_run.py --entities=10000,100000,300000 --output=benchmarks/results/dry_run.md

Synthetic data with text (synthetic_data.py): two users to an item, ten interactions for each entity. The last line
has a review in each interaction.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import ROOT, publish
from synthetic_data import write_dataset

PROBE = r"""
import json, resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module("recbole_rlmrec", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code, ended.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "MiB": used.ru_maxrss / 1024}))
"""


def measure(folder: Path, more: list[str]) -> dict:
    """Run the command in a process of its own."""
    options = ["--dataset=shop", f"--data_path={folder}", f"--semantic_path={folder}", "--tag=t", "--chat-model=gpt-4o-mini"]
    command = [sys.executable, "-c", PROBE, "recbole-rlmrec", "profile", *options, "--dry-run", *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    if answer.returncode:
        raise SystemExit(answer.stderr[-2000:])
    lines = answer.stdout.splitlines()
    total = next(line for line in lines if line.startswith(" total"))
    return {**json.loads(lines[-1]), "tokens": total.split(" requests, ")[1].split(" prompt")[0]}


def main() -> None:
    """Measure each size and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", default="10000,100000,300000")
    parser.add_argument("--reviews", type=int, default=20, help="words of a review in the last line")
    parser.add_argument("--reviews-at", type=int, default=100_000, help="entities of the last line")
    parser.add_argument("--exact", action="store_true", help="measure --exact, too")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    lines = [f"`python benchmarks/dry_run.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"Python {platform.python_version()}, one thread; CPU-seconds of user and system with all imports, peak memory."]
    lines += ["", "| users | items | text, MB | | CPU, s | ms per entity | peak, MiB | prompt tokens |", "| --- " * 8 + "|"]
    sizes = list(map(int, args.entities.split(",")))
    for size, review in [*((size, 0) for size in sizes), (args.reviews_at, args.reviews)]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            users, items = 2 * size // 3, size // 3
            write_dataset(folder / "shop", users, items, 10 * size, review_words=review)
            text = sum(path.stat().st_size for path in (folder / "shop").iterdir()) / 1e6
            for option in [[], *([["--exact"]] if args.exact else [])]:
                found = measure(folder, option)
                print(size, review, option, found, file=sys.stderr, flush=True)
                each = f"{found['cpu']:.1f} | {1000 * found['cpu'] / size:.2f} | {found['MiB']:,.0f} | {found['tokens']}"
                lines.append(f"| {users:,} | {items:,} | {text:,.0f} | {' '.join(option)} | {each} |")
    publish(lines, args.output)


if __name__ == "__main__":
    main()
