"""A cell: one run of one model, variant, seed and setting, and what it left on disk."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

import recbole_rlmrec
from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.data.reading import NUMBER, read_npy
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.experiments.cells.options import relevant
from recbole_rlmrec.plugin.record import versions
from recbole_rlmrec.plugin.source import source_digest

FORMAT = 1
KEY = re.compile("[0-9a-f]{16}")
_ANY_NUMBER = (float, int)  # a loss may be infinite
RECORD_SHAPE = {
    **dict.fromkeys(("model", "variant", "runs", "dataset"), str),
    **dict.fromkeys(("options", "identity", "setting"), dict),
    "seed": int,
    "versions?": {str: (str, type(None))},
    "usage": {"seconds": NUMBER, "peak_memory": NUMBER, "peak_gpu_memory?": NUMBER},
}
RESULT_SHAPE = {
    "test_result": {str: NUMBER},
    "best_valid_result?": {str: NUMBER},
    "run": {
        "epochs": int,
        "best_epoch?": int,
        "median_epoch_seconds?": NUMBER,
        "parameters": int,
        "checkpoint?": str,
        "series": {"seconds": [NUMBER], "losses": {str: [_ANY_NUMBER]}, "valid": [[_ANY_NUMBER]]},
    },
    "settings": {"valid_metric": str},
}
USERS_SHAPE = {"metrics": [str], "users": [str], "items": [str], "by_row?": bool}
_REMEDY = "delete the cell's folder and call the experiment again"


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of an experiment.

    Attributes
    ----------
    model, variant : str
        How tables name it: ``LightGCN``, ``con``.
    seed : int
    runs : str
        Model that is run, ``LightGCN_RLMRec``.
    dataset : str
    options : dict
        Every option of the run but model, dataset and seed.
    identity : dict
        What else tells it from others: digests of its data and profiles.
    setting : dict
        Coordinates beside model, variant and seed, for tables: ``{"noise": 0.05}``.
    keep : bool
        Whether the trained model is kept.
    """

    model: str
    variant: str
    seed: int
    runs: str
    dataset: str
    options: dict
    identity: dict = field(default_factory=dict)
    setting: dict = field(default_factory=dict)
    keep: bool = False

    @cached_property
    def key(self) -> str:
        """Hash of all that makes a difference to the figures, 16 hexadecimal digits."""
        said = {
            "runs": self.runs,
            "dataset": self.dataset,
            "seed": self.seed,
            "options": relevant(self.options, "profiles" in self.identity),
            "identity": self.identity,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Variant and setting, as tables name a row: ``con, shuffled``."""
        return ", ".join([self.variant, *map(str, self.setting.values())])

    @property
    def label(self) -> str:
        """Model, variant, setting and seed in a line."""
        return f"{self.model} {self.name}, seed {self.seed}"

    def settings(self) -> dict:
        """Options as the run reads them from its configuration file."""
        return {**self.options, "seed": self.seed, "checkpoint_dir": "saved"}

    def about(self) -> dict:
        """JSON-able description."""
        names = ("key", "model", "variant", "seed", "runs", "dataset", "options", "identity", "setting")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished cell.

    Attributes
    ----------
    cell : Cell
    folder : Path
        ``cells/KEY``: ``cell.json``, ``result.json``, ``users.json`` with its arrays, ``output.log``, perhaps ``model.pth``.
    """

    cell: Cell
    folder: Path

    @cached_property
    def result(self) -> dict:
        """The run's result file."""
        return read_json(self.folder / "result.json", StoreError, _REMEDY, RESULT_SHAPE)

    @cached_property
    def record(self) -> dict:
        """What the runner noted: versions, seconds, memory."""
        return read_json(self.folder / "cell.json", StoreError, _REMEDY, RECORD_SHAPE)

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics by name, ``recall@20``."""
        return {name: float(value) for name, value in self.result["test_result"].items()}

    @property
    def checkpoint(self) -> Path | None:
        """The trained model, where it was kept."""
        path = self.folder / "model.pth"
        return path if path.is_file() else None

    @cached_property
    def users(self) -> pd.DataFrame:
        """Test metrics of each user: a DataFrame of one column per metric, indexed by user token."""
        about = self._about_users
        values = self._array("users.values.npy", len(about["metrics"]))
        return pd.DataFrame(values, index=pd.Index(about["users"], name="user"), columns=about["metrics"])

    @cached_property
    def top_items(self) -> pd.DataFrame:
        """Ranked items of each test user: item tokens, one column per rank, indexed by user token.

        Of a user with several lists, as a sequential split has them, the list of the last row.
        """
        about = self._about_users
        ranked = self._array("users.top.npy")
        items = np.array(about["items"], dtype=object)
        _check_positions(self.folder / "users.top.npy", ranked, len(items))
        return pd.DataFrame(items[ranked], index=pd.Index(about["users"], name="user"))

    def ranks_of(self, wanted: pd.DataFrame) -> pd.DataFrame:
        """Where test interactions stand: each in its user's list, or in its own where every test row has a list.

        Parameters
        ----------
        wanted : DataFrame
            ``user`` and ``item`` tokens of test interactions.

        Returns
        -------
        DataFrame
            ``user``, ``item`` and ``rank`` (from 0, NaN where it is not in the list) of those that were ranked for.
        """
        wanted = wanted[["user", "item"]].drop_duplicates()
        if self._by_row:
            return wanted.merge(self._rows)
        wanted = wanted[wanted["user"].isin(self.top_items.index)]
        ranked = self.top_items.melt(ignore_index=False, var_name="rank", value_name="item").reset_index()
        return wanted.merge(ranked, how="left")

    @property
    def _by_row(self) -> bool:
        """Whether every test row has a list, and not every user."""
        by_row = self._about_users.get("by_row")
        if by_row is None:
            raise StoreError(f"{self.folder / 'users.json'} does not say what has a list (an earlier version); {_REMEDY}.")
        return by_row

    @property
    def _rows(self) -> pd.DataFrame:
        rows, about = self._array("users.rows.npy", 3, by_user=False), self._about_users
        users, items = (np.array(about[name], dtype=object) for name in ("users", "items"))
        for column, known in ((0, users), (1, items)):
            _check_positions(self.folder / "users.rows.npy", rows[:, column], len(known))
        ranks = np.where(rows[:, 2] < 0, np.nan, rows[:, 2])
        return pd.DataFrame({"user": users[rows[:, 0]], "item": items[rows[:, 1]], "rank": ranks})

    def _array(self, name: str, width: int | None = None, by_user: bool = True) -> np.ndarray:
        """A matrix, with a row for each test user unless ``by_user`` says otherwise."""
        path = self.folder / name
        try:
            found = read_npy(path)
        except FileNotFoundError:
            raise StoreError(f"{path} is missing; {_REMEDY}.") from None
        except ValueError as reason:
            raise StoreError(f"{path} cannot be read ({reason}); {_REMEDY}.") from None
        rows = len(self._about_users["users"]) if by_user else len(found)
        if found.ndim != 2 or len(found) != rows or found.shape[1] != (width or found.shape[1]):
            raise StoreError(f"{path} does not fit the users and metrics of users.json; {_REMEDY}.")
        return found

    @cached_property
    def _about_users(self) -> dict:
        about = read_json(self.folder / "users.json", StoreError, _REMEDY, USERS_SHAPE)
        for name in ("users", "metrics"):
            if len(set(about[name])) < len(about[name]):
                raise StoreError(f"{self.folder / 'users.json'} lists one of the {name} twice; {_REMEDY}.")
        return about

    def row(self) -> dict:
        """What tables and reports say of the cell, JSON-able."""
        run, usage = self.result["run"], self.record["usage"]
        return {
            "key": self.cell.key,
            "model": self.cell.model,
            "variant": self.cell.variant,
            "seed": self.cell.seed,
            "setting": self.cell.setting,
            "metrics": self.metrics,
            "valid": {name: float(value) for name, value in (self.result["best_valid_result"] or {}).items()},
            "epochs": run["epochs"],
            "best_epoch": run.get("best_epoch"),
            "epoch_seconds": run.get("median_epoch_seconds"),
            "seconds": usage["seconds"],
            "parameters": run["parameters"],
            "peak_memory": usage["peak_memory"],
            "peak_gpu_memory": usage.get("peak_gpu_memory"),
            "folder": f"cells/{self.cell.key}",
        }


def _check_positions(path: Path, found: np.ndarray, length: int) -> None:
    """Refuse what is no position in a list of that length."""
    if found.dtype.kind != "i" or (found.size and not 0 <= found.min() <= found.max() < length):
        raise StoreError(f"{path} does not hold positions in the lists of users.json; {_REMEDY}.")


def package_versions() -> dict[str, str | None]:
    """What cells of one table share: versions, and a digest of the source that computes a result."""
    found = versions()
    return {
        "recbole-rlmrec": recbole_rlmrec.__version__,
        "recbole": found["recbole"],
        "torch": found["torch"],
        "source": source_digest(),
    }


def headline(outcome: Outcome) -> tuple[str, float]:
    """Name and value of the metric that a run was validated on, at test."""
    metrics = outcome.metrics
    name = str(outcome.result["settings"]["valid_metric"]).lower()
    return (name, metrics[name]) if name in metrics else next(iter(metrics.items()))


def seconds_to_best(outcome: Outcome) -> float:
    """Training time up to and with the epoch whose model was tested."""
    return float(sum(outcome.result["run"]["series"]["seconds"][: epochs_to_best(outcome)]))


def epochs_to_best(outcome: Outcome) -> int:
    """Epochs up to and with the one whose model was tested: the one that validation chose, without validation the last."""
    run = outcome.result["run"]
    chosen = run.get("best_epoch")
    return run["epochs"] if chosen is None else chosen + 1
