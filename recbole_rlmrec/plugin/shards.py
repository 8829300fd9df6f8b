"""Training and evaluation by several processes: each works on its part, and the whole is what one process would have made.

To RecBole every process looks like the only one: it has all the data and all the batches, drawn from one random state. A
process computes its rows of a batch; losses and gradients are summed over processes, and so are the batches of an evaluation
divided and what they collect put together again.
"""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from logging import getLogger

import torch
import torch.distributed as dist
import torch.nn.functional as F
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.model.loss import EmbLoss
from torch.autograd import Function, Variable

from recbole_rlmrec.model import parallel
from recbole_rlmrec.model.loss_kinds import (
    MEAN,
    PART,
    Counted,
    beside_batch,
    counted_in_mean,
    loss_kinds,
    norms_of_rows,
    norms_of_tables,
    unequal,
)
from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.plugin.loader import take

LARGE = 1 << 20
"""Gradients with as many numbers travel alone, smaller ones together."""

_LOSSES = ("calculate_loss", "calculate_kg_loss", "calculate_rs_loss")
_original_emb_loss = EmbLoss.forward


def attach(trainer) -> None:
    """Let a trainer of one of several processes work on its part."""
    model = trainer.model
    if trainer.device.type == "cuda":
        trainer.model = model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.layout is torch.strided:
                parallel.send_tensor(tensor)
    if norms_of_tables(model):
        for module in model.modules():
            if isinstance(module, EmbLoss):
                module.forward = functools.partial(_original_emb_loss, module)
    if parallel.first() and (why := unequal(model)):
        getLogger().warning(f"{parallel.size()} processes do not make the steps of one: {type(model).__name__}: {why}.")
    for name in _LOSSES:
        if (calculate := getattr(model, name, None)) is not None:
            setattr(model, name, functools.partial(_calculate, model, calculate))
    collector, evaluator = trainer.eval_collector, trainer.evaluator
    collector.get_data_struct = functools.partial(_gathered, collector.get_data_struct)
    evaluator.evaluate = functools.partial(_on_first, evaluator.evaluate)


def _on_first(evaluate: Callable, struct):
    return parallel.on_first(lambda: evaluate(struct))


# --- training ----------------------------------------------------------------------------------------------------------


class Shards:
    """A training loader of whose batches this process takes its rows.

    The loader itself draws whole batches in every process, from the same random state.

    Parameters
    ----------
    loader : AbstractDataLoader
    mean : bool
        See `parallel.Shard`.
    """

    def __init__(self, loader, mean: bool):
        self._loader, self._mean = loader, mean

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def __len__(self):
        return len(self._loader)

    def __iter__(self):
        parallel.same_random_state()
        batches = iter(self._loader)
        try:
            while (batch := next(batches, None)) is not None:
                part = shard_of(len(batch), getattr(self._loader, "times", 1), self._mean)
                parallel.at_work_on(part)
                yield take(batch, part.positions.to(next(iter(batch.interaction.values())).device))
                parallel.same_random_state()
        finally:
            parallel.at_work_on(None)


def shard_of(rows: int, times: int, mean: bool = True) -> parallel.Shard:
    """This process's part of a batch in which every interaction has ``times`` rows, with all other interactions between."""
    count, rest = divmod(rows, times)
    if rest:
        count, times = rows, 1
    own = parallel.share(count)
    first = torch.arange(own.start, own.stop) if own.stop > own.start else torch.zeros(1, dtype=torch.long)
    positions = torch.cat([first + count * repeat for repeat in range(times)])
    return parallel.Shard(positions, own.stop - own.start, count, rows, mean)


def _calculate(model, calculate: Callable, batch, *args, **kwargs):
    """Losses of the whole batch, whose gradient is summed over processes when it is there."""
    part = parallel.shard()
    if part is None:
        return calculate(batch, *args, **kwargs)
    if (counted := counted_in_mean(model)) is not None:
        part, batch = _weighted(counted, model, part, batch)
    part.beside.clear()
    with _dropout_of(part), _norm_of(part) if norms_of_rows(model) else nullcontext():
        returned = calculate(batch, *args, **kwargs)
    losses = returned if isinstance(returned, tuple) else (returned,)
    beside = beside_batch(model) if not part.mean else 0.0
    parts = []
    for loss, kind in zip(losses, loss_kinds(model, len(losses))):
        loss = loss.reshape(())
        if kind != PART:
            scale = replace(part, mean=kind == MEAN).scale
            loss = (loss - beside) * scale + beside / parallel.size()
            beside = 0.0
        parts.append(loss)
    parts[0] = sum(part.beside, parts[0])
    values = torch.stack([loss.to(torch.promote_types(loss.dtype, torch.float32)) for loss in parts])
    whole = _Whole.apply(values, [parameter for parameter in model.parameters() if parameter.requires_grad]).unbind()
    return whole if isinstance(returned, tuple) else whole[0]


def _weighted(counted: Counted, model, part: parallel.Shard, batch) -> tuple[parallel.Shard, Interaction]:
    """The shard with what its rows are of a mean that is not over rows; the batch with one of what that counts, at least."""
    there = counted.count(model, batch)
    own = there if part.count else 0
    part = replace(part, weight=own / max(sum(parallel.counts_of_all(own)), 1))
    parallel.at_work_on(part)
    return part, batch if there else counted.with_one(model, batch)


class _Whole(Function):
    """Losses summed over processes; when the backward pass has ended, so are the gradients of the parameters."""

    @staticmethod
    def forward(ctx, losses, parameters):
        ctx.parameters = parameters
        losses = losses.clone()
        dist.all_reduce(losses)
        return losses

    @staticmethod
    def backward(ctx, grad):
        Variable._execution_engine.queue_callback(functools.partial(add_gradients, ctx.parameters))
        return grad, None


