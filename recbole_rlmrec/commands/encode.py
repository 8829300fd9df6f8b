"""``recbole-rlmrec encode``: profiles -> semantic embeddings."""

from __future__ import annotations

import argparse
import logging

from recbole_rlmrec.commands.options import ENCODER_OPTIONS
from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.paths import dataset_root
from recbole_rlmrec.data.store import tag_folder
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.encoding.shards import parse_shard


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Encode a tag; returns the exit status."""
    folder = tag_folder(dataset_root(place(args, "semantic_path"), args.dataset) / "semantic", args.tag, args.dataset)
    settings = {name: value for name in ENCODER_OPTIONS if (value := getattr(args, name)) is not None}
    if args.no_normalize:
        settings["normalize"] = False
    shard = parse_shard(args.shard) if args.shard else None
    _show_log()
    print(encode_tag(folder, args.encoder, dtype=args.dtype, shard=shard, merge=args.merge, **settings))
    return 0


def _show_log() -> None:
    """Let a person see what is logged: what was encoded, how long a text the encoder reads, how many were cut."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name == "root" or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
