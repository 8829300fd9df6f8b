"""The command ``recbole-rlmrec``."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence

from recbole_rlmrec import __version__
from recbole_rlmrec.commands.experiment_options import EXPERIMENTS
from recbole_rlmrec.commands.options import COMMANDS, Command, add_recbole
from recbole_rlmrec.commands.parser import SPELLING, CommandLine, Parser, read_command_line
from recbole_rlmrec.errors import ConfigError, guarded

PROG = "recbole-rlmrec"
SUMMARIES = {
    **{name: command.summary for name, command in COMMANDS.items()},
    "experiment": "the experiments of the paper on any data set",
}
HELP = ("-h", "--help")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``recbole-rlmrec``; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: execute(arguments))


def run_model(argv: Sequence[str] | None = None) -> int:
    """Train and evaluate a model, ``recbole-rlmrec run``; returns the exit status."""
    return main(["run", *(sys.argv[1:] if argv is None else argv)])


def execute(argv: Sequence[str]) -> int:
    """Run a command; what a person can act on is raised.

    Parameters
    ----------
    argv : sequence of str
        Name of the command, then its arguments.

    Returns
    -------
    int
        The exit status.
    """
    if not argv or argv[0] in (*HELP, "--version"):
        _overview(PROG, "RLMRec for RecBole", SUMMARIES).parse_args(argv)
    module, line = read(argv)
    return importlib.import_module(f"recbole_rlmrec.commands.{module}").run(line.args, line.options)


def read(argv: Sequence[str]) -> tuple[str, CommandLine]:
    """Read a command line: the module of the command, in ``commands/``, and its arguments.

    Raises
    ------
    ConfigError
        There is no such command, or its arguments are malformed.
    """
    name, rest = argv[0], argv[1:]
    if name == "experiment":
        return name, _read_experiment(rest)
    command = _find(COMMANDS, name, "command", SUMMARIES)
    line = read_command_line(make_parser(name, command), rest, commands_with)
    if not command.uses_recbole:
        if line.recbole:
            print(f"{PROG}: {name} makes no use of {', '.join(f'--{key}' for key in line.recbole)}.", file=sys.stderr)
        line = CommandLine(line.args, {}, {})
    return {"import": "import_"}.get(name, name), line


def _read_experiment(argv: Sequence[str]) -> CommandLine:
    if not argv or argv[0] in HELP:
        summaries = {name: command.summary for name, command in EXPERIMENTS.items()}
        _overview(f"{PROG} experiment", SUMMARIES["experiment"], summaries).parse_args(argv)
    command = _find(EXPERIMENTS, argv[0], "experiment", EXPERIMENTS)
    line = read_command_line(make_parser(f"experiment {argv[0]}", command), argv[1:], commands_with)
    line.args.experiment = argv[0]
    return line


def make_parser(name: str, command: Command) -> Parser:
    """Parser of a command's arguments."""
    parser = Parser(f"{PROG} {name}", command.summary)
    command.declare(parser)
    add_recbole(parser, command.uses_recbole)
    return parser


def commands_with(option: str) -> list[str]:
    """Names of the commands that declare an option, ``--name`` with dashes."""
    experiments = {f"experiment {name}": command for name, command in EXPERIMENTS.items()}
    return [name for name, command in {**COMMANDS, **experiments}.items() if option in make_parser(name, command).declared]


def _find(table: dict[str, Command], name: str, kind: str, names) -> Command:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}."
    raise ConfigError(f"There is no {kind} {name!r}; {hint}")


def _overview(prog: str, summary: str, summaries: dict[str, str]) -> argparse.ArgumentParser:
    """Parser that lists commands and knows none of their arguments."""
    what = "COMMAND" if prog == PROG else "NAME"
    epilog = f"`{prog} {what} --help` says more. {SPELLING}"
    parser = argparse.ArgumentParser(prog=prog, description=f"{summary[0].upper()}{summary[1:]}.", epilog=epilog)
    if prog == PROG:
        parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(required=True, metavar=what, dest="command")
    for name, line in summaries.items():
        commands.add_parser(name, help=line)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
