"""The command line: an option of ours or of RecBole in either spelling, ``--data-path`` or ``--data_path``, its value after
``=`` or a space.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from recbole_rlmrec.data.properties import is_option, options_with_default
from recbole_rlmrec.errors import ConfigError

GROUPS = (
    "data",
    "profiles",
    "encoder",
    "chat model",
    "prompts",
    "pace and failures",
    "money",
    "model",
    "recommendations",
    "experiment",
    "processes",
    "output",
    "RecBole",
)
SPELLING = "--data-path and --data_path are the same option; a value comes after a space or =."

# Declared options that RecBole, or its Config as this package extends it, reads as well.
OF_RECBOLE = ("config_files", "data_path", "semantic_path", "semantic_tag", "semantic_encoder")


class Parser(argparse.ArgumentParser):
    """Parser of one command, whose groups of options come in the same order for every command."""

    def __init__(self, prog: str, summary: str):
        description = f"{summary[0].upper()}{summary[1:]}."
        super().__init__(prog=prog, description=description, epilog=SPELLING, allow_abbrev=False)
        self._titled = {title: self.add_argument_group(title) for title in GROUPS}

    def group(self, title: str, description: str | None = None):
        """Group of a title, one of ``GROUPS``."""
        group = self._titled[title]
        group.description = description or group.description
        return group

    @property
    def declared(self) -> dict[str, argparse.Action]:
        """Actions by what they are called on the command line, with dashes."""
        return dict(self._option_string_actions)

    @property
    def takes_words(self) -> bool:
        """Whether the command takes arguments that are no options."""
        return any(not action.option_strings for action in self._actions)


class CommandLine(NamedTuple):
    """What was read.

    Attributes
    ----------
    args : Namespace
        Values of the declared options.
    shared : dict of str to str
        Those of them that RecBole reads as well, as they were written.
    recbole : dict of str to str
        Options of RecBole that the command does not declare.
    """

    args: argparse.Namespace
    shared: dict[str, str]
    recbole: dict[str, str]

    @property
    def options(self) -> list[str]:
        """Everything for RecBole as ``--key=value``, the one form that it reads."""
        return [f"--{key}={value}" for key, value in {**self.shared, **self.recbole}.items()]


def read_command_line(
    parser: Parser, argv: Sequence[str], commands_with: Callable[[str], Sequence[str]] = lambda option: ()
) -> CommandLine:
    """Read the arguments of a command.

    Parameters
    ----------
    parser : Parser
    argv : sequence of str
        After the name of the command.
    commands_with : callable
        Names of the commands that declare an option, for the sentence about one that is unknown here.

    Raises
    ------
    ConfigError
        An option is unknown, is given twice, lacks its value, or an argument is no option.
    """
    declared = parser.declared
    tokens, written, words = deque(argv), [], []
    shared: dict[str, str] = {}
    recbole: dict[str, str] = {}
    seen: set[str] = set()
    while tokens:
        token = tokens.popleft()
        if token == "--":
            words += tokens
            break
        if not _is_option(token):
            words.append(token)
            continue
        name, value = _parts(token)
        action = declared.get(name)
        key = action.dest if action else _key(name)
        if action is None and (not name.startswith("--") or not is_option(key)):
            raise ConfigError(_unknown(parser, name, commands_with(name)))
        if key in seen and not isinstance(action, argparse._AppendAction):
            raise ConfigError(f"{name if action else f'--{key}'} is given twice; leave one of them out.")
        seen.add(key)
        if action is not None and action.nargs == 0:
            written += [name] if value is None or _truth(name, value) else []
            continue
        if value is None:
            value = _next_value(name, tokens, declared)
        if action is None:
            recbole[key] = value
            continue
        written.append(f"{_long(action)}={value}")
        if key in OF_RECBOLE:
            shared[key] = value
    if words and not parser.takes_words:
        raise ConfigError(
            f"The argument {words[0]!r} is not understood; write options as --key=value or --key value, and a value that has "
            "spaces in quotes."
        )
    return CommandLine(parser.parse_args([*written, *(["--", *words] if words else [])]), shared, recbole)


def _is_option(token: str) -> bool:
    """Whether an argument is an option: two dashes, or one and a letter; ``-5`` and ``-`` are values."""
    return re.match(r"--|-[A-Za-z]", token) is not None


def _parts(token: str) -> tuple[str, str | None]:
    """Name of an option with dashes, and the value that is written together with it."""
    if not token.startswith("--"):
        return token[:2], token[2:].removeprefix("=") or None
    name, equals, value = token.partition("=")
    return name.replace("_", "-"), value if equals else None


def _key(name: str) -> str:
    """Name of an option as RecBole writes it, ``data_path``."""
    return name.lstrip("-").replace("-", "_")


def _next_value(name: str, tokens: deque[str], declared: dict) -> str:
    if not tokens or tokens[0].startswith("--") or tokens[0] in declared:
        raise ConfigError(f"{name} needs a value: {name} VALUE, or {name}=VALUE where it starts with two dashes or is empty.")
    return tokens.popleft()


def _long(action: argparse.Action) -> str:
    return next(name for name in action.option_strings if name.startswith("--"))


def _truth(name: str, value: str) -> bool:
    try:
        return {"true": True, "false": False}[value.lower()]
    except KeyError:
        raise ConfigError(f"{name} is a switch: write {name} alone, or {name}=True or {name}=False, not {value!r}.") from None


def _unknown(parser: Parser, name: str, elsewhere: Sequence[str]) -> str:
    command = parser.prog.partition(" ")[2]
    if elsewhere:
        return f"{name} is no option of {command}, but of {' and '.join(elsewhere)}; see `{parser.prog} --help`."
    spelled = {key: f"--{key}" for key in options_with_default()} | {_key(option): option for option in parser.declared}
    near = difflib.get_close_matches(_key(name), sorted(spelled), n=3, cutoff=0.7)
    if near:
        return f"There is no option {name}; did you mean {' or '.join(spelled[key] for key in near)}?"
    return f"There is no option {name}, neither here nor in RecBole; see `{parser.prog} --help`."
