"""Semantic embeddings in memory: rows by RecBole's internal id, and a mask of who has a profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from recbole_rlmrec.errors import ConfigError


def home_of(config) -> str | None:
    """Where a run keeps its matrices, ``semantic_device``; None for the model's device.

    Raises
    ------
    ConfigError
        It is something else than ``cpu``.
    """
    home = config["semantic_device"] or None
    if home not in (None, "cpu"):
        raise ConfigError(f"semantic_device is {home!r}: set it to cpu, or leave it empty for the model's device.")
    return home


class SemanticTable:
    """Frozen embeddings of the users or of the items of a run.

    Not a module: it is no part of a state dict, and a deep copy of a model shares it.

    Parameters
    ----------
    matrix : ndarray
        float32 or float16 [r, d], possibly a memory map. On a CPU rows are gathered from it as they are needed; on another
        device it is copied there once.
    row_of_id : ndarray
        int64 [n]: row of each internal id, -1 where it has none; id 0, the padding, never has one.
    device : torch.device
        Where :meth:`rows` delivers.
    home : torch.device, optional
        Where the matrix stays, if not there: rows are gathered at home and travel as they are needed.

    Attributes
    ----------
    dim, n : int
        Width d and number of internal ids, padding included.
    covered : BoolTensor [n]
        Who has a profile.
    count : int
        How many have one.
    """

    def __init__(
        self, matrix: np.ndarray, row_of_id: np.ndarray, device: torch.device | str, home: torch.device | str | None = None
    ):
        self._device = device = torch.device(device)
        self._home = device if home is None else torch.device(home)
        row_of_id = np.array(row_of_id, dtype=np.int64)
        row_of_id[0] = -1
        self.n, self.dim = len(row_of_id), matrix.shape[1]
        self._matrix = torch.from_numpy(matrix if matrix.flags.writeable else matrix.copy()).to(self._home)
        self._row_of_id = torch.from_numpy(row_of_id).int().to(self._home)
        self.covered = torch.from_numpy(row_of_id >= 0).to(device)
        self.count = int(np.count_nonzero(row_of_id >= 0))

    @classmethod
    def of_tokens(cls, matrix: np.ndarray, tokens: Sequence[str], side: str, train, device, home) -> SemanticTable:
        """The table of a run: ``matrix`` [k, d] holds the rows of ``tokens`` [k], of which only the run's count.

        Parameters
        ----------
        matrix : ndarray
        tokens : sequence of str
        side : {"user", "item"}
        train : recbole.data.dataset.Dataset
        device, home : torch.device or str
            See the class.
        """
        field = train.uid_field if side == "user" else train.iid_field
        row_of_id = np.full(train.num(field), -1, dtype=np.int64)
        ids = pd.Series(tokens, dtype=object).map(train.field2token_id[field]).fillna(0).to_numpy(dtype=np.int64)
        row_of_id[ids] = np.arange(len(ids))
        return cls(matrix, row_of_id, device, home)

    @cached_property
    def ids(self) -> torch.Tensor:
        """Internal ids of those who have a profile [count], ascending."""
        return self.covered.nonzero().squeeze(1)

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of internal ids that have a profile.

        Parameters
        ----------
        ids : LongTensor [k]
            On the table's device.

        Returns
        -------
        Tensor
            float32 [k, d] on the table's device.
        """
        return self._delivered(self._row_of_id[ids.to(self._home)])

    def _delivered(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of the matrix, float32, where they are asked for; a GPU takes them from pinned memory."""
        found = self._matrix.index_select(0, rows)
        if self._home == self._device:
            return found.float()
        return (found.pin_memory() if self._device.type == "cuda" else found).to(self._device, non_blocking=True).float()

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows of all who have a profile, in the order of :attr:`ids`, float32 [k, d], as many at a time as fit a cache."""
        size = 1 << 16 if self._device.type == "cuda" else 1024
        rows = self._row_of_id[self._row_of_id >= 0]
        for start in range(0, self.count, size):
            part = slice(start, min(start + size, self.count))
            yield part, self._delivered(rows[part])

    def mean(self) -> torch.Tensor:
        """Mean of the rows of all who have a profile, float32 [d]; zero where nobody has one."""
        total = torch.zeros(self.dim, dtype=torch.float64, device=self._device)
        for _, rows in self.blocks():
            total += rows.sum(dim=0, dtype=torch.float64)
        return (total / max(self.count, 1)).float()

    def __deepcopy__(self, memo) -> SemanticTable:
        return self


@dataclass
class Semantic:
    """Semantic embeddings of a run.

    Attributes
    ----------
    user, item : SemanticTable
        Tables of equal width.
    tag, encoder : str
        Which profiles, and what encoded them.
    provenance : dict
        Where they come from, for the result file: JSON-able.
    """

    user: SemanticTable
    item: SemanticTable
    tag: str
    encoder: str
    provenance: dict

    @property
    def dim(self) -> int:
        """Width of both tables."""
        return self.user.dim
