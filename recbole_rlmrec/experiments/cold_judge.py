"""Who is cold, who ranks them, and how well: everybody's items in one order, whatever a model knows of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recbole_rlmrec.data.atomic import FeatureType, read_atomic
from recbole_rlmrec.data.columns import snake
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Outcome
from recbole_rlmrec.experiments.cells.data import Data
from recbole_rlmrec.experiments.cells.study import Profiles, Study
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.experiments.text_baselines import Scorer, category_popularity, measure, popularity, profile_knn, text_knn
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX
from recbole_rlmrec.runs.new_sequences import extend_sequences
from recbole_rlmrec.runs.newcomers import read_unseen
from recbole_rlmrec.runs.trained import Trained, TrainedOnSequences, load_trained
from recbole_rlmrec.runs.unseen import Unseen, extend, extend_data
from recbole_rlmrec.semantic.more import tag_embeddings

GROUPS = ("cold", "warm", "all", "cold among all")
CATEGORIES = ("category", "categories", "genre", "genres", "class", "topic", "subject", "brand")


@dataclass(frozen=True)
class Task:
    """A split whose cells know nothing of some items or users, and what they are tested on.

    Attributes
    ----------
    data : Data
        What cells are trained on; the cold ones occur in no part of it.
    side : str
        ``item`` or ``user``: who is cold.
    cold : list of str
        Tokens.
    test : DataFrame
        ``user`` and ``item`` tokens: the test split, and every interaction of those held out.
    validation : DataFrame
        The same of the validation split: what is not tested.
    """

    data: Data
    side: str
    cold: list[str]
    test: pd.DataFrame
    validation: pd.DataFrame


class Judge:
    """Everybody's items in one order, the texts of all, and the metrics of whoever ranks them.

    Parameters
    ----------
    study : Study
    task : Task
    profiles : Profiles
    category : str or None
        Column of ``.item``.
    """

    def __init__(self, study: Study, task: Task, profiles: Profiles, category: str | None):
        self._study, self._task, self._profiles, self._category = study, task, profiles, category
        options = {**study.options, **profiles.run_options(), "gpu_id": ""}
        config, train = task.data.load(options)
        self._stand = Trained(config, None, train, [train, *train.rlmrec_heldout])
        self.unseen = self._unseen()
        dataset, splits, self._semantic = extend_data(self._stand, self.unseen)
        self._tokens = {side: self._all(dataset, side) for side in ("user", "item")}
        place = {side: {token: n for n, token in enumerate(tokens)} for side, tokens in self._tokens.items()}
        shape = len(place["user"]), len(place["item"])

        def matrix(pairs: pd.DataFrame) -> sp.csr_matrix:
            rows, columns = (pairs[side].map(place[side]).to_numpy() for side in ("user", "item"))
            found = sp.csr_matrix((np.ones(len(pairs), dtype=np.float32), (rows, columns)), shape=shape)
            found.data[:] = 1.0
            return found

        self.train, self._wanted = matrix(task.data.pairs("train").drop_duplicates()), matrix(task.test)
        hidden = self.train
        if config["test_mask"] != "train":
            seen = task.validation
            there = [seen[side].isin(place[side]) for side in ("user", "item")]
            hidden = self.train.maximum(matrix(seen[there[0] & there[1]].drop_duplicates()))
        self._hidden = hidden - hidden.multiply(self._wanted)  # as in a test of RecBole, what is wanted is never hidden
        self._dataset = dataset

    def _unseen(self) -> Unseen:
        """The cold ones that have a text: in the tag, or put together from their columns as the template's."""
        side, cold = self._task.side, self._task.cold
        if self._study.options.get("semantic_tag"):
            texts = set(tag_embeddings(self._stand.config, self._profiles.tag).tokens.get(side, ()))
            return replace(Unseen(), **{f"{side}s": [token for token in cold if token in texts]})
        found, *_ = read_unseen(self._stand, items=self._items)
        tokens, rows = found.vectors.get(side, ([], np.zeros((0, 1), dtype=np.float32)))
        wanted = [n for n, token in enumerate(tokens) if token in set(cold)]
        tokens = [tokens[n] for n in wanted]
        return Unseen(items=tokens, vectors={side: (tokens, rows[wanted])})

    @property
    def _items(self) -> Path:
        return self._task.data.root / self._task.data.name / f"{self._task.data.name}.item"

    def _all(self, dataset, side: str) -> list[str]:
        """The data set's tokens by internal id, padding included, then those that nobody can serve."""
        name = dataset.uid_field if side == "user" else dataset.iid_field
        tokens = [str(token) for token in dataset.field2id_token[name]]
        return tokens + (sorted(set(self._task.cold) - set(tokens)) if side == self._task.side else [])

    def _vectors(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Texts of all [n, d] in the order of tokens, and who has one [n]."""
        table, n = getattr(self._semantic, side), len(self._tokens[side])
        rows, there = np.zeros((n, table.dim), dtype=np.float32), np.zeros(n, dtype=bool)
        ids = table.ids.numpy()
        rows[ids], there[ids] = table.rows(table.ids).numpy(), True
        return rows, there

    def baselines(self) -> dict[str, Scorer]:
        """What ranks without training."""
        if self._task.side == "user":
            counts = popularity(self.train)
            return {
                "user text-kNN": profile_knn(*self._vectors("user"), self.train),
                "popularity": lambda rows: np.tile(counts, (rows.stop - rows.start, 1)),
            }
        vectors, there = self._vectors("item")
        guessed = category_popularity(popularity(self.train), self._categories(), vectors, there)
        return {
            "text-kNN": text_knn(vectors, there, self.train),
            "popularity by category": lambda rows: np.tile(guessed, (rows.stop - rows.start, 1)),
        }

    def _categories(self) -> list[str]:
        """Category of each item, the first of a sequence of them; empty where it has none."""
        tokens, path, data = self._tokens["item"], self._items, self._task.data
        if not path.is_file():
            return [""] * len(tokens)
        file = read_atomic(path, data.separator, data.encoding)
        table = file.table
        name = self._category or next((column for wanted in CATEGORIES for column in table if snake(column) == wanted), None)
        if self._category and self._category not in table:
            raise ConfigError(f"{path} has no column {self._category!r} for --category but {', '.join(table)}.")
        if name is None:
            return [""] * len(tokens)
        first = table[name]
        if file.types[name] == FeatureType.TOKEN_SEQ:
            first = first.str.split(self._stand.config["seq_separator"] or " ", regex=False).str[0]
        values = dict(zip(table[data.id_fields[1]], first.str.strip()))
        return [values.get(token, "") for token in tokens]

    def scorer(self, outcome: Outcome) -> Scorer:
        """Scores of a cell's model, which serves the cold ones if it can; the others are never ranked."""
        where = {"data_path": str(self._task.data.root), "semantic_path": str(self._profiles.path)}
        trained = load_trained(outcome.checkpoint, where)
        if isinstance(trained, TrainedOnSequences):
            if outcome.cell.runs.endswith(SEMANTIC_SUFFIX):
                trained = extend_sequences(trained, self.unseen)
        elif VARIANTS[outcome.cell.variant].text:
            trained = extend(trained, self.unseen)
        ids = {side: self._ids(trained, side) for side in ("user", "item")}
        users, items = torch.from_numpy(ids["user"]), ids["item"]

        def scores(rows: slice) -> np.ndarray:
            found = trained.scores(users[rows].clamp_min(0)).numpy()[:, np.maximum(items, 0)]
            return np.where((users[rows] > 0).numpy()[:, None] & (items > 0), found, -np.inf)

        return scores

    def _ids(self, trained: Trained, side: str) -> np.ndarray:
        name = trained.dataset.uid_field if side == "user" else trained.dataset.iid_field
        known = trained.dataset.field2token_id[name]
        return np.array([known.get(token, -1) for token in self._tokens[side]], dtype=np.int64)

    def judge(self, scorer: Scorer) -> pd.DataFrame:
        """Metrics of each tested user, ``recall@20 cold`` ..., NaN where there is nothing to find."""
        tokens, cold = self._tokens[self._task.side], set(self._task.cold)
        is_cold = np.array([token in cold for token in tokens])
        topk = self._study.options["topk"]
        if self._task.side == "user":
            everything = np.ones(self._wanted.shape[1], dtype=bool)
            found = measure(scorer, self._hidden, self._wanted, {"all": (everything, everything)}, topk)
            for name, values in list(found.items()):
                metric = name.partition(" ")[0]
                found[f"{metric} cold"] = np.where(is_cold, values, np.nan)
                found[f"{metric} warm"] = np.where(is_cold, np.nan, values)
        else:
            everything = np.ones(len(tokens), dtype=bool)
            everything[0] = False
            among = {"cold": (is_cold, is_cold), "warm": (everything & ~is_cold,) * 2, "all": (everything, everything)}
            found = measure(scorer, self._hidden, self._wanted, {**among, GROUPS[3]: (everything, is_cold)}, topk)
        return pd.DataFrame(found, index=pd.Index(self._tokens["user"], name="user")).dropna(how="all")
