"""Metric values and ranked items of each test user, which RecBole averages away."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

import numpy as np
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.register import metric_information
from recbole.utils import EvaluatorType

from recbole_rlmrec.data.files import replacing, write_json
from recbole_rlmrec.errors import ConfigError


class UserRecord:
    """What the last evaluation of a run found for each user.

    Attributes
    ----------
    values : dict of str to float array [n_users]
        Top-k metrics by name, ``recall@20``.
    top : int array [n_users, max k] or None
        Internal ids of the ranked items; None where pairs are scored and nothing is ranked.
    without : list of str
        Metrics that are no means over users, and have no values here: AUC, coverage and their like.
    """

    def __init__(self):
        self.values: dict[str, np.ndarray] = {}
        self.top: np.ndarray | None = None
        self.without: list[str] = []
        self._data = None

    def attach(self, trainer) -> None:
        """Listen to the evaluations of a trainer."""
        metrics = trainer.evaluator.metric_class
        for metric in metrics.values():
            if isinstance(metric, TopkMetric):
                metric.topk_result = functools.partial(self._keep, metric.topk, metric.topk_result)
        self.without = [name for name, metric in metrics.items() if not isinstance(metric, TopkMetric)]
        ranks = trainer.config["eval_type"] == EvaluatorType.RANKING
        if ranks and not any("rec.items" in metric_information[name] for name in metrics):
            setattr(trainer.eval_collector.register, "rec.items", True)
        trainer.evaluator.evaluate = functools.partial(self._evaluate, trainer.evaluator.evaluate)
        trainer.evaluate = functools.partial(self._begin, trainer.evaluate)

    def _begin(self, evaluate, eval_data, *args, **kwargs):
        self._data = eval_data
        return evaluate(eval_data, *args, **kwargs)

    def _evaluate(self, evaluate, struct):
        self.top = struct.get("rec.items").numpy() if "rec.items" in struct else None
        return evaluate(struct)

    def _keep(self, topk, topk_result, name: str, value: np.ndarray) -> dict:
        self.values.update({f"{name}@{k}": value[:, k - 1] for k in topk})
        return topk_result(name, value)

    def write(self, path: Path) -> None:
        """Write ``PATH`` (JSON: ``metrics``, ``users``, ``items``, ``by_row``) and beside it arrays, ``STEM.NAME.npy``.

        ``values`` is float32 [n_users, n_metrics], of a user with several rows in a sequential split the mean; ``top``, of
        such a user that of the last row, holds positions in ``items``, int32 [n_users, max k], and is
        absent where no metric ranks. ``rows`` is there where each row has a list and not each user (``by_row``), int32
        [n_rows, 3]: positions in ``users`` and in ``items`` of the row's target, and its place in the list, from 0, or -1.

        Raises
        ------
        ConfigError
            The model was not evaluated by a trainer that knows users.
        """
        if self._data is None:
            raise ConfigError("--per_user_file needs a model that is evaluated by user, and this one is not; leave it out.")
        dataset = self._data._dataset
        by_row = not hasattr(self._data, "uid_list")  # a sequential split is evaluated row by row
        rows = np.asarray(dataset.inter_feat[dataset.uid_field] if by_row else self._data.uid_list)
        ids, last, place, counts = _once(rows)
        users, items = dataset.field2id_token[dataset.uid_field][ids], dataset.field2id_token[dataset.iid_field]
        values = np.column_stack(list(self.values.values())) if self.values else np.empty((len(rows), 0))
        means = np.zeros((len(ids), values.shape[1]))
        np.add.at(means, place, values)
        _save(path.with_suffix(".values.npy"), (means / counts[:, None]).astype(np.float32))
        if self.top is not None:
            _save(path.with_suffix(".top.npy"), self.top[last].astype(np.int32))
            if by_row:
                targets = np.asarray(dataset.inter_feat[dataset.iid_field])
                ranked = np.column_stack([place, targets, _ranks(self.top, targets)])
                _save(path.with_suffix(".rows.npy"), ranked.astype(np.int32))
        about = {"metrics": list(self.values), "users": [*map(str, users)], "items": [*map(str, items)], "by_row": by_row}
        write_json(path, about)
        if self.without:
            getLogger().info(f"{path} has no values of {', '.join(self.without)}: not the mean of a value of each user.")


def _once(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct values in the order of their first rows; the last row, the place and the count of each."""
    ids, first, place, counts = np.unique(rows, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    last = np.empty(len(ids), dtype=np.int64)
    last[place] = np.arange(len(rows))
    return ids[order], last[order], np.argsort(order)[place], counts[order]


def _ranks(top: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Place of each row's target in its list, -1 where it is not there."""
    found = top == targets[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1), -1)


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


class _Active:
    """The record that trainers made now are to fill."""

    record: UserRecord | None = None


@contextmanager
def recording(wanted: bool = True) -> Iterator[UserRecord | None]:
    """Record the users of the runs inside the block."""
    before, _Active.record = _Active.record, UserRecord() if wanted else None
    try:
        yield _Active.record
    finally:
        _Active.record = before


def attach(trainer) -> None:
    """Let a new trainer fill the record of the enclosing `recording`; without one nothing is recorded."""
    if _Active.record is not None:
        _Active.record.attach(trainer)
