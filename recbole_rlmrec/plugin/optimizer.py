"""Adam whose cost per step follows the batch, for recommenders without a graph."""

from __future__ import annotations

from torch import nn
from torch.optim import Adam, SparseAdam


class RowWiseAdam:
    """Adam that updates only the embedding rows that a step touches, and everything else as usual.

    RecBole's ``learner: sparse_adam`` gives all parameters to ``torch.optim.SparseAdam``, which refuses the gradients of
    linear layers. Here the embeddings alone go there. The moments of a row stand still while no batch holds it ("lazy"
    Adam), so results differ from Adam's; time and memory traffic per step no longer grow with the number of users and items.

    Parameters
    ----------
    model : torch.nn.Module
    embeddings : list of torch.nn.Embedding
        Read by id alone in training; switched to sparse gradients.
    learning_rate : float
    weight_decay : float
        Of everything but the embeddings: rows that no batch holds do not decay.
    """

    def __init__(self, model: nn.Module, embeddings: list[nn.Embedding], learning_rate: float, weight_decay: float = 0.0):
        for embedding in embeddings:
            embedding.sparse = True
        rows = [embedding.weight for embedding in embeddings]
        rest = [parameter for parameter in model.parameters() if all(parameter is not row for row in rows)]
        self._optimizers = [SparseAdam(rows, lr=learning_rate)]
        self._optimizers += [Adam(rest, lr=learning_rate, weight_decay=weight_decay)] if rest else []

    def zero_grad(self) -> None:
        """Drop the gradients of the last step."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Update the parameters."""
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> dict:
        """State of both parts, for checkpoints."""
        return {"parts": [optimizer.state_dict() for optimizer in self._optimizers]}

    def load_state_dict(self, state: dict) -> None:
        """Take the state of both parts from a checkpoint."""
        for optimizer, part in zip(self._optimizers, state["parts"]):
            optimizer.load_state_dict(part)
