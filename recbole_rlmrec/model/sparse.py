"""Products of sparse and dense matrices."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F

from recbole_rlmrec.model.device import at_least_float32, no_autocast, on_gpu


def csr_matmul(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Product of a constant CSR matrix and a dense one, without gradient; on a CPU several times as fast as that of torch.

    There the rows of x are summed as the words of a bag are, by a kernel that fetches the next ones ahead.

    Parameters
    ----------
    matrix : torch.Tensor
        CSR [r, n].
    x : torch.Tensor
        [n, d]; taken as float32 at least.

    Returns
    -------
    torch.Tensor
        [r, d]
    """
    with no_autocast(x.device):
        x = at_least_float32(x.detach()).contiguous()
        if on_gpu(x) or x.dtype != torch.float32:
            return matrix @ x
        crow, col, values = matrix.crow_indices(), matrix.col_indices(), matrix.values()
        return F.embedding_bag(col, x, crow, mode="sum", per_sample_weights=values, include_last_offset=True)


def _silence_beta_warning() -> None:
    """Torch says once per process that its CSR tensors are in beta: have it said here, unheard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), torch.tensor([]), size=(1, 1))


_silence_beta_warning()
