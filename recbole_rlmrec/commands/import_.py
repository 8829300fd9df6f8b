"""``recbole-rlmrec import``: profiles made elsewhere, a shared tag, or the authors' released data -> a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.data.atomic import atomic_files
from recbole_rlmrec.data.paths import dataset_root
from recbole_rlmrec.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("source", type=Path, help="profiles as FILE.jsonl, a tag's archive, or a released folder")
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--tag", default=None, help="name to give to the profiles (required for a .jsonl file)")
    parser.add_argument("--semantic-path", default=None, help="folder above the data set's (default: dataset/)")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Import; returns the exit status."""
    if options:
        raise DataError(f"import does not know {' '.join(options)}; see `recbole-rlmrec import --help`.")
    if not args.source.exists():
        raise DataError(f"{args.source} does not exist; give a .jsonl file, an archive or a folder.")
    root = dataset_root(args.semantic_path, args.dataset)
    if args.source.is_dir():
        from recbole_rlmrec.exchange.released import import_released

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
    if not any(path.suffix == ".inter" for path in atomic_files(root, args.dataset)) and args.dataset != "ml-100k":
        print(f"{root} holds no interactions of {args.dataset}: check the name, or say --data_path when you run it.")
    return 0
