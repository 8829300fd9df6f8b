"""Several processes that train one model: who they are, what each takes of a batch, and what they tell each other.

Every process holds the whole model, loads the whole data and draws the same numbers; of each batch it computes its own rows.
A loss is the sum of what the processes contribute, and so is its gradient. With one process all of this does nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.autograd import Function


@dataclass(frozen=True)
class Shard:
    """What this process takes of the batch that is at work.

    Attributes
    ----------
    positions : LongTensor [k]
        Its rows of the whole batch.
    count : int
        How many interactions (or users) they stand for; 0 where the batch has fewer than there are processes: it then
        holds one row that counts nothing.
    total : int
        Interactions (or users) of the whole batch.
    rows : int
        Rows of the whole batch.
    mean : bool
        Whether the recommender's loss is a mean over the batch, or a sum.
    weight : float or None
        What part its rows are of a mean over the whole batch; None for count / total.
    beside : list of Tensor
        What this process adds to the loss of the whole batch beside its rows, where these count nothing.
    """

    positions: torch.Tensor
    count: int
    total: int
    rows: int
    mean: bool = True
    weight: float | None = None
    beside: list[torch.Tensor] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """What the recommender's loss of its rows is multiplied by, to be added to those of the other processes."""
        if not self.mean:
            return float(bool(self.count))
        return self.count / self.total if self.weight is None else self.weight


class _Place:
    rank, size, local_rank = 0, 1, 0
    shard: Shard | None = None


def rank() -> int:
    """Number of this process among all, from 0."""
    return _Place.rank


def local_rank() -> int:
    """Number of this process among those of its machine, from 0."""
    return _Place.local_rank


def size() -> int:
    """Number of processes."""
    return _Place.size


def many() -> bool:
    """Whether there are several processes."""
    return _Place.size > 1


def first() -> bool:
    """Whether this process is the first, which writes files and speaks."""
    return _Place.rank == 0


def enter(rank: int, size: int, local_rank: int = 0) -> None:
    """Take a place among processes whose default process group of torch is there; ``enter(0, 1)`` leaves it."""
    _Place.rank, _Place.size, _Place.local_rank, _Place.shard = rank, size, local_rank, None


@contextmanager
def alone() -> Iterator[None]:
    """Let every process compute the same, as a single one would."""
    before = _Place.rank, _Place.size, _Place.shard
    _Place.rank, _Place.size, _Place.shard = 0, 1, None
    try:
        yield
    finally:
        _Place.rank, _Place.size, _Place.shard = before


def shard() -> Shard | None:
    """What this process takes of the batch that is at work; None outside of a training step and for one process."""
    return _Place.shard


def at_work_on(part: Shard | None) -> None:
    """Set what :func:`shard` returns."""
    _Place.shard = part


