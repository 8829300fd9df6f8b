"""``recbole-rlmrec run``: train and evaluate a model."""

from __future__ import annotations

import argparse

from recbole_rlmrec.runs.run import OURS, main


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Run the model; returns the exit status."""
    given = {key: getattr(args, key) for key in OURS if key != "config_files"}
    resume = ["--resume=True"] if args.resume else []
    main([*(f"--{key}={value}" for key, value in given.items() if value is not None), *resume, *options])
    return 0
