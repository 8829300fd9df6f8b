"""Results folders as the report reads them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.data.properties import is_option
from recbole_rlmrec.data.reading import NUMBER
from recbole_rlmrec.errors import DataError, StoreError, quoted
from recbole_rlmrec.experiments import EXPERIMENTS
from recbole_rlmrec.experiments.cells.cell import KEY, RECORD_SHAPE, Cell, Outcome
from recbole_rlmrec.experiments.cells.options import FIRST_SEED
from recbole_rlmrec.experiments.cells.study import PLAN
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, main_table

# Experiments whose cells say something before all are there, and what a variant is compared with.
_REPORTED_UNFINISHED = {
    "compare": lambda cell: "base",
    "ablation": lambda cell: "base",
    "noise": lambda cell: f"base, {cell.setting['noise']}",
}
_PLANNED = {"key": KEY, "model": str, "variant": str, "seed": int, "setting": dict}
_ROW = {**_PLANNED, "metrics": {str: NUMBER}, "folder": re.compile("cells/[0-9a-f]{16}")}
_RESULTS = {
    "dataset": str,
    "experiment?": str,
    "models?": [str],
    "seeds?": [int],
    "settings?": dict,
    "cells?": [_ROW],
    "tables?": [dict],
    "versions?": dict,
}
_PASSED_ON = ("params", "tag", "encoder", "ray", "jobs")  # beside RecBole's
_SET = ("dataset", "algorithm")  # which the command says itself, or which are of one experiment
_SWITCHES = ("resplit",)
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
        return [
            read_outcome(self.folder / row["folder"], row)
            for row in self.rows
            if (self.folder / row["folder"] / "cell.json").is_file()
        ]

    @property
    def rows(self) -> list[dict]:
        """Its cells as ``results.json`` lists them, each once under a name; AlphaRec's is that of every model."""
        rows = self.results.get("cells") or []
        return list({(row["key"], row["model"], variant_name(row)): row for row in rows}.values())

    @property
    def metric(self) -> str | None:
        """Name of the metric that runs were validated on, or of their first."""
        return next(iter(self.metrics), None)

    @property
    def metrics(self) -> list[str]:
        """Metrics of the cells, that of validation first."""
        rows = self.rows
        wanted = str((self.results.get("settings") or {}).get("valid_metric", "")).lower()
        return sorted(rows[0]["metrics"] if rows else [], key=lambda name: name != wanted)

    def models_and_names(self) -> tuple[list[str], list[str]]:
        """Models and variants of the cells, in order of appearance."""
        rows = self.rows
        return list(dict.fromkeys(row["model"] for row in rows)), list(dict.fromkeys(map(variant_name, rows)))

    def values(self, metric: str) -> tuple[list[str], list[str], dict[tuple[str, str], list[float]]]:
        """Models, variants, and the values of a metric over the seeds of each pair of them."""
        values: dict[tuple[str, str], list[float]] = {}
        for row in self.rows:
            values.setdefault((row["model"], variant_name(row)), []).append(row["metrics"][metric])
        return *self.models_and_names(), values


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


def variant_name(row: Mapping) -> str:
    """A cell's variant with its setting, ``base, 5%``."""
    return ", ".join([row["variant"], *map(str, row["setting"].values())])


def experiment_command(sources: Sources, name: str, more: str = "") -> str:
    """The command that runs an experiment into the first folder, as those that are there were run: data, profiles, options."""
    ran = [*sources.of(name), *sources.compared, *sources.findings][0]
    wanted = ran.results.get("wanted") or ran.results
    models = ",".join(wanted.get("models") or ["LightGCN"])
    seeds = _seeds(wanted.get("seeds") or [])
    command = f"recbole-rlmrec experiment {name} --dataset {quoted(sources.dataset)} --models {models} --seeds {seeds}"
    passed_on = (*_PASSED_ON, "variants") if ran.name == name else _PASSED_ON
    options = [quoted(word) for word in _options_in(ran.results.get("command") or "", passed_on)]
    return " ".join([command, *options, "--output", f"{quoted(sources.folders[0])}{more}"])


