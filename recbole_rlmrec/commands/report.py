"""``recbole-rlmrec report``: experiments as one HTML file to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folders, --output of experiments")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="file to write (default: report.html)")
    parser.add_argument("--model", help="backbone of map and profile browser (default: one whose trained models were kept)")
    parser.add_argument("--projection", choices=("tsne", "pca"), default="tsne", help="of the map (default: tsne)")
    parser.add_argument("--limit", type=int, default=2000, help="users and items in the browser, of each (default: 2000)")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Write the report; returns the exit status."""
    from recbole_rlmrec.report.build import write_report

    if options:
        raise ConfigError(f"report does not know {' '.join(options)}; see `recbole-rlmrec report --help`.")
    if args.limit < 1:
        raise ConfigError(f"--limit is 1 or more, not {args.limit}.")
    if args.output.is_dir():
        raise ConfigError(f"{args.output} is a folder; say which file with -o, for example {args.output / 'report.html'}.")
    missing = write_report(args.folders, args.output, args.model, args.projection, args.limit)
    for one in missing:
        print(f"not in the report: {one.what}, because {one.why}.")
        if one.command:
            print(f"  {one.command}")
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, opens in any browser without network.")
    return 0