def share(count: int) -> slice:
    """The part of ``count`` things that falls to this process: parts differ by one at most, and follow each other."""
    start, stop = (-(-count * place // _Place.size) for place in (_Place.rank, _Place.rank + 1))
    return slice(start, stop)


def part(rows):
    """This process's :func:`share` of a tensor's rows, or of a list."""
    return rows[share(len(rows))] if many() else rows


def counted(rows: torch.Tensor) -> torch.Tensor:
    """The rows of a batch's tensor that count: all, or none where this process holds one that does not."""
    part = _Place.shard
    return rows if part is None or part.count else rows[:0]


def as_part_of_loss(contribution: torch.Tensor) -> torch.Tensor:
    """What this process contributes to a sum over processes, on the scale of the recommender's loss of its rows."""
    part = _Place.shard
    if part is None:
        return contribution
    if not part.scale:
        part.beside.append(contribution.reshape(()))
        return torch.zeros_like(contribution)
    return contribution / part.scale


# --- tensors -----------------------------------------------------------------------------------------------------------


class _Gather(Function):
    @staticmethod
    def forward(ctx, rows, sizes):
        ctx.slice = slice(sum(sizes[: _Place.rank]), sum(sizes[: _Place.rank + 1]))
        padded, longest = rows.contiguous(), max(sizes)
        if len(rows) < longest:
            padded = torch.cat([padded, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, sizes)])

    @staticmethod
    def backward(ctx, grad):
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad[ctx.slice], None


def gather(rows: torch.Tensor, sizes: list[int] | None = None) -> torch.Tensor:
    """Rows of all processes, those of the first one first; gradients go back to where each row came from.

    Parameters
    ----------
    rows : torch.Tensor
        [k, ...]; k may differ between processes.
    sizes : list of int, optional
        k of every process, where it is known.
    """
    if not many():
        return rows
    sizes = sizes or counts_of_all(len(rows))
    return _Gather.apply(rows, sizes) if any(sizes) else rows


def counts_of_all(number: int) -> list[int]:
    """A whole number of every process, the first one's first."""
    if not many():
        return [number]
    counts = [torch.zeros(1, dtype=torch.long) for _ in range(_Place.size)]
    dist.all_gather(counts, torch.tensor([number]))
    return [int(count) for count in counts]


def gather_own(rows: torch.Tensor) -> tuple[torch.Tensor, slice]:
    """:func:`gather`, and where this process's rows are in it."""
    sizes = counts_of_all(len(rows))
    start = sum(sizes[: _Place.rank])
    return gather(rows, sizes), slice(start, start + len(rows))


def gather_shares(rows: torch.Tensor, count: int) -> torch.Tensor:
    """:func:`gather` of rows that are this process's :func:`share` of ``count``."""
    ends = [-(-count * place // _Place.size) for place in range(_Place.size + 1)]
    return gather(rows, [stop - start for start, stop in zip(ends, ends[1:])])


class _Total(Function):
    @staticmethod
    def forward(ctx, value):
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx, grad):
        return grad


def total(value: torch.Tensor) -> torch.Tensor:
    """Sum over processes. Its gradient is that of each process's own summand, to be summed over processes with the others."""
    return _Total.apply(value) if many() else value


def wait() -> None:
    """Wait for all processes to come here."""
    counts_of_all(0)


def send_tensor(tensor: torch.Tensor) -> None:
    """Overwrite a tensor by the first process's."""
    if many():
        whole = tensor.contiguous()
        dist.broadcast(whole, 0)
        if whole is not tensor:
            tensor.copy_(whole)


# --- everything else ---------------------------------------------------------------------------------------------------


class EndedByFirst(Exception):
    """The first process has ended what all were to do; it has said why."""


def send(value: Any = None) -> Any:
    """The first process's value in all of them."""
    if not many():
        return value
    box = [value]
    dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return box[0]


def on_first(action: Callable[[], Any], send_back: bool = True) -> Any:
    """What an action returns that only the first process takes; the others wait, and get it unless ``send_back`` is off.

    Raises
    ------
    EndedByFirst
        In the others, where the action fails.
    """
    if not many():
        return action()
    if not first():
        fine, value = send()
        if not fine:
            raise EndedByFirst
        return value
    try:
        value = action()
    except BaseException:
        send((False, None))
        raise
    send((True, value if send_back else None))
    return value


def same_random_state() -> None:
    """Give every process the first one's random states: of torch, NumPy and Python."""
    if not many():
        return
    kind, keys, *rest = np.random.get_state()
    version, words, gauss = random.getstate()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if on_gpu else [])]
    numbers = np.array([*rest, 0.0 if gauss is None else gauss, gauss is not None], dtype=np.float64)
    parts = keys.astype(np.uint32), np.array(words, dtype=np.uint32), numbers
    states += [torch.from_numpy(part.view(np.uint8)) for part in parts]
    message = torch.cat(states)
    dist.broadcast(message, 0)
    if first():
        return
    parts = list(message.split([len(state) for state in states]))
    torch.set_rng_state(parts.pop(0))
    if on_gpu:
        torch.cuda.set_rng_state(parts.pop(0))
    keys, words = (part.numpy().copy().view(np.uint32) for part in parts[:2])
    position, has_gauss, cached, own, there = parts[2].numpy().copy().view(np.float64)
    np.random.set_state((kind, keys, int(position), int(has_gauss), cached))
    random.setstate((version, tuple(map(int, words)), own if there else None))
