"""``recbole-rlmrec export``: embeddings for RecBole, tables for a service, a tag or a model for other people."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.paths import dataset_root, encoder_slug, semantic_root
from recbole_rlmrec.data.store import tag_folder
from recbole_rlmrec.encoding.embeddings import list_encoders
from recbole_rlmrec.errors import ConfigError


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Export; returns the exit status."""
    _check(args)
    if args.to is not None:
        return _share(args)
    if args.checkpoint is not None:
        return _export_model(args)
    if args.archive is not None:
        from recbole_rlmrec.exchange.archive import export_archive

        print(export_archive(_tag(args), args.archive))
        return 0
    from recbole_rlmrec.exchange.preload import export_embeddings
    from recbole_rlmrec.runs.split import load_split

    config, data, splits = load_split(args.dataset, options)
    folder = tag_folder(semantic_root(config), args.tag, args.dataset)
    settings = export_embeddings(config, data, splits[0], _find_encoder(folder, args.encoder), args.output)
    print(settings)
    print(settings.read_text(encoding="utf-8"), end="")
    return 0


def _check(args: argparse.Namespace) -> None:
    if (args.dataset is None) == (args.checkpoint is None):
        raise ConfigError(
            "export needs --dataset NAME for profiles and embeddings, or --checkpoint FILE for a model, one of them."
        )
    if args.checkpoint is None and args.index is not None:
        raise ConfigError("--index is of the items of a model: name it with --checkpoint.")
    if args.until is not None and (args.checkpoint is None or args.to is not None):
        raise ConfigError("--until is of the tables of a sequential model: name it with --checkpoint and --output.")
    if args.checkpoint is not None and args.archive is not None:
        raise ConfigError("--archive is of a tag: name its --dataset and --tag, without --checkpoint.")
    if args.checkpoint is not None and args.to is None and args.output is None:
        raise ConfigError("The tables of a model need a folder: --output FOLDER.")
    if args.to is None and (args.yes or args.public):
        raise ConfigError("--yes and --public belong to --to hf://...")
    if args.to is not None and any(value is not None for value in (args.output, args.archive, args.index)):
        raise ConfigError("--to shares a tag or a model as it is; leave --output, --archive and --index out.")


def _export_model(args: argparse.Namespace) -> int:
    from recbole_rlmrec.exchange.serving import AT, export_tables
    from recbole_rlmrec.runs.trained import PLACES, TrainedOnSequences, load_trained

    trained = load_trained(args.checkpoint, {key: value for key in PLACES if (value := place(args, key))})
    if args.until is not None:
        if not isinstance(trained, TrainedOnSequences):
            raise ConfigError(f"{trained.config['model']} ranks by no sequences; leave --until out.")
        trained = trained.until(args.until)
    if trained.later is not None and trained.later.gained:
        print(f"{trained.later.sentence}; the tables have those whom training knew.")
    about = export_tables(trained, args.output, args.format, args.index)
    print(f"{args.output}: {about['users']:,} users and {about['items']:,} items, {about['dim']} dimensions, as {args.format}")
    if index := about.get("index"):
        recall, took = index[f"recall@{AT}"], index["milliseconds_per_query"]
        print(f"{index['file']}: {index['kind']}, recall@{AT} {recall:.4f} of {index['queries']:,} users, {took:.3f} ms each")
    return 0


def _share(args: argparse.Namespace) -> int:
    """Say what would be uploaded, and with ``--yes`` upload it."""
    from recbole_rlmrec.exchange.hub import model_files, parse_address, share, tag_files

    address = parse_address(args.to, "model" if args.checkpoint is not None else "dataset")
    with tempfile.TemporaryDirectory(prefix="recbole-rlmrec-") as folder:
        if args.checkpoint is not None:
            files = model_files(args.checkpoint, Path(folder))
        else:
            files = tag_files(_tag(args), Path(folder))
        for name, path in files.items():
            print(f"{name}: {path.stat().st_size:,} bytes")
        if not args.yes:
            kind = "public" if args.public else "private"
            print(f"Nothing has been uploaded. --yes sends these to {address}; where there is none, it is made, {kind}.")
            print(files["README.md"].read_text(encoding="utf-8"), end="")
            return 0
        print(share(address, files, args.public))
    return 0


def _tag(args: argparse.Namespace) -> Path:
    root = dataset_root(place(args, "semantic_path"), args.dataset) / "semantic"
    return tag_folder(root, args.tag, args.dataset)


def _find_encoder(folder: Path, encoder: str | None) -> Path:
    there = list_encoders(folder)
    slug = encoder_slug(encoder, folder / "embeddings") if encoder is not None else there[0] if len(there) == 1 else None
    if slug not in there:
        raise ConfigError(f"Say with --encoder whose embeddings of {folder.name}; there are: {', '.join(there) or 'none'}.")
    return folder / "embeddings" / slug
