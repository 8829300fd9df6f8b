"""``recbole-rlmrec convert``: CSV, Parquet, JSON lines or a database as a data set of RecBole."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.commands.options import ROLES
from recbole_rlmrec.commands.places import place
from recbole_rlmrec.errors import ConfigError, quoted
from recbole_rlmrec.exchange.convert.build import Choices, build_dataset
from recbole_rlmrec.exchange.convert.delimited import Dialect
from recbole_rlmrec.exchange.convert.opening import is_url, open_query, open_source


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Convert, print what was found and what to do next; returns the exit status."""
    output = args.output or Path(place(args, "data_path") or "dataset")
    choices = Choices(
        roles={role: getattr(args, role) for role in ROLES},
        items_id=args.items_id,
        users_id=args.users_id,
        time_format=args.time_format,
        lists=_lists(args.list),
    )
    made = build_dataset(*_sources(args), args.dataset, output, choices, args.overwrite)
    print(made)
    above = "" if output == Path("dataset") else f" --data_path={quoted(output)} --semantic_path={quoted(output)}"
    settings = quoted(f"{made.folder / made.name}.yaml")
    print(f"recbole-rlmrec run --model=LightGCN_RLMRec --dataset={quoted(made.name)}{above} --config_files={settings}")
    return 0


def _lists(values: list[str]) -> dict[str, str]:
    pairs = [value.rpartition("=") for value in values]
    if wrong := [value for value, (name, _, separator) in zip(values, pairs) if not name or not separator]:
        raise ConfigError(f"--list {wrong[0]}: write COLUMN=SEPARATOR, for example --list 'genres=,'.")
    return {name: separator for name, _, separator in pairs}


def _sources(args: argparse.Namespace) -> list:
    dialect = Dialect(_character(args.separator), args.quote, args.escape, args.encoding)
    url, queries = args.interactions, {"items": args.items_query, "users": args.users_query}
    if not is_url(url):
        if named := [name for name in ("query", "items_query", "users_query") if getattr(args, name)]:
            raise ConfigError(f"--{named[0].replace('_', '-')} needs a database: give its URL in place of {url}.")
        interactions = open_source(url, dialect)
    elif not args.query:
        raise ConfigError("A database needs --query, for example --query 'SELECT customer, product, stars, at FROM orders'.")
    else:
        interactions = open_query(url, args.query)
    others = []
    for side, query in queries.items():
        file = getattr(args, side)
        if file and query:
            raise ConfigError(f"--{side} and --{side}-query name the same table; leave one of them out.")
        if file and is_url(file):
            raise ConfigError(f"--{side} takes a file; for a table in the database give --{side}-query.")
        others.append(open_query(url, query) if query else open_source(file, dialect) if file else None)
    return [interactions, *others]


def _character(text: str | None) -> str | None:
    return {"\\t": "\t", "tab": "\t"}.get(text, text)
