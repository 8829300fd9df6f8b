"""What an experiment found: tables on the screen and in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recbole_rlmrec.data.files import replacing, write_json
from recbole_rlmrec.data.store import now
from recbole_rlmrec.experiments.cells.cell import Outcome, package_versions
from recbole_rlmrec.experiments.cells.study import Study, command
from recbole_rlmrec.experiments.results.tables import Table, write_csv


@dataclass
class Results:
    """What an experiment found.

    Attributes
    ----------
    outcomes : list of Outcome
        Cells that the tables are made from.
    tables : list of Table
    findings : dict
        Anything else for ``results.json``, JSON-able.
    """

    outcomes: list[Outcome]
    tables: list[Table]
    findings: dict = field(default_factory=dict)


def write_results(study: Study, results: Results) -> Path:
    """Write ``OUTPUT/EXPERIMENT/``: ``results.json``, ``cells.csv``, ``table.md`` and one ``table-N.csv`` per table.

    Returns
    -------
    Path
        That folder.
    """
    folder = study.output / study.name
    rows = [outcome.row() for outcome in results.outcomes]
    record = {
        "format": 1,
        "experiment": study.name,
        "dataset": study.dataset,
        "data": {"name": study.data.name, "digest": study.data.digest, "counts": study.data.counts()},
        "profiles": next((found.provenance for found in study.used_profiles), None),
        "command": command(),
        "models": study.models,
        "seeds": study.seeds,
        "resplit": study.resplit,
        "settings": study.options,
        "params": study.params,
        "cells": rows,
        "tables": [table.as_dict() for table in results.tables],
        "failed": list(study.runner.failed.values()),
        "versions": package_versions(),
        "made": now(),
        **results.findings,
    }
    write_json(folder / "results.json", record)
    _write(folder / "cells.csv", cells_csv(rows))
    for stale in folder.glob("table-*.csv"):
        stale.unlink()
    for number, table in enumerate(results.tables, 1):
        _write(folder / f"table-{number}.csv", table.csv())
    parts = [f"## {study.name} on {study.dataset}", f"```bash\n{command()}\n```"]
    _write(folder / "table.md", "\n\n".join([*parts, *(table.markdown().strip() for table in results.tables)]) + "\n")
    return folder


def cells_csv(rows: Sequence[dict]) -> str:
    """One line per cell; metrics and settings are columns of their own."""
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    settings = list(dict.fromkeys(name for row in rows for name in row["setting"]))
    plain = [name for name in (rows[0] if rows else {}) if name not in ("metrics", "valid", "setting")]
    lines = []
    for row in rows:
        measured = [row["metrics"].get(name) for name in metrics]
        lines.append([*(row[name] for name in plain), *(row["setting"].get(name) for name in settings), *measured])
    return write_csv([*plain, *settings, *metrics], lines)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
