"""``recbole-rlmrec report``: experiments as one HTML file to look at."""

from __future__ import annotations

import argparse

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.report.build import write_report


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Write the report; returns the exit status."""
    if args.limit is not None and args.limit < 1:
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
