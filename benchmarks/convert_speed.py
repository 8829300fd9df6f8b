"""CPU time and memory of `recbole-rlmrec convert` as the rows grow.

    python benchmarks/convert_speed.py [--rows 100000,1000000] [--output benchmarks/results/convert_speed]

Synthetic CSV as pandas writes it: user, item, rating, ISO date, and a review of some 20 words with commas, quotation marks and
line breaks. Each conversion is a process of its own, measured from its start.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pages import publish

WORDS = ["good", "bad", "it, was", 'the "best"', "one\nline", "of", "a", "pot", "that", "holds"]


def write_csv(path: Path, rows: int) -> None:
    """Write a CSV of so many interactions, a hundred thousand at a time."""
    rng = np.random.default_rng(5)
    start = np.datetime64("2024-01-01T00:00:00")
    for first in range(0, rows, 100_000):
        n = min(100_000, rows - first)
        part = pd.DataFrame(
            {
                "customer": rng.integers(0, max(rows // 10, 1), n),
                "product": [f"P{number}" for number in rng.integers(0, max(rows // 20, 1), n)],
                "rating": rng.integers(1, 11, n) / 2,
                "date": (start + rng.integers(0, 10**7, n).astype("timedelta64[s]")).astype(str),
                "review": [" ".join(words) for words in rng.choice(WORDS, (n, 20))],
            }
        )
        part.to_csv(path, mode="a" if first else "w", header=not first, index=False)


def measure(command: list[str], folder: str) -> tuple[float, float, str]:
    """CPU seconds and peak memory in MB of a command, and what it printed."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, said


def main() -> None:
    """Measure each size and write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,1000000")
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md file")
    args = parser.parse_args()
    lines = [f"`python benchmarks/convert_speed.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"Python {platform.python_version()}, pyarrow {pyarrow.__version__}, pandas {pd.__version__}.", ""]
    lines += ["| rows | CSV, MB | CPU, s | peak memory, MB |", "| --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        for rows in map(int, args.rows.split(",")):
            path = Path(folder) / "orders.csv"
            write_csv(path, rows)
            command = [sys.executable, "-m", "recbole_rlmrec", "convert", "orders.csv", "--dataset", f"shop{rows}"]
            seconds, memory, said = measure(command, folder)
            assert f"{rows:,} interactions" in said, said
            lines.append(f"| {rows:,} | {path.stat().st_size / 1e6:.0f} | {seconds:.1f} | {memory:.0f} |")
    publish(lines, args.output)


if __name__ == "__main__":
    main()
