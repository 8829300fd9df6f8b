"""Where the command line, or the configuration files that it names, say that things lie."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.data.files import read_yaml


def place(args: argparse.Namespace, key: str) -> str | None:
    """Value of ``data_path`` or ``semantic_path``; None where neither the command line nor a configuration file has it."""
    if getattr(args, key) is not None:
        return getattr(args, key)
    named: dict = {}
    for file in (args.config_files or "").split():
        named |= read_yaml(Path(file))
    return named.get(key)
