"""Log-sum-exp of cosine logits in blocks, the common core of both alignment losses."""

from __future__ import annotations

import torch
from torch.autograd import Function


class _BlockLogSumExp(Function):
    """log sum_k exp(a_r . c_k / temperature + bias_k) for every row r, with a backward pass that recomputes.

    The matrix of logits is kept for the backward pass only where it has at most ``block`` entries; otherwise at most
    that many of them exist at a time, in the forward and in the backward pass.
    """

    @staticmethod
    def forward(ctx, anchors, columns, bias, temperature, block, dtype):
        ctx.shape = temperature, block, dtype
        step = max(1, block // max(len(columns), 1))
        lse = anchors.new_empty(len(anchors))
        kept = None
        for start in range(0, len(anchors), step):
            logits = _logits(anchors[start : start + step], columns, bias, temperature, dtype)
            peak = logits.amax(dim=1, keepdim=True)
            peak.masked_fill_(peak == -torch.inf, 0.0)
            exp = logits.sub_(peak).exp_()
            total = exp.sum(dim=1)
            lse[start : start + step] = total.log() + peak.squeeze(1)
            if step >= len(anchors):
                kept = exp.div_(total.clamp_min(1.0).unsqueeze(1))
        ctx.save_for_backward(anchors, columns, bias, lse.masked_fill(lse == -torch.inf, 0.0), kept)
        return lse

    @staticmethod
    def backward(ctx, grad):
        anchors, columns, bias, lse, kept = ctx.saved_tensors
        temperature, block, dtype = ctx.shape
        step = max(1, block // max(len(columns), 1))
        grad_anchors = torch.empty_like(anchors) if ctx.needs_input_grad[0] else None
        grad_columns = torch.zeros_like(columns) if ctx.needs_input_grad[1] else None
        scale = (grad / temperature).unsqueeze(1)
        for start in range(0, len(anchors), step):
            rows = slice(start, start + step)
            if kept is None:
                weights = _logits(anchors[rows], columns, bias, temperature, dtype)
                weights = weights.sub_(lse[rows].unsqueeze(1)).exp_()
            else:
                weights = kept
            if grad_anchors is not None:
                grad_anchors[rows] = _product(weights, columns, dtype) * scale[rows]
            if grad_columns is not None:
                grad_columns += _product(weights.T, anchors[rows] * scale[rows], dtype)
        return grad_anchors, grad_columns, None, None, None, None


def _product(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if dtype is None or dtype == a.dtype:
        return a @ b
    return (a.to(dtype) @ b.to(dtype)).to(a.dtype)


def _logits(anchors, columns, bias, temperature, dtype):
    logits = _product(anchors, columns.T, dtype).div_(temperature)
    return logits if bias is None else logits.add_(bias)


def block_logsumexp(
    anchors: torch.Tensor,
    columns: torch.Tensor,
    temperature: float,
    bias: torch.Tensor | None = None,
    block: int | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Row-wise log-sum-exp of ``anchors @ columns.T / temperature + bias``.

    Parameters
    ----------
    anchors : torch.Tensor
        Normalised rows [r, d].
    columns : torch.Tensor
        Normalised candidates [k, d].
    temperature : float
    bias : torch.Tensor, optional
        Added to every row of logits [k]: the logarithm of how often a candidate counts, -inf for not at all.
    block : int, optional
        Number of logits that may exist at a time; empty means 2^24.
    dtype : torch.dtype, optional
        Type of the matrix products, for example ``torch.bfloat16``; sums stay in the type of ``anchors``.

    Returns
    -------
    torch.Tensor
        [r]; -inf for a row without candidates.
    """
    return _BlockLogSumExp.apply(anchors, columns, bias, temperature, block or 1 << 24, dtype)


class _LogSumExpTotal(Function):
    """sum_r w_r log sum_k exp(a_r . c_k / temperature + bias_k), with the gradient computed on the way forward.

    The weights are known before the backward pass, so each block of logits is made once, used for the value and for the
    gradient, and overwritten by the next.
    """

    @staticmethod
    def forward(ctx, anchors, columns, weights, bias, temperature, block):
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
        return grad * grad_anchors, grad * grad_columns, None, None, None, None


def logsumexp_total(
    anchors: torch.Tensor,
    columns: torch.Tensor,
    weights: torch.Tensor,
    temperature: float = 1.0,
    bias: torch.Tensor | None = None,
    block: int | None = None,
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

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    if block is None:
        block = 1 << 25 if anchors.is_cuda else 1 << 20
    return _LogSumExpTotal.apply(anchors, columns, weights, bias, temperature, block)


def normalize_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows of unit length, with the norm that InfoNCE of the released implementation takes: sqrt(1e-8 + |x|^2)."""
    return x / torch.sqrt(1e-8 + x.square().sum(dim=1, keepdim=True))
