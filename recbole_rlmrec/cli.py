"""The command ``recbole-rlmrec``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from recbole_rlmrec import __version__
from recbole_rlmrec.errors import guarded

COMMANDS = {
    "doctor": "say what is installed, which data sets and profiles are there, and what is missing",
    "convert": "make a data set out of CSV, Parquet, JSON lines or a database",
    "import": "take profiles, or the data that the RLMRec authors publish, into a data set",
    "profile": "let a chat model write profiles of items and users",
    "encode": "turn profiles into semantic embeddings",
    "show": "print a profile with its reasoning and the history it quotes",
    "export": "give embeddings to other models of RecBole, or a tag to other people",
    "split": "draw a split once and keep it as a data set of its own",
    "recommend": "the top items of some or all users, by a trained model",
    "experiment": "the experiments of the paper on any data set",
    "report": "experiments as one HTML file to look at",
    "benchmark": "a benchmark page from the stored results of experiments",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``recbole-rlmrec``; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] == "run":
        return run_model(arguments[1:])
    parser = argparse.ArgumentParser(prog="recbole-rlmrec", description="RLMRec for RecBole.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"recbole-rlmrec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="train and evaluate a model, as run_recbole_rlmrec.py does")
    name = arguments[0] if arguments else None
    for command, summary in COMMANDS.items():
        sub = commands.add_parser(command, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False)
        if command == name:
            module = importlib.import_module(f"recbole_rlmrec.commands.{_module_name(command)}")
            module.add_arguments(sub)
    args, options = parser.parse_known_args(arguments)
    return guarded(lambda: module.run(args, options))


def run_model(argv: Sequence[str] | None = None) -> int:
    """Train and evaluate a model and print where the result is; returns the exit status."""
    from recbole_rlmrec.runs.run import USAGE, main as run

    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    return guarded(lambda: run(arguments) and 0)


def _module_name(command: str) -> str:
    return {"import": "import_"}.get(command, command)


if __name__ == "__main__":
    raise SystemExit(main())
