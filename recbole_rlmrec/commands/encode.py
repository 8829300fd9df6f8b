"""``recbole-rlmrec encode``: profiles -> semantic embeddings."""

from __future__ import annotations

import argparse
import logging

from recbole_rlmrec.data.paths import dataset_root
from recbole_rlmrec.errors import ConfigError

ENCODERS = """lsa (offline, fitted to the profiles); a model of sentence-transformers, by name or folder; openai:MODEL for a
server with OpenAI's /embeddings. An option that an encoder does not have is refused."""
OPTIONS = {
    "device": (str, "where it runs: cpu, cuda, cuda:0, or several as cuda:0,cuda:1"),
    "batch_size": (int, "texts per batch or request"),
    "precision": (str, "type it computes in: float32, float16 or bfloat16"),
    "prompt": (str, "instruction put before each text (E5, Instructor, ...)"),
    "dim": (int, "size of LSA's embeddings"),
    "base_url": (str, "address of the server, https://HOST/v1"),
    "api_key_env": (str, "environment variable that holds the server's key"),
    "concurrency": (int, "requests in flight"),
    "patience": (float, "minutes without one answer after which it gives up (default: 10)"),
    "dimensions": (int, "size asked of models that can shorten their embeddings"),
    "max_tokens": (int, "longest text that the server's model reads"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--tag", required=True, help="which profiles")
    parser.add_argument("--encoder", required=True, help=ENCODERS)
    parser.add_argument("--semantic-path", default=None, help="folder above the data set's (default: dataset/)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="type of the stored matrix")
    parser.add_argument("--no-normalize", action="store_true", help="keep the length of the embeddings")
    for name, (kind, summary) in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None, help=summary)


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Encode a tag; returns the exit status."""
    from recbole_rlmrec.data.store import tag_folder
    from recbole_rlmrec.encoding.encode import encode_tag

    if options:
        raise ConfigError(f"encode does not know {' '.join(options)}; see `recbole-rlmrec encode --help`.")
    folder = tag_folder(dataset_root(args.semantic_path, args.dataset) / "semantic", args.tag, args.dataset)
    settings = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    if args.no_normalize:
        settings["normalize"] = False
    _show_log()
    print(encode_tag(folder, args.encoder, dtype=args.dtype, **settings))
    return 0


def _show_log() -> None:
    """Let a person see what is logged: what was encoded, how long a text the encoder reads, how many were cut."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name == "root" or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
