"""``recbole-rlmrec encode``: profiles -> semantic embeddings."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.paths import dataset_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--tag", required=True, help="which profiles")
    parser.add_argument("--encoder", required=True, help="lsa, or a sentence-transformers model or folder")
    parser.add_argument("--semantic-path", default=None, help="folder above the data set's (default: dataset/)")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:0 ... (default: the library's choice)")
    parser.add_argument("--batch-size", type=int, default=32, help="texts per batch (default: 32)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="type of the stored matrix")
    parser.add_argument("--no-normalize", action="store_true", help="keep the length of the embeddings")
    parser.add_argument("--prompt", default=None, help="instruction put before each text (E5, Instructor, ...)")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Encode a tag; returns the exit status."""
    from recbole_rlmrec.encoding.encode import encode_tag

    if options:
        raise SemanticError(f"encode does not know {' '.join(options)}; see `recbole-rlmrec encode --help`.")
    folder = dataset_root(args.semantic_path, args.dataset) / "semantic" / args.tag
    settings = {"dtype": args.dtype}
    if args.encoder != "lsa":
        settings |= {
            "device": args.device,
            "batch_size": args.batch_size,
            "normalize": not args.no_normalize,
            "prompt": args.prompt,
        }
    print(encode_tag(Path(folder), args.encoder, **settings))
    return 0
