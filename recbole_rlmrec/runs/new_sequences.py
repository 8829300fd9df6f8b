"""A trained sequential recommender among users, items and interactions that training never saw; nothing is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from recbole.utils import init_seed

from recbole_rlmrec.errors import DataError, ModelError, SemanticError
from recbole_rlmrec.model.adapters import get_adapter
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX, backbone_name, find_model
from recbole_rlmrec.runs.sequential import TrainedOnSequences
from recbole_rlmrec.runs.unseen import Unseen, extend_data, fitted, grown


def extend_sequences(trained: TrainedOnSequences, unseen: Unseen) -> TrainedOnSequences:
    """A trained sequential recommender that knows more: what users did later, other users' sequences, items with a text.

    Parameters
    ----------
    trained : TrainedOnSequences
    unseen : Unseen
        Its pairs follow what is known of their users, in their order.

    Returns
    -------
    TrainedOnSequences
        Internal ids of known users and items stay; new ones follow.

    Raises
    ------
    ModelError
        Some items are new, and it scores items by something else than their texts.
    SemanticError
        A new item has no text.
    DataError
        A new user has no history, or an interaction names somebody whom nobody knows.
    """
    found = _with_items(trained, unseen) if unseen.items else trained
    dataset = grown(found.dataset, {found.dataset.uid_field: list(unseen.users), found.dataset.iid_field: []})
    users = unseen.pairs["user"].map(dataset.field2token_id[dataset.uid_field])
    items = unseen.pairs["item"].map(dataset.field2token_id[dataset.iid_field])
    if (lost := users.isna() | items.isna()).any():
        row = unseen.pairs[lost].iloc[0]
        raise DataError(
            f"The interaction of user {row['user']!r} with item {row['item']!r} names one that neither the run nor the files "
            "of new ones have; add it there, or take the line out."
        )
    later: dict[int, list[int]] = {user: list(more) for user, more in found.histories.later.items()}
    for user, item in zip(users.astype(int), items.astype(int)):
        later.setdefault(user, []).append(item)
    first = found.dataset.user_num
    if silent := [token for place, token in enumerate(unseen.users) if first + place not in later]:
        name = trained.config["model"]
        raise DataError(f"New user {silent[0]!r} has no history, and {name} ranks by nothing else; give one.")
    row_of = np.concatenate([found.histories.row_of, np.full(len(unseen.users), -1)])
    return replace(found, dataset=dataset, histories=replace(found.histories, row_of=row_of, later=later))


def check_new_items(name: str) -> None:
    """Refuse a sequential recommender whose scores of an item do not come from its text.

    Raises
    ------
    ModelError
        One sentence that names one that can serve new items.
    """
    if not name.endswith(SEMANTIC_SUFFIX):
        knows = "knows items by their ids alone"
    elif not get_adapter(backbone_name(name)).scores_texts:
        knows = "reads texts in sequences but scores an item by weights of its own"
    else:
        return
    raise ModelError(f"{name} {knows}, so it cannot serve new ones; train a NAME_Semantic such as SASRec_Semantic.")


def _with_items(trained: TrainedOnSequences, unseen: Unseen) -> TrainedOnSequences:
    name = trained.config["model"]
    check_new_items(name)
    dataset, splits, semantic = extend_data(trained, replace(unseen, users=(), pairs=unseen.pairs.iloc[:0]))
    covered = semantic.item.covered.numpy()
    if silent := [token for place, token in enumerate(unseen.items) if not covered[trained.n_items + place]]:
        raise SemanticError(
            f"New item {silent[0]!r} has no text, so nothing says what it is like; give it a text in its file, or a profile in "
            "the tag."
        )
    init_seed(trained.config["seed"], trained.config["reproducibility"])
    model = find_model(name)(trained.config, splits[0])
    model.load_state_dict(fitted(trained, model))
    return replace(trained, model=model.eval(), dataset=dataset, splits=splits)