@torch.no_grad()
def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Sum the gradients of some parameters over processes; one that no process has stays away."""
    parameters = list(parameters)
    there = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
    dist.all_reduce(there)
    together = defaultdict(list)
    for parameter, count in zip(parameters, there.tolist()):
        if not count:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.numel() < LARGE:
            together[parameter.dtype].append(parameter.grad)
        elif parameter.grad.is_contiguous():
            dist.all_reduce(parameter.grad)
        else:
            parameter.grad = parameter.grad.contiguous()
            dist.all_reduce(parameter.grad)
    for gradients in together.values():
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(summed.view_as(gradient))


@contextmanager
def _dropout_of(part: parallel.Shard) -> Iterator[None]:
    """Let dropout of a batch's rows, or of its interactions, be drawn for the whole batch, as one process draws it."""
    original, own = F.dropout, max(part.count, 1)
    drawn = {own: (part.total, part.positions[:own]), len(part.positions): (part.rows, part.positions)}

    def dropout(input, p=0.5, training=True, inplace=False):
        if not training or inplace or not 0 < p < 1 or input.dim() == 0 or len(input) not in drawn:
            return original(input, p, training, inplace)
        rows, positions = drawn[len(input)]
        kept = torch.empty(rows, *input.shape[1:], dtype=input.dtype, device=input.device).bernoulli_(1 - p)
        return input * kept[positions.to(input.device)].div_(1 - p)

    F.dropout = dropout
    try:
        yield
    finally:
        F.dropout = original


def _rows_of_norm(sums: torch.Tensor, power: float) -> torch.Tensor:
    """What this process's rows add to norms of the whole batch's, from their own sums of powers."""
    norms = parallel.total(sums.detach()).pow(1 / power).clamp_min(torch.finfo(sums.dtype).tiny)
    shares = sums / norms ** (power - 1)  # of each norm; as a constant's its derivative is a `power`-fold of the norm's
    return shares / power + (1 - 1 / power) * shares.detach()


@contextmanager
def _norm_of(part: parallel.Shard) -> Iterator[None]:
    """Let ``torch.norm`` of a batch's rows be what they add to the norm of the whole batch's."""
    original = torch.norm

    def norm(input, p="fro", *args, **kwargs):
        if args or kwargs or isinstance(input, torch.nn.Parameter) or len(input) != len(part.positions):
            return original(input, p, *args, **kwargs)
        return parallel.as_part_of_loss(_rows_of_norm(parallel.counted(input).abs().pow(p).sum(), p))

    torch.norm = norm
    try:
        yield
    finally:
        torch.norm = original


def emb_loss(self, *embeddings, require_pow=False):
    """RecBole's ``EmbLoss``; of several processes each gives what its rows add to the norm of the whole batch."""
    if parallel.shard() is None:
        return _original_emb_loss(self, *embeddings, require_pow=require_pow)
    power = self.norm
    sums = torch.stack([parallel.counted(rows).abs().pow(power).sum() for rows in embeddings])
    sizes = parallel.total(torch.tensor(float(len(parallel.counted(embeddings[-1])))))
    if require_pow:
        return parallel.as_part_of_loss(sums.sum().reshape(1) / (sizes.to(sums) * power))
    return parallel.as_part_of_loss(_rows_of_norm(sums, power).sum().reshape(1) / sizes.to(sums))


# --- evaluation --------------------------------------------------------------------------------------------------------


@functools.cache
def _part_of(loader: type) -> type:
    class Part(loader):
        """The batches of a loader that fall to this process."""

        def __bool__(self):
            return True

        def __len__(self):
            own = parallel.share(super().__len__())
            return own.stop - own.start

        def __iter__(self):
            own = parallel.share(super().__len__())
            if not isinstance(self, FullSortEvalDataLoader):  # which draws nothing
                yield from (batch for number, batch in enumerate(super().__iter__()) if own.start <= number < own.stop)
                return
            for number in range(own.start, own.stop):
                start = number * self.step
                yield self.collate_fn(list(range(start, min(start + self.step, self.sample_size))))

    return Part


def evaluation_part(loader):
    """An evaluation loader with this process's share of the batches; batches are those of one process."""
    part = copy.copy(loader)
    part.__class__ = _part_of(type(loader))
    return part


def _gathered(collected: Callable):
    """What the evaluations of all processes collected, users in the order of one process."""
    struct = collected()
    if not parallel.many():
        return struct
    own = {name: value[:0] for name, value in struct._data_dict.items() if isinstance(value, torch.Tensor) and value.dim()}
    known: list = [None] * parallel.size()
    dist.all_gather_object(known, own)
    empty = {name: rows for part in known for name, rows in part.items()}
    for name in sorted(empty):
        struct.set(name, parallel.gather(struct.get(name) if name in struct else empty[name]))
    return struct


def load_best(trainer, path: str) -> None:
    """The best model, which the first process reads, in all of them."""
    model = trainer.model

    def read():
        checkpoint = load_checkpoint(path, map_location=trainer.device)
        model.load_state_dict(checkpoint["state_dict"])
        model.load_other_parameter(checkpoint.get("other_parameter"))

    parallel.on_first(read)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                parallel.send_tensor(tensor)
    other = parallel.send(_moved(model.other_parameter(), "cpu") if parallel.first() else None)
    if not parallel.first():
        model.load_other_parameter(_moved(other, trainer.device))
    getLogger().info(f"Loading model structure and parameters from {path}")


def _moved(values: dict, device) -> dict:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in values.items()}


@torch.no_grad()
def same_statistics(model) -> None:
    """Give every process the first one's running statistics of batch normalisation."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor in module.buffers():
                parallel.send_tensor(tensor)
