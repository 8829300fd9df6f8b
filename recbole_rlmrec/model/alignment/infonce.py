"""InfoNCE in blocks: losses over all pairs of rows and candidates of which only some logits exist at a time."""

from __future__ import annotations

import math

import torch
from torch.autograd import Function

from recbole_rlmrec.model.device import at_least_float32, no_autocast


class _BlockLogSumExp(Function):
    """log sum_k exp(a_r . c_k / temperature) for every row r, with a backward pass that recomputes.

    The matrix of logits is kept for the backward pass only where it has at most ``block`` entries; otherwise at most
    that many of them exist at a time, in the forward and in the backward pass.
    """

    @staticmethod
    def forward(ctx, anchors, columns, temperature, block):
        ctx.shape = temperature, block
        step = max(1, block // max(len(columns), 1))
        lse = anchors.new_empty(len(anchors))
        kept = None
        for start in range(0, len(anchors), step):
            logits = (anchors[start : start + step] @ columns.T).div_(temperature)
            peak = logits.amax(dim=1, keepdim=True)
            exp = logits.sub_(peak).exp_()
            total = exp.sum(dim=1)
            lse[start : start + step] = total.log() + peak.squeeze(1)
            if step >= len(anchors):
                kept = exp.div_(total.unsqueeze(1))
        ctx.save_for_backward(anchors, columns, lse, kept)
        return lse

    @staticmethod
    def backward(ctx, grad):
        anchors, columns, lse, kept = ctx.saved_tensors
        temperature, block = ctx.shape
        step = max(1, block // max(len(columns), 1))
        grad_anchors, grad_columns = torch.empty_like(anchors), torch.zeros_like(columns)
        scale = (grad / temperature).unsqueeze(1)
        for start in range(0, len(anchors), step):
            rows = slice(start, start + step)
            weights = kept
            if weights is None:
                weights = (anchors[rows] @ columns.T).div_(temperature).sub_(lse[rows].unsqueeze(1)).exp_()
            grad_anchors[rows] = weights @ columns * scale[rows]
            grad_columns += weights.T @ (anchors[rows] * scale[rows])
        return grad_anchors, grad_columns, None, None


def block_logsumexp(anchors: torch.Tensor, columns: torch.Tensor, temperature: float, block: int | None = None) -> torch.Tensor:
    """Row-wise log-sum-exp of ``anchors @ columns.T / temperature``.

    Parameters
    ----------
    anchors : torch.Tensor
        Normalised rows [r, d].
    columns : torch.Tensor
        Normalised candidates [k, d], at least one.
    temperature : float
    block : int, optional
        Number of logits that may exist at a time; empty means 2^24.

    Returns
    -------
    torch.Tensor
        [r]
    """
    return _BlockLogSumExp.apply(anchors, columns, temperature, block or 1 << 24)


class _LogSumExpTotal(Function):
    """sum_r w_r log sum_k exp(a_r . c_k / temperature + bias_k), with the gradient computed on the way forward.

    To the logit of row r and column own_r, where there are such, shift_r is added.

    The weights are known before the backward pass, so each block of logits is made once, used for the value and for the
    gradient, and overwritten by the next.
    """

    @staticmethod
    def forward(ctx, anchors, columns, weights, bias, own, shift, temperature, block):
        scaled = anchors / temperature
        step = max(1, min(block // len(columns), len(anchors)))
        buffer = anchors.new_empty(step, len(columns))
        grad_anchors, grad_columns = torch.empty_like(anchors), torch.zeros_like(columns)
        shares, total = torch.empty_like(weights), weights.new_zeros(())
        for start in range(0, len(anchors), step):
            rows = slice(start, start + step)
            logits = buffer[: len(scaled[rows])]
            if bias is None:
                torch.mm(scaled[rows], columns.T, out=logits)
            else:
                torch.addmm(bias, scaled[rows], columns.T, out=logits)
            if own is not None:
                logits.scatter_add_(1, own[rows].unsqueeze(1), shift[rows].unsqueeze(1))
            peak = logits.amax(dim=1, keepdim=True)
            exp = logits.sub_(peak).exp_()
            sums = exp.sum(dim=1)
            total += weights[rows] @ (sums.log() + peak.squeeze(1))
            shares[rows] = weights[rows] / sums
            torch.mm(exp, columns, out=grad_anchors[rows])
            grad_columns.addmm_(exp.T, scaled[rows] * shares[rows].unsqueeze(1))
        ctx.save_for_backward(grad_anchors.mul_((shares / temperature).unsqueeze(1)), grad_columns)
        return total

    @staticmethod
    def backward(ctx, grad):
        grad_anchors, grad_columns = ctx.saved_tensors
        return grad * grad_anchors, grad * grad_columns, *[None] * 6


def logsumexp_total(
    anchors: torch.Tensor,
    columns: torch.Tensor,
    weights: torch.Tensor,
    temperature: float = 1.0,
    bias: torch.Tensor | None = None,
    block: int | None = None,
    own: torch.Tensor | None = None,
    shift: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted sum over the rows of what :func:`block_logsumexp` gives, at a third less work in training.

    Parameters
    ----------
    anchors : torch.Tensor
        Rows [r, d].
    columns : torch.Tensor
        Candidates [k, d], at least one.
    weights : torch.Tensor
        Weight of each row [r]; constants.
    temperature : float
    bias : torch.Tensor, optional
        Added to every row of logits [k], finite; a constant.
    block : int, optional
        Number of logits that may exist at a time; empty means what fits a cache, or on a GPU what keeps it busy.
    own : torch.LongTensor, optional
        A column of each row [r], to whose logit ``shift`` is added.
    shift : torch.Tensor, optional
        [r]; constants. Given with ``own``.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    if block is None:
        block = 1 << 25 if anchors.is_cuda else 1 << 20
    with no_autocast(anchors.device):
        return _LogSumExpTotal.apply(
            at_least_float32(anchors), at_least_float32(columns), weights, bias, own, shift, temperature, block
        )


class _ReconstructionTotal(Function):
    """sum_i -log(exp(l_ii) / (sum_j exp(l_ij) + epsilon) + epsilon), l_ij = cos(query_i, profile_j) / temperature.

    As in :class:`_LogSumExpTotal` the gradient of a block of rows is computed while its logits are there.
    """

    @staticmethod
    def forward(ctx, query, profiles, temperature, epsilon, block, first):
        column_scale = 1 / torch.linalg.vector_norm(profiles, dim=1).clamp_min_(1e-12)
        profiles, exact = profiles.to(query.dtype), column_scale.dtype
        log_epsilon = column_scale.new_full((), math.log(epsilon))
        step = max(1, min(block // len(profiles), len(query)))
        gradient, total = torch.empty_like(query), column_scale.new_zeros(())
        for start in range(0, len(query), step):
            rows = slice(start, start + step)
            unit = query[rows].to(exact, copy=True)
            norm = unit.norm(dim=1, keepdim=True).clamp_min_(1e-12)
            unit /= norm
            norm *= temperature
            logits = torch.mm(query[rows], profiles.T).to(exact).mul_(column_scale).div_(norm)
            own, peak = logits.diagonal(first + start).clone(), logits.amax(dim=1, keepdim=True)
            exp = logits.sub_(peak).exp_()
            sums = exp.sum(dim=1)
            lse = sums.log() + peak.squeeze(1)
            log_ratio = own - torch.logaddexp(lse, log_epsilon)
            total -= torch.logaddexp(log_ratio, log_epsilon).sum()
            pull = torch.sigmoid(log_ratio - log_epsilon)
            weights = exp.mul_((pull * torch.sigmoid(lse - log_epsilon) / sums).unsqueeze(1))
            weights.diagonal(first + start).sub_(pull)
            towards = torch.mm(weights.mul_(column_scale).to(query.dtype), profiles).to(exact)
            radial = torch.linalg.vecdot(towards, unit).unsqueeze(1)
            gradient[rows] = towards.addcmul_(unit, radial, value=-1).div_(norm)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        return ctx.saved_tensors[0] * grad.to(ctx.saved_tensors[0].dtype), *[None] * 5


def reconstruction_total(
    query: torch.Tensor,
    profiles: torch.Tensor,
    temperature: float,
    epsilon: float = 1e-8,
    block: int | None = None,
    first: int = 0,
) -> torch.Tensor:
    r"""Generative loss of rows that each have one profile, the profiles of the others being the negatives.

    .. math::
        \sum_i -\log \Big( \frac{\exp(\cos(q_i, s_i)/\tau)}{\sum_j \exp(\cos(q_i, s_j)/\tau) + \epsilon} + \epsilon \Big)

    Parameters
    ----------
    query : torch.Tensor
        q [k, d]; of its type are the matrix products; sums are at least float32.
    profiles : torch.Tensor
        s [m, d], at least one row; constants.
    temperature : float
        tau.
    epsilon : float
        1e-8 in the released implementation.
    block : int, optional
        Number of logits that may exist at a time; empty means a number that takes some MiB, or on a GPU what keeps it busy.
    first : int
        The profile of the first query; the others follow.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    profiles = profiles.to(torch.promote_types(query.dtype, torch.float32))
    if block is None:
        block = 1 << 25 if query.is_cuda else 1 << 22
    return _ReconstructionTotal.apply(query, profiles, temperature, epsilon, block, first)


def normalize_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows of unit length, with the norm that InfoNCE of the released implementation takes: sqrt(1e-8 + |x|^2)."""
    return x / torch.sqrt(1e-8 + x.square().sum(dim=1, keepdim=True))
