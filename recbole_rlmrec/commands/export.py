"""``recbole-rlmrec export``: semantic embeddings as RecBole's atomic files, or a whole tag as one archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.data.paths import dataset_root, encoder_slug, semantic_root
from recbole_rlmrec.data.store import tag_folder
from recbole_rlmrec.encoding.embeddings import list_encoders
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.exchange.preload import export_embeddings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command; RecBole's own are given as ``--key=value`` beside them."""
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--tag", help="which profiles (default: the only ones)")
    parser.add_argument("--encoder", help="whose embeddings (default: the only ones)")
    parser.add_argument("--output", type=Path, help="folder for NAME.useremb and NAME.itememb (default: beside NAME.inter)")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="write the whole tag into FILE.tar.gz instead")
    parser.add_argument("--semantic-path", default=None, help="with --archive: folder above the data set's (default: dataset/)")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Export; returns the exit status."""
    if args.archive is not None:
        from recbole_rlmrec.exchange.archive import export_archive

        if options:
            raise ConfigError(f"export --archive does not know {' '.join(options)}; it takes the tag as it is.")
        root = dataset_root(args.semantic_path, args.dataset) / "semantic"
        print(export_archive(tag_folder(root, args.tag, args.dataset), args.archive))
        return 0
    from recbole_rlmrec.runs.split import load_split

    config, data, _ = load_split(args.dataset, options)
    folder = tag_folder(semantic_root(config), args.tag, args.dataset)
    settings = export_embeddings(config, data, _find_encoder(folder, args.encoder), args.output)
    print(settings)
    print(settings.read_text(encoding="utf-8"), end="")
    return 0


def _find_encoder(folder: Path, encoder: str | None) -> Path:
    there = list_encoders(folder)
    slug = encoder_slug(encoder, folder / "embeddings") if encoder is not None else there[0] if len(there) == 1 else None
    if slug not in there:
        raise ConfigError(f"Say with --encoder whose embeddings of {folder.name}; there are: {', '.join(there) or 'none'}.")
    return folder / "embeddings" / slug
