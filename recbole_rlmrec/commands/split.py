"""``recbole-rlmrec split``: draw a split once and keep it as a dataset of its own."""

from __future__ import annotations

import argparse

from recbole_rlmrec.errors import quoted
from recbole_rlmrec.experiments.cells.options import read_options
from recbole_rlmrec.runs.frozen import freeze_split


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Freeze a split with RecBole's options; prints how to use it and returns the exit status."""
    settings = read_options(options)
    model = str(settings.pop("model", "BPR"))
    split = freeze_split(args.dataset, args.name or f"{args.dataset}-split", args.output, settings, model)
    place = quoted(args.output)
    print(split)
    print(
        f"recbole-rlmrec run --dataset={quoted(split.name)} --data_path={place} --semantic_path={place} "
        f"--config_files={quoted(f'{split.folder / split.name}.yaml')}"
    )
    return 0
