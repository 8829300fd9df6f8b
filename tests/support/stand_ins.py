"""Stand-ins for RecBole's config and dataset that offer what models read, so that a test can choose every number."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
import yaml
from recbole.config.configurator import Config
from recbole.data.interaction import Interaction

from recbole_rlmrec.model.lookup import find_model
from recbole_rlmrec.plugin.defaults import model_files
from recbole_rlmrec.semantic.table import Semantic, SemanticTable


class Options(dict):
    """A config: an option that is not set is None."""

    def __missing__(self, key):
        return None


class Interactions:
    """A training dataset of (user, item) pairs by internal id; id 0 is the padding.

    Parameters
    ----------
    users, items : array of int
        Internal ids, from 1.
    n_users, n_items : int
        Numbers of internal ids, padding included.
    """

    uid_field, iid_field = "user_id", "item_id"

    def __init__(self, users, items, n_users: int, n_items: int):
        self.user_num, self.item_num = n_users, n_items
        pairs = {self.uid_field: torch.as_tensor(users).long(), self.iid_field: torch.as_tensor(items).long()}
        self.inter_feat = Interaction(pairs)

    def num(self, field: str) -> int:
        return self.user_num if field == self.uid_field else self.item_num

    def inter_matrix(self, form: str = "coo"):
        users, items = (self.inter_feat[field].numpy() for field in (self.uid_field, self.iid_field))
        return sp.coo_matrix((np.ones(len(users)), (users, items)), shape=(self.user_num, self.item_num))


def batch(users, positives, negatives) -> Interaction:
    """A pair-wise training batch of internal ids."""
    columns = {"user_id": users, "item_id": positives, "neg_item_id": negatives}
    return Interaction({name: torch.as_tensor(ids).long() for name, ids in columns.items()})


def table(rows: np.ndarray, missing=()) -> SemanticTable:
    """Semantic embeddings [n - 1, d] of the internal ids from 1 on, but those that are missing."""
    row_of_id = np.arange(-1, len(rows))
    row_of_id[list(missing)] = -1
    return SemanticTable(np.asarray(rows, dtype=np.float32), row_of_id, "cpu")


def semantic(users, items, missing_users=(), missing_items=()) -> Semantic:
    """Semantic embeddings of users [n_users - 1, d] and items [n_items - 1, d]."""
    return Semantic(table(users, missing_users), table(items, missing_items), "tag", "encoder", {})


def defaults(name: str) -> Options:
    """What the property files of this package set for a model, beside what every config has."""
    options = Options(
        USER_ID_FIELD="user_id", ITEM_ID_FIELD="item_id", NEG_PREFIX="neg_", device=torch.device("cpu"), require_pow=False
    )
    loader = Config._build_yaml_loader(None)
    for file in dict.fromkeys([*model_files(f"{name}_RLMRec"), *model_files(name)]):
        if file.is_file():
            options.update(yaml.load(file.read_text(encoding="utf-8"), Loader=loader))
    return options


def make(name: str, dataset: Interactions, semantic=None, monkeypatch=None, **options):
    """A model on stand-ins, with ``semantic`` in place of what a run would load."""
    if semantic is not None:
        monkeypatch.setattr("recbole_rlmrec.model.rlmrec.load_semantic", lambda config, train: semantic)
    return find_model(name)(Options({**defaults(name), **options}), dataset)
