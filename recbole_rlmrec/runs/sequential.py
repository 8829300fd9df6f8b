"""A trained sequential recommender: it ranks by what users did last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.data.atomic import PARTS
from recbole_rlmrec.errors import ConfigError, ModelError
from recbole_rlmrec.model.adapters import get_adapter
from recbole_rlmrec.model.lookup import backbone_name
from recbole_rlmrec.plugin.sampler import UserItems
from recbole_rlmrec.runs.histories import Histories, alone_of
from recbole_rlmrec.runs.scoring import SCORES_PER_BLOCK, Trained, observed, with_texts

SEQUENCES_PER_BLOCK = 1024


@contextmanager
def _at_once(model) -> Iterator[None]:
    """Let a model rank all sequences in one forward pass and in their order."""
    before = getattr(model, "ranks_in_blocks", None)
    model.ranks_in_blocks = False
    try:
        yield
    finally:
        model.ranks_in_blocks = before


@dataclass(frozen=True)
class TrainedOnSequences(Trained):
    """A trained model whose users are their sequences.

    Attributes
    ----------
    histories : Histories
    ends : str
        The part of the split with which they end.
    """

    histories: Histories | None = None
    ends: str = "valid"

    def until(self, part: str) -> TrainedOnSequences:
        """The same model where users' sequences end with the split ``train``, ``valid`` or ``test``.

        Raises
        ------
        ConfigError
            There is no such split.
        """
        if part not in PARTS:
            raise ConfigError(f"A sequence ends with one of {', '.join(PARTS)}, not {part!r}.")
        return replace(self, histories=Histories.of_splits(self.dataset, self.splits, PARTS.index(part) + 1), ends=part)

    def items_of(self, parts: Sequence[str]) -> UserItems:
        """As :meth:`Trained.items_of`; with any part, what came later counts, too, and the one item that is a whole history."""
        found = super().items_of(parts)
        if not parts:
            return found
        later = [(user, item) for user, items in self.histories.later.items() for item in items]
        pairs = torch.tensor(later, dtype=torch.long).reshape(-1, 2).T
        pairs = torch.cat([pairs, torch.from_numpy(alone_of(self.dataset))], dim=1)
        more = UserItems.of_pairs(pairs[0], pairs[1], self.dataset.user_num, self.n_items)
        return UserItems(torch.cat([found.keys, more.keys]).unique(), self.dataset.user_num, self.n_items)

    @property
    def masked(self) -> tuple[str, ...]:
        return ()  # what comes next may have come before

    @property
    def tables(self) -> None:
        """Scores are made of sequences, none for who has none."""
        return

    @property
    def served(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """As :attr:`Trained.served`; a user's vector is that of the sequence, and users without one have none."""
        tables, everybody = self.representations(), torch.arange(1, self.dataset.user_num)
        ids = everybody[self._inputs(everybody)[0]]
        tables = self._as_products(tables, ids) if len(ids) else None
        return None if tables is None else (ids, tables[0][ids], tables[1])

    @property
    def block(self) -> int:
        return min(max(SCORES_PER_BLOCK // self.n_items, 1), SEQUENCES_PER_BLOCK)

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """As :meth:`Trained.scores`; nothing is scored (-inf) for a user without a history.

        Raises
        ------
        ModelError
            The model knows users by their ids, and one is new to it.
        """
        found = torch.full((len(users), self.n_items), -torch.inf)
        there, inputs = self._inputs(users)
        if len(inputs):
            with self._knowing_users(inputs):
                found[there] = self._scores(inputs)
        return found

    def representations(self) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`Trained.representations`: sequences stand for users, zeros where there is none."""
        adapter = getattr(self.model, "adapter", None) or get_adapter(backbone_name(self.config["model"]))
        with torch.no_grad(), with_texts(self.model, adapter):
            items = adapter.targets(self.model)(torch.arange(self.n_items))
        users = torch.zeros(self.dataset.user_num, items.shape[1])
        for part in torch.arange(1, self.dataset.user_num).split(SEQUENCES_PER_BLOCK):
            there, inputs = self._inputs(part)
            if len(inputs):
                with observed(self.model, adapter) as calls, _at_once(self.model):
                    self._scores(inputs)
                    users[part[there]] = adapter.rows(self.model, inputs, calls).detach()
        return users, items

    def _inputs(self, users: torch.Tensor) -> tuple[torch.Tensor, Interaction]:
        """Which users have a history, and the model's input for these."""
        inputs = self.histories.inputs(users)
        there = inputs[self.histories.names["length"]] > 0
        return there, self.dataset.join(inputs[there])

    @contextmanager
    def _knowing_users(self, inputs: Interaction) -> Iterator[None]:
        """Say in a sentence that the model misses the ids of users whom it has not met."""
        try:
            yield
        except KeyError as missing:
            if missing.args != (self.dataset.uid_field,) or self.dataset.uid_field in inputs:
                raise
            name = self.config["model"]
            raise ModelError(f"{name} knows users by their ids beside their sequences, so it cannot serve new ones.") from None
