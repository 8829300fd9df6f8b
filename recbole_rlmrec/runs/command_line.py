"""The command line as RecBole reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recbole_rlmrec.errors import ConfigError


def split_options(argv: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the options that are ours from those that RecBole reads from the command line itself.

    ``--key value`` is accepted for our names as well as ``--key=value``; RecBole takes the latter alone.

    Raises
    ------
    ConfigError
        An argument is no option, is given twice, or has a form that RecBole would silently drop.
    """
    ours, rest, seen = {}, [], set()
    arguments = iter(argv)
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if key in seen:
            raise ConfigError(f"--{key} is given twice; leave one of them out.")
        seen.add(key)
        if argument.startswith("--") and key in names:
            ours[key] = value if equals else next(arguments, "")
        elif not argument.startswith("--") or not equals:
            raise ConfigError(f"The argument {argument!r} is not understood; write options as --key=value.")
        elif "=" in value:
            raise ConfigError(f"The value of --{key} contains '=', which RecBole drops; put it into a --config_files file.")
        else:
            rest.append(argument)
    return ours, rest


def config_files(value: str) -> list[str]:
    """Files of ``--config_files``, separated by spaces as in RecBole; the name of a file that exists may hold spaces."""
    pieces, files = value.split(" "), []
    while pieces:
        ends = range(1, len(pieces) + 1)
        end = next((end for end in ends if Path(" ".join(pieces[:end])).is_file()), 1)
        files.append(" ".join(pieces[:end]))
        del pieces[:end]
    return [file for file in files if file]


@contextmanager
def command_line(options: Sequence[str]) -> Iterator[None]:
    """Let RecBole see these options as the command line: every ``Config`` parses ``sys.argv``, but in a notebook."""
    program = "recbole-rlmrec" if "ipykernel_launcher" in sys.argv[0] else sys.argv[0]
    before, sys.argv = sys.argv, [program, *options]
    try:
        yield
    finally:
        sys.argv = before