def _options_in(command: str, passed_on: Sequence[str]) -> list[str]:
    """Options of a command that hold for another experiment, ``--key=value``: RecBole's, and those that are passed on."""
    words, found = shlex.split(command)[3:], []
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        key, following = name.removeprefix("--").replace("-", "_"), words[position + 1 : position + 2]
        if not name.startswith("--"):
            continue
        if key in _SWITCHES:
            found.append(word)
        elif key in passed_on or (is_option(key) and key not in _SET):
            found.append(f"{name}={value if equals else ''.join(following)}")
    return found


def _seeds(seeds: Sequence[int]) -> str:
    """Seeds as ``--seeds`` takes them: how many from the first on, or a list of at least two."""
    if list(seeds) == list(range(FIRST_SEED, FIRST_SEED + len(seeds))):
        return str(len(seeds) or 5)
    return ",".join(map(str, seeds if len(seeds) > 1 else [*seeds, *seeds]))


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
        raise DataError(f"{folder} holds no experiment (it has no folder.json); give what --output of an experiment was.")
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
    found = {}
    for path in sorted(folder.glob("*/results.json")):
        results = read_json(path, StoreError, "call the experiment again, its cells are kept", _RESULTS)
        if results.get("dataset") != dataset:
            raise DataError(f"{path} is of dataset {results.get('dataset')!r}, its folder of {dataset!r}; remove it.")
        name = str(results.get("experiment") or path.parent.name)
        found[name] = Findings(name, folder, results)
    for name in _REPORTED_UNFINISHED:
        path = folder / name / PLAN
        stopped = _unfinished(name, folder, dataset, path) if path.is_file() else None
        if stopped and len(stopped.rows) >= len(found[name].rows if name in found else ()):
            found[name] = stopped
    if not found:
        raise DataError(
            f"{folder} has no finished cell of an experiment that can be shown half-done; call the experiment again with the "
            "same --output to finish it."
        )
    return list(found.values())


def _unfinished(name: str, folder: Path, dataset: str, plan: Path) -> Findings | None:
    """A comparison of the cells that are there, for an experiment that was stopped before its end."""
    shape = {"cells": [_PLANNED], "command?": str}
    record = read_json(plan, StoreError, "call the experiment again, its cells are kept", shape)
    planned = record["cells"]
    places = [(folder / "cells" / row["key"], row) for row in planned]
    outcomes = [read_outcome(place, row) for place, row in places if (place / "cell.json").is_file()]
    if not outcomes:
        return None
    comparisons = compare_all(outcomes, _REPORTED_UNFINISHED[name])
    tables = [main_table(outcomes, comparisons), comparison_table(comparisons)][: 1 + bool(comparisons)]
    results = {
        "dataset": dataset,
        "models": list(dict.fromkeys(one.cell.model for one in outcomes)),
        "seeds": sorted({one.cell.seed for one in outcomes}),
        "settings": outcomes[0].cell.options,
        "cells": [{**one.row(), "folder": f"cells/{one.folder.name}", "key": one.folder.name} for one in outcomes],
        "planned": len(planned),
        "command": record.get("command"),
        "wanted": {name: list(dict.fromkeys(row[name[:-1]] for row in planned)) for name in ("models", "seeds")},
        "tables": [table.as_dict() for table in tables],
        "comparisons": [one.as_dict() for one in comparisons],
        "versions": outcomes[0].record.get("versions", {}),
    }
    return Findings(name, folder, results, finished=False)


def read_outcome(folder: Path, row: Mapping | None = None) -> Outcome:
    """A finished cell.

    Parameters
    ----------
    folder : Path
    row : mapping, optional
        What the experiment calls it, ``model``, ``variant``, ``seed`` and ``setting``; cells are shared between experiments,
        and their own record has the names of the one that ran them.

    Raises
    ------
    StoreError
        Its record cannot be read.
    """
    remedy = "delete the cell's folder and call the experiment again"
    record = read_json(folder / "cell.json", StoreError, remedy, RECORD_SHAPE)
    names = {name: row[name] for name in ("model", "variant", "seed", "setting")} if row else {}
    return Outcome(Cell(**{name: record[name] for name in _FIELDS} | names), folder)
