"""Vectors of users and items out of their texts alone: what AlphaRec and the semantic recommenders begin with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function

from recbole_rlmrec.errors import ConfigError, SemanticError
from recbole_rlmrec.model.device import no_autocast
from recbole_rlmrec.model.history import HistoryMean
from recbole_rlmrec.model.options import choice, count, flag, number
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

USER_TEXTS = ("history", "profile", "both")


@dataclass(frozen=True)
class TextSettings:
    """The options of what is made of the texts, checked.

    Parameters
    ----------
    user_text : str
        ``user_text``: a user's text is the mean of the training items' (``history``), the own ``profile``, or ``both``.
    network : str
        ``semantic_mlp``: ``mlp`` (two layers) or ``linear``.
    hidden : int or None
        ``semantic_hidden_size``: size of the hidden layer; None is the mean of the sizes of text and output.
    center : bool
        ``semantic_center``: subtract the mean of the side's texts.
    dropout : float
        ``semantic_dropout``: share of the texts' dimensions that a training step hides, the same of all texts.
    """

    user_text: str
    network: str
    hidden: int | None
    center: bool
    dropout: float

    @classmethod
    def from_config(cls, config) -> TextSettings:
        """Read and check the options of a run.

        Raises
        ------
        ConfigError
            An option is out of range.
        """
        return cls(
            user_text=choice(config, "user_text", USER_TEXTS),
            network=choice(config, "semantic_mlp", ("mlp", "linear")),
            hidden=None if config["semantic_hidden_size"] in (None, "") else count(config, "semantic_hidden_size"),
            center=flag(config, "semantic_center"),
            dropout=part(config, "semantic_dropout"),
        )


def part(config, key: str) -> float:
    """A share that may be 0 but not 1.

    Raises
    ------
    ConfigError
        The value is something else.
    """
    return number(config, key, 0.0, "a number of at least 0 and below 1", below=1.0)


class _TableProduct(Function):
    """The texts of a table times a weight, [count, h]; neither is copied as a whole, and the texts get no gradient."""

    @staticmethod
    def forward(ctx, weight, table):
        ctx.table = table
        product = weight.new_empty(table.count, len(weight))
        for rows, block in table.blocks():
            torch.mm(block.to(weight.dtype), weight.T, out=product[rows])
        return product

    @staticmethod
    def backward(ctx, grad):
        total = grad.new_zeros(grad.shape[1], ctx.table.dim)
        for rows, block in ctx.table.blocks():
            total.addmm_(grad[rows].T, block.to(grad.dtype))
        return total, None


class TextNetwork(nn.Module):
    r"""From a text to a vector: :math:`W_2\,\mathrm{LeakyReLU}(W_1 (s - m) + b_1) + b_2`, or :math:`W (s - m)` if linear.

    The first layer is applied to texts before they are averaged, which is the same as after, and far less work.

    Parameters
    ----------
    n_in, n_out : int
    settings : TextSettings
    center : torch.Tensor
        m [n_in].
    """

    def __init__(self, n_in: int, n_out: int, settings: TextSettings, center: torch.Tensor):
        super().__init__()
        linear = settings.network == "linear"
        hidden = n_out if linear else settings.hidden or (n_in + n_out) // 2
        self.first = nn.Linear(n_in, hidden, bias=not linear)
        self.second = None if linear else nn.Linear(hidden, n_out)
        self.dropout = settings.dropout
        self.register_buffer("center", center)

    def first_product(self, table: SemanticTable) -> torch.Tensor:
        """First layer without bias, of the texts of a table in the order of its ids, [count, hidden]."""
        weight = self.first.weight
        if self.training and self.dropout:
            kept = torch.empty_like(weight[0]).bernoulli_(1 - self.dropout)  # not F.dropout, which is of a batch's rows
            weight = kept.div_(1 - self.dropout) * weight
        with no_autocast(weight.device):
            return _TableProduct.apply(weight, table) - weight @ self.center.to(weight.dtype)

    def rest(self, product: torch.Tensor) -> torch.Tensor:
        """What follows the first layer's product [k, hidden], [k, n_out]."""
        return product if self.second is None else self.second(F.leaky_relu(product + self.first.bias))

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """Vectors [k, n_out] of texts [k, n_in], without dropout."""
        centred = texts.to(self.first.weight.dtype) - self.center.to(self.first.weight.dtype)
        return self.rest(F.linear(centred, self.first.weight))


