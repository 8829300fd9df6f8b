"""``recbole-rlmrec benchmark``: a benchmark page from the stored results of experiments."""

from __future__ import annotations

import argparse

from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.data.reading import understanding
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.experiments.results.benchmark import benchmark_page, read_benchmark


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Write the page; returns the exit status."""
    with understanding(StoreError, f"What {', '.join(map(str, args.folders))} holds", "call the experiment again"):
        page = benchmark_page(read_benchmark(args.folders))
    with replacing(args.output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(args.output)
    return 0
