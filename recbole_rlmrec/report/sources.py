"""Results folders as the report reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.errors import DataError, StoreError
from recbole_rlmrec.experiments import EXPERIMENTS
from recbole_rlmrec.experiments.cell import Cell, Outcome
from recbole_rlmrec.experiments.compare import compare_all, comparison_table, main_table
from recbole_rlmrec.experiments.options import VARIANTS

_FIELDS = ("model", "variant", "seed", "runs", "dataset", "options", "identity", "setting")


@dataclass(frozen=True, eq=False)
class Findings:
    """What one experiment found.

    Attributes
    ----------
    name : str
        Of the experiment.
    folder : Path
        Results folder it lies in.
    results : dict
        As in its ``results.json``.
    finished : bool
        False where the experiment was stopped and its cells speak for it.
    """

    name: str
    folder: Path
    results: dict
    finished: bool = True

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Its cells that are still on disk."""
        places = [self.folder / row["folder"] for row in self.rows]
        return [read_outcome(place) for place in places if (place / "cell.json").is_file()]

    @property
    def rows(self) -> list[dict]:
        """Its cells as ``results.json`` lists them, each once."""
        return list({row["key"]: row for row in self.results.get("cells", [])}.values())

    @property
    def metric(self) -> str | None:
        """Name of the metric that runs were validated on."""
        rows = self.rows
        if not rows:
            return None
        known = list(rows[0]["metrics"])
        wanted = str((self.results.get("settings") or {}).get("valid_metric", "")).lower()
        return wanted if wanted in known else known[0] if known else None


@dataclass(frozen=True, eq=False)
class Sources:
    """What the report is made from.

    Attributes
    ----------
    dataset : str
    folders : list of Path
    findings : list of Findings
        In the order of the experiments.
    """

    dataset: str
    folders: list[Path]
    findings: list[Findings]

    def of(self, *names: str) -> list[Findings]:
        """Findings of the experiments of these names."""
        return [one for one in self.findings if one.name in names]

    @property
    def compared(self) -> list[Findings]:
        """Findings whose cells are plain runs of models and variants."""
        return self.of("compare") or self.of("groups", "efficiency")


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read results folders.

    Parameters
    ----------
    paths : sequence of Path
        What ``--output`` of experiments was.

    Raises
    ------
    DataError
        A folder is missing, empty, none of experiments, or of another dataset or split than the first.
    StoreError
        A file in it cannot be read.
    """
    folders = list({path.resolve(): path for path in paths}.values())
    about = [_read_about(folder) for folder in folders]
    for folder, one in zip(folders[1:], about[1:], strict=True):
        _check_same(folders[0], about[0], folder, one)
    findings = [one for folder in folders for one in _read_findings(folder, about[0]["dataset"])]
    order = {name: position for position, name in enumerate(EXPERIMENTS)}
    findings.sort(key=lambda one: order.get(one.name, len(order)))
    return Sources(about[0]["dataset"], folders, findings)


def _read_about(folder: Path) -> dict:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give what --output of an experiment was.")
    if (folder / "results.json").is_file() and (folder.parent / "folder.json").is_file():
        raise DataError(f"{folder} is part of a results folder; give {folder.parent}.")
    if not any(folder.iterdir()):
        raise DataError(
            f"{folder} is empty; fill it with `recbole-rlmrec experiment compare --dataset NAME --output {folder}`."
        )
    if not (folder / "folder.json").is_file():
        raise DataError(
            f"{folder} holds no experiment (it has no folder.json); give what --output of an experiment was."
        )
    about = read_json(folder / "folder.json", StoreError, "restore it from a copy or call the experiment again")
    if not isinstance(about.get("dataset"), str):
        raise StoreError(f"{folder / 'folder.json'} does not name a dataset; restore it from a copy.")
    return about


def _check_same(first: Path, about: dict, folder: Path, other: dict) -> None:
    if other["dataset"] != about["dataset"]:
        raise DataError(
            f"{first} holds results of dataset {about['dataset']!r} and {folder} of {other['dataset']!r}; "
            "make a report of each."
        )
    if other.get("digest") != about.get("digest"):
        raise DataError(
            f"{first} and {folder} hold results of {about['dataset']} on different splits or files; make a report of each."
        )


def _read_findings(folder: Path, dataset: str) -> list[Findings]:
    files = sorted(folder.glob("*/results.json"))
    found = []
    for path in files:
        results = read_json(path, StoreError, "call the experiment again, its cells are kept")
        if results.get("dataset") != dataset:
            raise DataError(f"{path} is of dataset {results.get('dataset')!r}, its folder of {dataset!r}; remove it.")
        found.append(Findings(str(results.get("experiment") or path.parent.name), folder, results))
    if not found:
        found = [_unfinished(folder, dataset)]
    return found


def _unfinished(folder: Path, dataset: str) -> Findings:
    """A comparison of the cells that are there, for an experiment that was stopped before its end."""
    latest: dict[tuple, Outcome] = {}
    places = sorted(folder.glob("cells/*/cell.json"))
    for outcome in sorted((read_outcome(path.parent) for path in places), key=lambda one: str(one.record.get("made"))):
        cell = outcome.cell
        if not cell.setting and cell.variant in VARIANTS:
            latest[cell.model, cell.variant, cell.seed] = outcome
    if not latest:
        raise DataError(
            f"{folder} has no finished cell yet; call the experiment again with the same --output to finish it."
        )
    order = sorted(latest, key=lambda key: (key[0], VARIANTS.index(key[1]), key[2]))
    outcomes = [latest[key] for key in order]
    comparisons = compare_all(outcomes)
    tables = [main_table(outcomes, comparisons), comparison_table(comparisons)][: 1 + bool(comparisons)]
    results = {
        "dataset": dataset,
        "models": list(dict.fromkeys(one.cell.model for one in outcomes)),
        "seeds": sorted({one.cell.seed for one in outcomes}),
        "settings": outcomes[0].cell.options,
        "cells": [{**one.row(), "folder": f"cells/{one.folder.name}", "key": one.folder.name} for one in outcomes],
        "tables": [table.as_dict() for table in tables],
        "comparisons": [one.as_dict() for one in comparisons],
        "versions": outcomes[0].record.get("versions", {}),
    }
    return Findings("compare", folder, results, finished=False)


def read_outcome(folder: Path) -> Outcome:
    """A finished cell.

    Raises
    ------
    StoreError
        Its record cannot be read.
    """
    remedy = "delete the cell's folder and call the experiment again"
    record = read_json(folder / "cell.json", StoreError, remedy)
    if missing := [name for name in _FIELDS if name not in record]:
        raise StoreError(f"{folder / 'cell.json'} does not say {missing[0]}; {remedy}.")
    return Outcome(Cell(**{name: record[name] for name in _FIELDS}), folder)
