"""``recbole-rlmrec similar``: items like an item, by behaviour, by text, or by both."""

from __future__ import annotations

import argparse
import sys

import torch

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.commands.recommend import read_ids
from recbole_rlmrec.data.files import file_digest
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.runs.list_files import Form, digest, texts, write_lists
from recbole_rlmrec.runs.lists import profile_digests
from recbole_rlmrec.runs.similar import item_ids, similar
from recbole_rlmrec.runs.trained import PLACES, load_trained
from recbole_rlmrec.runs.unseen import semantic_tag


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print or write the similar items; returns the exit status."""
    if args.topk < 1:
        raise ConfigError(f"--topk is the number of items per item, 1 or more, not {args.topk}.")
    if not (args.item or args.all_items):
        raise ConfigError("similar needs to know to which: --item ID or --all-items.")
    if args.format == "parquet" and args.output is None:
        raise ConfigError("--format parquet is no text for the screen; name a file with --output.")
    trained = load_trained(args.checkpoint, {key: value for key in PLACES if (value := place(args, key))})
    for option in ("tag", "encoder"):
        if getattr(args, option) is not None:
            trained.config[f"semantic_{option}"] = getattr(args, option)
    if args.all_items:
        items = torch.arange(1, trained.n_items)
    else:
        items = item_ids(trained, read_ids(args.item, "--item", trained.tokens("item")))
    form = Form(args.format, of="item")
    if args.output is None:
        for text in texts(similar(trained, items, args.by, args.topk), form):
            sys.stdout.write(text)
        return 0
    said = (args.by, args.topk, args.format, args.tag, args.encoder)
    if args.by != "behaviour":
        trained.config["semantic_tag"] = semantic_tag(trained)
    known = sorted(trained.titles.items()), profile_digests(trained)
    made_of = digest(file_digest(args.checkpoint), said, items.numpy().tobytes(), *known)
    write_lists(args.output, items, lambda some: similar(trained, some, args.by, args.topk), form, made_of)
    print(f"{args.output}: {args.topk} similar items of {len(items)} items, by {args.by}")
    return 0
