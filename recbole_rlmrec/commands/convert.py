"""``recbole-rlmrec convert``: CSV, Parquet, JSON lines or a database as a data set of RecBole."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_rlmrec.errors import ConfigError, quoted

ROLES = {
    "user": "who",
    "item": "what",
    "rating": "how well it was liked",
    "time": "when",
    "review": "what was written about it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add = parser.add_argument
    add("interactions", metavar="INTERACTIONS", help="file: .csv, .tsv, .jsonl, .parquet (also .gz), or URL of a database")
    add("--items", metavar="FILE", help="table of items: titles, descriptions, categories")
    add("--users", metavar="FILE", help="table of users")
    add("--dataset", required=True, metavar="NAME", help="name of the data set to make")
    add("--output", type=Path, default=Path("dataset"), metavar="DIR", help="folder above its own (default: dataset/)")
    add("--overwrite", action="store_true", help="replace the atomic files of a data set that is there")
    for role, meaning in ROLES.items():
        add(f"--{role}", metavar="COL", help=f"column of the interactions: {meaning} (default: guessed and shown)")
    add("--items-id", metavar="COL", help="column of --items with the ids (default: guessed)")
    add("--users-id", metavar="COL", help="column of --users with the ids (default: guessed)")
    add("--time-format", metavar="FORMAT", help="how times are written, as strptime says it: '%%d/%%m/%%Y %%H:%%M'")
    add("--list", action="append", default=[], metavar="COL=SEP", help="a column whose texts are lists, and what is between")
    add("--query", metavar="SQL", help="with a URL: the interactions")
    add("--items-query", metavar="SQL", help="with a URL: the items")
    add("--users-query", metavar="SQL", help="with a URL: the users")
    add("--separator", metavar="CHAR", help="CSV: what is between values (default: found in the first line)")
    add("--quote", default='"', metavar="CHAR", help="CSV: mark around texts, '' for none (default: \")")
    add("--escape", default="", metavar="CHAR", help="CSV: mark before characters that are meant as they are")
    add("--encoding", default="utf-8", help="CSV: encoding (default: utf-8)")


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Convert, print what was found and what to do next; returns the exit status."""
    from recbole_rlmrec.exchange.convert.build import Choices, build_dataset

    if options:
        raise ConfigError(f"convert does not know {' '.join(options)}; see recbole-rlmrec convert --help.")
    choices = Choices(
        roles={role: getattr(args, role) for role in ROLES},
        items_id=args.items_id,
        users_id=args.users_id,
        time_format=args.time_format,
        lists=_lists(args.list),
    )
    made = build_dataset(*_sources(args), args.dataset, args.output, choices, args.overwrite)
    print(made)
    above = quoted(args.output)
    place = "" if args.output == Path("dataset") else f" --data_path={above} --semantic_path={above}"
    settings = quoted(f"{made.folder / made.name}.yaml")
    print(f"recbole-rlmrec run --model=LightGCN_RLMRec --dataset={quoted(made.name)}{place} --config_files={settings}")
    return 0


def _lists(values: list[str]) -> dict[str, str]:
    pairs = [value.rpartition("=") for value in values]
    if wrong := [value for value, (name, _, separator) in zip(values, pairs) if not name or not separator]:
        raise ConfigError(f"--list {wrong[0]}: write COLUMN=SEPARATOR, for example --list 'genres=,'.")
    return {name: separator for name, _, separator in pairs}


def _sources(args: argparse.Namespace) -> list:
    from recbole_rlmrec.exchange.convert.delimited import Dialect
    from recbole_rlmrec.exchange.convert.opening import is_url, open_query, open_source

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
