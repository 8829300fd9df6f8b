"""A trained model: its data, its scores by user and item, and what it has learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.data.atomic import AtomicFile, read_atomic
from recbole_rlmrec.data.columns import guess_title
from recbole_rlmrec.data.pairs import interactions_of
from recbole_rlmrec.errors import DataError, ModelError
from recbole_rlmrec.model.alignment.infonce import normalize_rows
from recbole_rlmrec.model.lookup import backbone_name
from recbole_rlmrec.plugin import vocabulary
from recbole_rlmrec.plugin.evaluation import expands_pairs
from recbole_rlmrec.plugin.sampler import UserItems
from recbole_rlmrec.runs.grown import Later, known_pairs
from recbole_rlmrec.runs.top import top_k, top_products

SCORES_PER_BLOCK = 2**24
USERS_PER_BLOCK = 256


@dataclass(frozen=True)
class Trained:
    """A trained model, on the CPU.

    Attributes
    ----------
    config : recbole.config.Config
        Of the run that trained it.
    model : torch.nn.Module
        In evaluation mode.
    dataset : recbole.data.dataset.Dataset
        The filtered data.
    splits : list of Dataset
        Training, validation and test split.
    alignment : str
        The alignment that it was trained with, ``none`` where it has none.
    aligned : dict of str to Tensor
        What that alignment has learnt, by name; the model itself does without.
    later : Later, optional
        What the data have gained since training, where it is not part of the splits.
    """

    config: object
    model: torch.nn.Module
    dataset: object
    splits: list
    alignment: str = "none"
    aligned: Mapping[str, torch.Tensor] = field(default_factory=dict)
    later: Later | None = None

    @property
    def n_items(self) -> int:
        """Number of internal item ids, padding included."""
        return self.dataset.item_num

    def user_ids(self, tokens: Sequence[str]) -> torch.Tensor:
        """Internal ids of users [k].

        Raises
        ------
        DataError
            The data does not have one of them.
        """
        known = self.dataset.field2token_id[self.dataset.uid_field]
        unknown = [token for token in tokens if known.get(token, 0) == 0]
        if unknown:
            self._refuse_later(unknown)
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise DataError(
                f"{self.config['dataset']} has no user {', '.join(map(repr, unknown[:3]))}{more} after the filters of the run; "
                "write ids as they stand in the .inter file."
            )
        return torch.tensor([known[token] for token in tokens])

    def _refuse_later(self, tokens: Sequence[str]) -> None:
        if new := [token for token in tokens if self.later is not None and token in self.later.users]:
            if self.later.unserved:
                raise ModelError(f"User {new[0]!r} came after training, and has no list. {self.later.unserved}")
            raise ModelError(
                f"User {new[0]!r} came after training, and {self.config['model']} knows users by their ids alone: train it "
                "again, or train a model that serves new users, such as AlphaRec."
            )

    def tokens(self, side: str) -> np.ndarray:
        """Tokens of users or items by internal id, an object array; the first is the padding's."""
        return self.dataset.field2id_token[self.dataset.uid_field if side == "user" else self.dataset.iid_field]

    def items_of(self, parts: Sequence[str]) -> UserItems:
        """Items of each user in some of the splits ``train``, ``valid`` and ``test``, or ``later``, since training.

        Those that begin a sequence are among them, see :func:`recbole_rlmrec.data.pairs.interactions_of`.
        """
        first, all_parts = self.splits[0], zip(vocabulary.PARTS, interactions_of(self.splits), strict=True)
        found = [one for part, one in all_parts if part in parts]
        pairs = torch.from_numpy(np.concatenate([np.zeros((2, 0), dtype=np.int64), *(one[:2] for one in found)], axis=1))
        if self.later is not None and "later" in parts:
            more = known_pairs(self.later, *(first.field2token_id[name] for name in (first.uid_field, first.iid_field)))
            pairs = torch.cat([pairs, torch.stack(more)], dim=1)
        return UserItems.of_pairs(*pairs, self.dataset.user_num, self.n_items)

    @property
    def masked(self) -> tuple[str, ...]:
        """Splits whose items are not ranked at test."""
        return ("train",) if self.config["test_mask"] == "train" else ("train", "valid")

    @property
    def block(self) -> int:
        """How many users to score at a time."""
        if self.tables is not None:
            return USERS_PER_BLOCK
        scores = int(self.config["eval_batch_size"]) if expands_pairs(self.config) else SCORES_PER_BLOCK
        return max(scores // self.n_items, 1)

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """Scores of all items for users [k], float [k, n_items]; they need not be in the test split."""
        return self._scores(self.dataset.join(Interaction({self.dataset.uid_field: users})))

    def _scores(self, rows: Interaction) -> torch.Tensor:
        with torch.no_grad():
            try:
                found = self.model.full_sort_predict(rows)
            except NotImplementedError:
                pairs = rows.repeat_interleave(self.n_items)
                pairs.update(self.dataset.get_item_feature().repeat(len(rows)))
                step = max(int(self.config["eval_batch_size"]), 1)
                parts = range(0, len(pairs), step)
                found = torch.cat([self.model.predict(pairs[start : start + step]).view(-1) for start in parts])
        return found.view(-1, self.n_items).float()

    def top(
        self, users: torch.Tensor, k: int, hidden: UserItems, allowed: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best items of each user but the hidden ones.

        Parameters
        ----------
        users : LongTensor [b]
        k : int
        hidden : UserItems
            Items that are left out.
        allowed : BoolTensor [n_items], optional
            Items that may be shown to anyone.

        Returns
        -------
        scores : FloatTensor [b, k]
            Descending; -inf where a user has no items left; k is smaller where there are fewer items.
        items : LongTensor [b, k]
        """
        k = min(k, self.n_items)
        rows, columns = hidden.rows(users)
        if self.tables is not None:
            return self._top_products(users, k, rows, columns, allowed)
        scores = self.scores(users)
        if scores.untyped_storage().nbytes() != scores.numel() * scores.element_size():
            scores = scores.clone()  # a view of what the model keeps
        scores[:, 0] = -torch.inf
        scores[rows, columns] = -torch.inf
        if allowed is not None:
            scores.masked_fill_(~allowed, -torch.inf)
        return top_k(scores, k)

    def _top_products(self, users, k, rows, columns, allowed) -> tuple[torch.Tensor, torch.Tensor]:
        user_table, item_table = self.tables
        if allowed is None:
            rows, columns = torch.cat([rows, torch.arange(len(users))]), torch.cat([columns, columns.new_zeros(len(users))])
            return top_products(user_table[users], item_table, k, (rows, columns))
        ids = allowed.nonzero().squeeze(1)
        place = torch.full((self.n_items,), -1).index_put((ids,), torch.arange(len(ids)))[columns]
        hidden = rows[place >= 0], place[place >= 0]
        scores, found = top_products(user_table[users], item_table[ids], min(k, len(ids)), hidden)
        return scores, ids[found]

    @cached_property
    def tables(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Float tables [n_users, d] and [n_items, d] whose products are the scores; None where they are no such products."""
        if expands_pairs(self.config):
            return None
        try:
            tables = tuple(table.float() for table in self.representations())
        except ModelError:
            return None
        return self._as_products(tables, torch.arange(1, self.dataset.user_num))

    @property
    def served(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Ids of the users that have a vector [k], these [k, d] and those of all items [n_items, d]; None as for ``tables``."""
        ids = torch.arange(1, self.dataset.user_num)
        return None if self.tables is None else (ids, self.tables[0][ids], self.tables[1])

    def _as_products(self, tables, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The tables, as they are or of unit length, whose products are the scores of some users; None where none are."""
        some = users[torch.linspace(0, len(users) - 1, 8).long().unique()]
        scores = self.scores(some)
        for mine, items in (tables, tuple(map(normalize_rows, tables))):
            if mine.shape[1] == items.shape[1] and torch.allclose(scores, mine[some] @ items.T, atol=1e-5, rtol=1e-4):
                return mine, items
        return None

    @cached_property
    def item_file(self) -> AtomicFile | None:
        """``NAME.item`` as text, the first row of each item; None where there is none."""
        config, item = self.config, self.dataset.iid_field
        path = Path(config["data_path"]) / f"{config['dataset']}.item"
        if not path.is_file():
            return None
        file = read_atomic(path, config["field_separator"] or "\t", config["encoding"] or "utf-8")
        if item not in file.table:
            return None
        return by_item(file, item)

    @cached_property
    def titles(self) -> dict[str, str]:
        """Titles by item token; empty where ``NAME.item`` has none."""
        file = self.item_file
        column = None if file is None else guess_title(file.table.drop(columns=self.dataset.iid_field), file.types)
        return {} if column is None else {token: title for token, title in file.table[column].items() if title}

    def representations(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model represents users [n_users, d] and items [n_items, d] by; row 0 is the padding.

        Raises
        ------
        ModelError
            The model has no such tables.
        """
        from recbole_rlmrec.model.adapters import get_adapter

        name = backbone_name(self.config["model"])
        adapter = getattr(self.model, "adapter", None) or get_adapter(name)
        with torch.no_grad(), observed(self.model, adapter) as calls:
            self.scores(torch.ones(1, dtype=torch.long))
            try:
                users, items = adapter.lookups(self.model, calls)
            except NotImplementedError:
                users = items = None
            if users is None or items is None:
                raise ModelError(f"{name} has no table of representations of its users and items.")
            return users(torch.arange(self.dataset.user_num)), items(torch.arange(self.n_items))


def by_item(file: AtomicFile, item: str) -> AtomicFile:
    """An atomic file of items whose index are their ids, the first row of each."""
    return AtomicFile(file.path, file.table.drop_duplicates(item).set_index(item, drop=False), file.types)


def with_texts(model, adapter):
    """What reads initial embeddings outside of a forward pass finds the texts in them, as the model's own scores do."""
    shown = getattr(model, "shown", None)
    return nullcontext() if shown is None else shown(adapter.reads_outside)


@contextmanager
def observed(model, adapter):
    """Collect the calls that yield representations, `with_texts`, caches of earlier ones dropped."""
    from recbole_rlmrec.model.adapters import Call

    calls: list[Call] = []

    def keep(module, args, output):
        calls.append(Call(args, output, module))

    hooks = [module.register_forward_hook(keep) for module in adapter.observed(model)]
    original = model.forward

    def forward(*args, **kwargs):
        output = original(*args, **kwargs)
        keep(None, args, output)
        return output

    cached = {name: getattr(model, name) for name in getattr(model, "other_parameter_name", None) or ()}
    for name in cached:
        setattr(model, name, None)
    if not hooks or adapter.sees_forward:
        model.forward = forward
    try:
        with with_texts(model, adapter):
            yield calls
    finally:
        vars(model).pop("forward", None)
        for hook in hooks:
            hook.remove()
        for name, value in cached.items():
            setattr(model, name, value)
