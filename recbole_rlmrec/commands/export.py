"""``recbole-rlmrec export``: semantic embeddings as RecBole's atomic files, or a whole tag as one archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.paths import dataset_root, encoder_slug, semantic_root
from recbole_rlmrec.data.store import tag_folder
from recbole_rlmrec.encoding.embeddings import list_encoders
from recbole_rlmrec.errors import ConfigError


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Export; returns the exit status."""
    if args.archive is not None:
        from recbole_rlmrec.exchange.archive import export_archive

        root = dataset_root(place(args, "semantic_path"), args.dataset) / "semantic"
        print(export_archive(tag_folder(root, args.tag, args.dataset), args.archive))
        return 0
    from recbole_rlmrec.exchange.preload import export_embeddings
    from recbole_rlmrec.runs.split import load_split

    config, data, splits = load_split(args.dataset, options)
    folder = tag_folder(semantic_root(config), args.tag, args.dataset)
    settings = export_embeddings(config, data, splits[0], _find_encoder(folder, args.encoder), args.output)
    print(settings)
    print(settings.read_text(encoding="utf-8"), end="")
    return 0


def _find_encoder(folder: Path, encoder: str | None) -> Path:
    there = list_encoders(folder)
    slug = encoder_slug(encoder, folder / "embeddings") if encoder is not None else there[0] if len(there) == 1 else None
    if slug not in there:
        raise ConfigError(f"Say with --encoder whose embeddings of {folder.name}; there are: {', '.join(there) or 'none'}.")
    return folder / "embeddings" / slug