class TextInput(nn.Module):
    """Vectors of all users and all items of a run out of their texts; zero for those without text, and the padding.

    Items, and users as the mean of their training items, share a network; profiles of users have one of their own. With
    ``user_text: both`` the two vectors of a user are added.

    Parameters
    ----------
    semantic : Semantic
    settings : TextSettings
    dataset : recbole.data.dataset.Dataset
        The training split: histories are of it alone.
    n_out : int
    users : bool
        Whether users have vectors; in a sequential recommender a user is a sequence of items.

    Raises
    ------
    SemanticError
        No item has a text, or no user has a profile and they are asked for.
    """

    def __init__(self, semantic: Semantic, settings: TextSettings, dataset, n_out: int, users: bool = True):
        super().__init__()
        self.semantic, self.settings, self.n_out = semantic, settings, n_out
        parts = {"history", "profile"} if settings.user_text == "both" else {settings.user_text}
        if not users and settings.user_text != "history":
            raise ConfigError("user_text is of recommenders with an embedding of users; leave it out.")
        parts = parts if users else set()
        _require(semantic, settings, "profile" in parts)
        self.item = self._network(semantic.item)
        self.user = self._network(semantic.user) if "profile" in parts else None
        self.history = HistoryMean(dataset, semantic.item.covered) if "history" in parts else None

    def _network(self, table: SemanticTable) -> TextNetwork:
        center = table.mean() if self.settings.center else torch.zeros(table.dim, device=table.covered.device)
        return TextNetwork(table.dim, self.n_out, self.settings, center)

    def forward(self) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Vectors of users [n_users, n_out], if any, and of items [n_items, n_out]; each text meets the first layer once."""
        table = self.semantic.item
        product = self.item.first_product(table)
        items = _spread(self.item.rest(product), table)
        users = None
        if self.history is not None:
            averaged = self.history(items if self.item.second is None else _spread(product, table))
            users = averaged if self.item.second is None else self.item.rest(averaged) * self.history.known.unsqueeze(1)
        if self.user is not None:
            profiles = _spread(self.user.rest(self.user.first_product(self.semantic.user)), self.semantic.user)
            users = profiles if users is None else users + profiles
        return users, items

    def embed_items(self, texts: torch.Tensor) -> torch.Tensor:
        """Vectors [k, n_out] of items that the run does not have, from the embeddings of their texts [k, d_s]."""
        return self.item(texts)

    def embed_users(self, history: torch.Tensor | None = None, profiles: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors [k, n_out] of users that the run does not have; what is None or not used here counts nothing.

        Parameters
        ----------
        history : torch.Tensor, optional
            Mean of the embeddings of the texts of each user's items [k, d_s].
        profiles : torch.Tensor, optional
            Embeddings of their profiles [k, d_s].

        Raises
        ------
        SemanticError
            Neither is given of what ``user_text`` says.
        """
        parts = [self.item(history)] if self.history is not None and history is not None else []
        if self.user is not None and profiles is not None:
            parts.append(self.user(profiles))
        if not parts:
            raise SemanticError(f"user_text is {self.settings.user_text}: new users need their {_needed(self.settings)}.")
        return sum(parts)


def _needed(settings: TextSettings) -> str:
    return {"history": "items", "profile": "profiles"}.get(settings.user_text, "items or profiles")


def _require(semantic: Semantic, settings: TextSettings, profiles: bool) -> None:
    if not semantic.item.count:
        raise SemanticError(
            f"No item of this run has a profile of tag {semantic.tag!r}, and this recommender begins with the items' texts; "
            "make or import profiles of items."
        )
    if profiles and not semantic.user.count:
        raise SemanticError(
            f"user_text is {settings.user_text}, but no user of this run has a profile of tag {semantic.tag!r}; "
            "set user_text: history, or make or import profiles of users."
        )


def _spread(rows: torch.Tensor, table: SemanticTable) -> torch.Tensor:
    """Rows of those who have a profile [count, d] as a table of all internal ids [n, d]; zero for others."""
    return rows.new_zeros(table.n, rows.shape[1]).index_copy(0, table.ids, rows)
