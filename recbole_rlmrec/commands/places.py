"""What the command line, and the configuration files that it names, say."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_rlmrec.data.files import read_yaml
from recbole_rlmrec.runs.command_line import config_files


def place(args: argparse.Namespace, key: str) -> str | None:
    """Value of ``data_path`` or ``semantic_path``; None where neither the command line nor a configuration file has it."""
    return getattr(args, key) if getattr(args, key) is not None else _of_files(args).get(key)


def given_options(args: argparse.Namespace, options: Sequence[str]) -> dict:
    """Options of RecBole by name: those of the configuration files, over them the command line's as text."""
    written = (option.removeprefix("--").partition("=") for option in options)
    return {**_of_files(args), **{key: value for key, _, value in written}}


def _of_files(args: argparse.Namespace) -> dict:
    found: dict = {}
    for file in config_files(args.config_files or ""):
        found |= read_yaml(Path(file))
    return found
