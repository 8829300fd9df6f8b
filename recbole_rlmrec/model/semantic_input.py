"""The mixin that adds what a network makes of the texts to a recommender's initial embeddings: ``NAME_Semantic``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.model.options import choice
from recbole_rlmrec.model.text_input import TextInput, TextSettings, part
from recbole_rlmrec.semantic.load import load_semantic

WAYS = ("add", "concat", "replace")


class SemanticMixin:
    """Initial embeddings are ids' and texts'; stands before ``NAME_RLMRec`` among the base classes.

    Alignment and loss work as there. All initial embeddings are made once in a training step, whatever the number of forward
    passes. With ``concat`` ids take one half of ``embedding_size`` and texts the other, so that every recommender can
    take them; with ``replace`` there is no parameter of a user or an item among the initial embeddings.

    Attributes
    ----------
    texts : torch.nn.ModuleList of TextInput
        One for each pair of initial embeddings that the recommender has.
    """

    def __init__(self, config, dataset):
        settings = TextSettings.from_config(config)
        self.semantic_input = choice(config, "semantic_input", WAYS)
        self.id_dropout = part(config, "id_dropout")
        self._shown_tables: list[torch.Tensor] | None = None
        self._depth = 0
        super().__init__(config, dataset)
        self.adapter = copy.copy(self.adapter)
        self.adapter.reads_rows = False
        names = self.adapter.input_names(self)
        other = {"align_with": self.semantic_provenance} if self.alignment is not None and config["align_with"] else {}
        semantic = load_semantic(config, dataset) if self.alignment is None or other else self.alignment.semantic
        self.semantic_provenance = {**semantic.provenance, **other}
        self._inputs = [(name, side) for pair in names for name, side in zip(pair, SIDES) if name]
        self._n = {side: getattr(semantic, side).n for side in SIDES}
        inputs = [TextInput(semantic, settings, dataset, self._narrowed(user, item), bool(user)) for user, item in names]
        self.texts = nn.ModuleList(inputs).to(self.device)

    def calculate_loss(self, interaction, *args, **kwargs):
        self._shown_tables = self._initial_tables()
        try:
            with self.shown(self.adapter.reads_outside):
                return super().calculate_loss(interaction, *args, **kwargs)
        finally:
            self._shown_tables = None

    def forward(self, *args, **kwargs):
        with self.shown():
            return super().forward(*args, **kwargs)

    def predict(self, interaction):
        with self.shown(self.adapter.reads_outside):
            return super().predict(interaction)

    def full_sort_predict(self, interaction):
        with self.shown(self.adapter.reads_outside):
            return super().full_sort_predict(interaction)

    def initial_embeddings(self) -> torch.Tensor:
        """E_0 of the graph recommenders of this package, which some of their losses read outside of ``forward``."""
        with self.shown():
            return super().initial_embeddings()

    def e_step(self):
        """NCL's clusters are those of the embeddings that its loss compares with them."""
        with self.shown(), torch.no_grad():
            return super().e_step()

    def _narrowed(self, user: str, item: str) -> int:
        """Make room for the texts in a pair of embeddings; returns the size of their vectors.

        Rows behind the items, the mask of BERT4Rec, have no text and keep what they learn.
        """
        size = self.get_submodule(item).embedding_dim
        if self.semantic_input == "concat" and size < 2:
            raise ConfigError("semantic_input: concat shares embedding_size between ids and texts; set it to 2 or more.")
        for name, side in zip((user, item), SIDES):
            if not name:
                continue
            embedding = self.get_submodule(name)
            if self.semantic_input == "replace":
                with torch.no_grad():
                    embedding.weight[: self._n[side]] = 0.0
                embedding.weight.requires_grad_(len(embedding.weight) > self._n[side])
            elif self.semantic_input == "concat":
                embedding.weight = nn.Parameter(embedding.weight.detach()[:, : size - size // 2].clone())
        return size // 2 if self.semantic_input == "concat" else size

    def _initial_tables(self) -> list[torch.Tensor]:
        """What the recommender is shown for each of its initial embeddings, [n, embedding_dim]."""
        texts = [table for text in self.texts for table in text() if table is not None]
        ids = [self.get_submodule(name).weight for name, _ in self._inputs]
        texts = [F.pad(text, (0, 0, 0, len(table) - len(text))) for table, text in zip(ids, texts)]
        if self.semantic_input == "replace":
            kept = [self._n[side] for _, side in self._inputs]
            return [text if len(text) == n else torch.cat([text[:n], table[n:]]) for table, text, n in zip(ids, texts, kept)]
        if self.training and self.id_dropout:
            of_side = {side: table for (_, side), table in zip(self._inputs, texts)}
            hidden = {side: torch.rand(len(table), 1, device=table.device) < self.id_dropout for side, table in of_side.items()}
            for side, rows in hidden.items():
                rows[self._n[side] :] = False
            ids = [table.masked_fill(hidden[side], 0.0) for (_, side), table in zip(self._inputs, ids)]
        if self.semantic_input == "concat":
            return [torch.cat(both, dim=1) for both in zip(ids, texts)]
        return [table + text for table, text in zip(ids, texts)]

    def shown(self, wanted: bool = True):
        """Inside the block, unless it is not ``wanted``, the initial embeddings are what the recommender is shown."""
        return self._showing() if wanted and not self._depth else nullcontext()

    @contextmanager
    def _showing(self) -> Iterator[None]:
        tables = self._shown_tables or self._initial_tables()
        raw = []
        for (name, _), table in zip(self._inputs, tables):
            path, _, last = name.rpartition(".")
            modules = self.get_submodule(path)._modules
            raw.append((modules, last, modules[last]))
            modules[last] = _Shown(table, modules[last].padding_idx)
        self._depth = 1
        try:
            yield
        finally:
            self._depth = 0
            for modules, last, embedding in raw:
                modules[last] = embedding


class _Shown(nn.Embedding):
    """An embedding whose rows are computed; looking up the padding row trains nothing."""

    def __init__(self, table: torch.Tensor, padding_idx: int | None):
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = table.shape
        self.padding_idx = padding_idx
        self.__dict__["weight"] = table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self.weight, self.padding_idx)
