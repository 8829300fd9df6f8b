"""``recbole-rlmrec benchmark``: a benchmark page from the stored results of experiments."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folders of compare and tune")
    parser.add_argument("-o", "--output", required=True, type=Path, help="page to write, Markdown")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Write the page; returns the exit status."""
    from recbole_rlmrec.data.files import replacing
    from recbole_rlmrec.experiments.results.benchmark import benchmark_page, read_benchmark

    if options:
        raise ConfigError(f"benchmark does not know {' '.join(options)}; see `recbole-rlmrec benchmark --help`.")
    page = benchmark_page(read_benchmark(args.folders))
    with replacing(args.output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(args.output)
    return 0
