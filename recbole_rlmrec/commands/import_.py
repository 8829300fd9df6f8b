"""``recbole-rlmrec import``: profiles made elsewhere, a shared tag, or the authors' released data -> a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.atomic import atomic_files
from recbole_rlmrec.data.paths import dataset_root
from recbole_rlmrec.errors import ConfigError, DataError


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Import; returns the exit status."""
    if args.source.startswith("hf://"):
        return _fetch(args)
    args.source = Path(args.source)
    if not args.source.exists():
        raise DataError(f"{args.source} does not exist; give a .jsonl file, an archive or a folder.")
    semantic_path, data_path = place(args, "semantic_path"), place(args, "data_path")
    root = dataset_root(semantic_path, args.dataset)
    if args.source.is_dir():
        from recbole_rlmrec.exchange.released import import_released

        root = dataset_root(_one_folder(semantic_path, data_path), args.dataset)
        summary = import_released(args.source, root.parent, args.dataset)
    elif args.source.name.endswith((".tar.gz", ".tgz")):
        from recbole_rlmrec.exchange.archive import import_archive

        summary = import_archive(args.source, root / "semantic", args.dataset, args.tag)
    else:
        if not args.tag:
            raise DataError("Profiles need a name; add --tag, for example --tag=gpt.")
        from recbole_rlmrec.exchange.profiles import import_profiles

        summary = import_profiles(args.source, root / "semantic", args.dataset, args.tag)
    print(summary)
    data = dataset_root(data_path, args.dataset) if data_path else root
    if not any(path.suffix == ".inter" for path in atomic_files(data, args.dataset)) and args.dataset != "ml-100k":
        print(f"{data} holds no interactions of {args.dataset}: check the name, or say --data_path when you run it.")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    """Take what was shared at the hub."""
    from recbole_rlmrec.exchange.hub import fetch_model, fetch_tag, parse_address

    address = parse_address(args.source)
    if address.kind == "model":
        if args.tag is not None:
            raise ConfigError(f"{address} is a model, which has no tag; leave --tag out, or write hf://datasets/OWNER/NAME.")
        print(fetch_model(address, Path("saved"), args.dataset))
    else:
        print(fetch_tag(address, dataset_root(place(args, "semantic_path"), args.dataset) / "semantic", args.dataset, args.tag))
    return 0


def _one_folder(semantic_path: str | None, data_path: str | None) -> str | None:
    """Folder for atomic files and profiles, which the released data has in one.

    Raises
    ------
    ConfigError
        Two are named.
    """
    if semantic_path and data_path and Path(semantic_path) != Path(data_path):
        raise ConfigError("The released data goes into one folder: give --data_path alone, or the same to --semantic_path.")
    return data_path or semantic_path
