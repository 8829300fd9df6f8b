"""A trained model among users and items that training never saw: the same weights on a larger graph, nothing is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_rlmrec.data.profile import SIDES, aligned_sides
from recbole_rlmrec.errors import DataError, ModelError, SemanticError
from recbole_rlmrec.model.alignment.base import target_projection
from recbole_rlmrec.model.alignment.infonce import normalize_rows
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX, SUFFIX, find_model
from recbole_rlmrec.runs.trained import Trained, TrainedOnSequences
from recbole_rlmrec.semantic.load import Semantic, load_semantic


@dataclass(frozen=True)
class Unseen:
    """Users and items beside those of a run, and what is known of them.

    Attributes
    ----------
    users, items : sequence of str
        Tokens that the run does not have.
    vectors : mapping of str to (list of str, ndarray)
        By side: tokens and the embeddings of their texts, float32 [n, d_s]; others may have theirs in the run's tag.
    pairs : DataFrame
        Interactions later than the run's, ``user`` and ``item`` tokens, of users and items of either kind.
    """

    users: Sequence[str] = ()
    items: Sequence[str] = ()
    vectors: Mapping[str, tuple[list[str], np.ndarray]] = field(default_factory=dict)
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"user": [], "item": []}, dtype=object))


def serves(trained: Trained) -> bool:
    """Whether a model can serve users and items that training never saw."""
    name = trained.config["model"]
    return name == "AlphaRec" or name.endswith(SEMANTIC_SUFFIX) or _is_projected(trained)


def check_serves(trained: Trained) -> None:
    """Refuse a model that knows users and items by their ids alone.

    Raises
    ------
    ModelError
        One sentence that names the models that can.
    """
    if serves(trained):
        return
    name = trained.config["model"]
    with_what = " and align_with" * bool(trained.config["align_with"])
    what = f"{name} with alignment {trained.alignment}{with_what}" if name.endswith(SUFFIX) else name
    raise ModelError(
        f"{what} knows users and items by their ids alone, so it cannot serve new ones; train AlphaRec, a NAME_Semantic such "
        "as LightGCN_Semantic, or a NAME_RLMRec with alignment: con."
    )


def extend(trained: Trained, unseen: Unseen) -> Trained:
    """A trained model that knows more users and items.

    It is the same network with the same weights on the run's interactions and the later ones. New users and items have no
    id embedding (zeros); AlphaRec and the semantic recommenders begin with their texts, and one forward pass folds
    interactions in, as it does for those that were trained on. With con alone, whoever has no interaction is represented
    by the projected text, of the mean length of the side's representations.

    Parameters
    ----------
    trained : Trained
        Scores of users and items that it was trained on change only where later interactions touch their part of the graph.
    unseen : Unseen

    Returns
    -------
    Trained
        Internal ids of known users and items stay; new ones follow.

    Raises
    ------
    ModelError
        The model cannot serve them.
    SemanticError
        One of them has neither a text nor an interaction that could place it.
    DataError
        Interactions name users or items that nobody knows.
    """
    check_serves(trained)
    config = trained.config
    dataset, splits, semantic = extend_data(trained, unseen)
    train = splits[0]
    _check_placed(train, semantic, trained)
    init_seed(config["seed"], config["reproducibility"])
    model = find_model(config["model"])(config, train)
    model.load_state_dict(fitted(trained, model))
    found = replace(trained, model=model.eval(), dataset=dataset, splits=splits, later=None)
    found = _projected(found, semantic) if _is_projected(trained) else found
    _check_reached(found, trained)
    return found


def extend_data(trained: Trained, unseen: Unseen) -> tuple[object, list, Semantic]:
    """The data of a trained model with more users and items: the whole, the splits, and everybody's semantic embeddings.

    The configuration of the trained model names the tag of its profiles from now on.
    """
    trained.config["semantic_tag"] = semantic_tag(trained)
    fields = trained.dataset.uid_field, trained.dataset.iid_field
    new = {name: list(tokens) for name, tokens in zip(fields, (unseen.users, unseen.items))}
    dataset, *splits = (grown(data, new) for data in (trained.dataset, *trained.splits))
    splits[0] = _with_pairs(splits[0], unseen.pairs)
    splits[0].rlmrec_heldout = tuple(splits[1:])
    splits[0].rlmrec_more = dict(unseen.vectors)
    splits[0].rlmrec_trained = trained.splits[0]
    return dataset, splits, load_semantic(trained.config, splits[0], report=False)


def semantic_tag(trained: Trained) -> str:
    """The tag of the profiles that a model was trained with; the offline default is built anew where it is gone."""
    from recbole_rlmrec.semantic.default import ensure_offline_default

    return str(trained.config["semantic_tag"] or ensure_offline_default(trained.config, trained.splits[0]))


@dataclass(frozen=True)
class _Placed(Trained):
    """A trained model whose scores are products of two tables."""

    user_table: torch.Tensor | None = None
    item_table: torch.Tensor | None = None

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        return self.user_table[users] @ self.item_table.T

    def representations(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.user_table, self.item_table


def _is_projected(trained: Trained) -> bool:
    """Whether con has learnt where a text belongs: with ``align_with`` it has learnt that of another model's vectors."""
    return trained.config["model"].endswith(SUFFIX) and trained.alignment == "con" and not trained.config["align_with"]


def grown(dataset, new: Mapping[str, list[str]]):
    """A copy of a data set that has further users and items, without interactions."""
    grown = copy.copy(dataset)
    ids, numbers = dict(dataset.field2id_token), dict(dataset.field2token_id)
    for name, tokens in new.items():
        if taken := [token for token in tokens if token in numbers[name]]:
            raise DataError(f"{name} {taken[0]!r} is not new: the run has it.")
        first = len(ids[name])
        ids[name] = np.concatenate([np.asarray(ids[name]), np.array(tokens, dtype=np.asarray(ids[name]).dtype.type)])
        numbers[name] = {**numbers[name], **{token: first + place for place, token in enumerate(tokens)}}
    grown.field2id_token, grown.field2token_id = ids, numbers
    for attribute, name in (("user_feat", dataset.uid_field), ("item_feat", dataset.iid_field)):
        table = getattr(dataset, attribute, None)
        if isinstance(table, Interaction) and new[name]:
            more = len(new[name])
            rows = {key: _padded(column, more) for key, column in table.interaction.items()}
            rows[name] = torch.arange(len(ids[name]))
            setattr(grown, attribute, Interaction(rows))
    return grown


def _padded(column: torch.Tensor, more: int) -> torch.Tensor:
    """A column with further rows of zeros."""
    return torch.cat([column, column.new_zeros(more, *column.shape[1:])])


def _with_pairs(train, pairs: pd.DataFrame):
    """The training split with later interactions, those that it has already left out; their other columns are zeros."""
    users, items = (
        pairs[side].map(train.field2token_id[name]) for side, name in zip(SIDES, (train.uid_field, train.iid_field))
    )
    if (users.isna() | items.isna()).any():
        row = pairs[users.isna() | items.isna()].iloc[0]
        raise DataError(
            f"The interaction of user {row['user']!r} with item {row['item']!r} names one that neither the run nor the files "
            "of new ones have; add it there, or take the line out."
        )
    found = pd.DataFrame({"user": users.astype(np.int64), "item": items.astype(np.int64)}).drop_duplicates()
    known = {name: train.inter_feat[name].numpy() for name in (train.uid_field, train.iid_field)}
    there = pd.MultiIndex.from_arrays([known[train.uid_field], known[train.iid_field]])
    found = found[~pd.MultiIndex.from_frame(found).isin(there)]
    if not len(found):
        return train
    rows = {name: _padded(column, len(found)) for name, column in train.inter_feat.interaction.items()}
    for name, side in ((train.uid_field, "user"), (train.iid_field, "item")):
        rows[name][-len(found) :] = torch.from_numpy(found[side].to_numpy())
    return train.copy(Interaction(rows))


def _check_placed(train, semantic, trained: Trained) -> None:
    aligned = aligned_sides(trained.config["align_sides"])
    for side, name, count in (("user", train.uid_field, trained.dataset.user_num), ("item", train.iid_field, trained.n_items)):
        known = side in aligned or not _is_projected(trained)
        placed = getattr(semantic, side).covered.numpy() & known
        placed[train.inter_feat[name].numpy()] = True
        lost = np.flatnonzero(~placed[count:]) + count
        if len(lost):
            token, more = train.field2id_token[name][lost[0]], f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise SemanticError(
                f"New {side} {str(token)!r}{more} has no text and no interaction, so nothing says what it is like; give it a "
                "text in its file, or a profile in the tag."
                if known
                else f"New {side} {str(token)!r}{more} has no interaction, and the model was trained with align_sides: "
                f"{aligned[0]}, so texts of {side}s say nothing to it; give it one, or align both sides."
            )


def _check_reached(found: Trained, trained: Trained) -> None:
    """Refuse new ones of whom the model reads nothing that is known: all of their scores would be alike."""
    if isinstance(found, TrainedOnSequences):
        return  # `new_sequences` looks after these
    train = found.splits[0]
    try:
        tables = found.representations()
    except ModelError:
        tables = None, None
    read = _read_texts(found.model)
    sides = zip(SIDES, (train.uid_field, train.iid_field), tables, (trained.dataset.user_num, trained.n_items))
    for side, name, table, count in sides:
        unknown = torch.zeros(train.num(name), dtype=torch.bool)
        if side in read:
            unknown = ~read[side]
        if table is not None:  # a graph folds interactions in
            unknown &= torch.bincount(train.inter_feat[name], minlength=len(unknown)) == 0
            unknown |= ~table.any(dim=1)
        if len(lost := unknown[count:].nonzero().squeeze(1)):
            token = train.field2id_token[name][count + int(lost[0])]
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise SemanticError(
                f"New {side} {str(token)!r}{more} has nothing that {found.config['model']} reads: it knows new {side}s by "
                f"{_known_by(trained, side)}; give it some."
            )


def _known_by(trained: Trained, side: str) -> str:
    """What a model knows somebody new by, in words."""
    ways = {"history": "items that have a text (user_text: history)", "profile": "profiles (user_text: profile)"}
    if side == "item" or _is_projected(trained):
        return "texts"
    return ways.get(trained.config["user_text"], "profiles, or items that have a text")


@torch.no_grad()
def _read_texts(model) -> dict[str, torch.Tensor]:
    """By side, of whom a model reads a text, bool [n]; empty for a model that reads none."""
    inputs = [model.text] if hasattr(model, "text") else getattr(model, "texts", ())
    read: dict[str, torch.Tensor] = {}
    for tables in (one() for one in inputs):
        for side, table in zip(SIDES, tables):
            if table is not None:
                read[side] = read.get(side, torch.zeros(len(table), dtype=torch.bool)) | table.any(dim=1)
    return read


def fitted(trained: Trained, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a larger model: those of the trained one, zeros for new rows."""
    old, fitted = trained.model.state_dict(), {}
    n_users, n_items = trained.dataset.user_num, trained.n_items
    for name, value in model.state_dict().items():
        kept = old[name]
        if kept.shape == value.shape:
            fitted[name] = kept
            continue
        rows = value.new_zeros(value.shape)
        adapter = getattr(model, "adapter", None)
        if adapter is not None and adapter.more_rows and name == f"{adapter.item_embedding}.weight":
            rows[:n_items], rows[-adapter.more_rows :] = kept[:n_items], kept[n_items:]
        elif len(kept) == n_users + n_items and kept.shape[1:] == value.shape[1:]:
            first_item = len(value) - (n_items + model.n_items - n_items)
            rows[:n_users], rows[first_item : first_item + n_items] = kept[:n_users], kept[n_users:]
        elif len(kept) in (n_users, n_items) and kept.shape[1:] == value.shape[1:]:
            rows[: len(kept)] = kept
        else:
            raise ModelError(
                f"{trained.config['model']} has weights ({name}) that are neither of users nor of items but grow with their "
                "number, so it cannot serve new ones; AlphaRec and LightGCN_Semantic can."
            )
        fitted[name] = rows
    return fitted


def _projected(found: Trained, semantic) -> Trained:
    """The model with those who have no interaction where con's projection of their texts puts them."""
    tables = [table.clone() for table in found.representations()]
    if found.config["loss"] == "softmax":
        tables = [normalize_rows(table) for table in tables]
    _check_products(found, *tables)
    train = found.splits[0]
    settings = {"align_projection": found.config["align_projection"] or "mlp"}
    network = target_projection(settings, semantic.dim, tables[0].shape[1])
    network.load_state_dict({name.removeprefix("down."): value for name, value in found.aligned.items() if "down." in name})
    for table, side, name in zip(tables, SIDES, (train.uid_field, train.iid_field)):
        if side not in aligned_sides(found.config["align_sides"]):
            continue
        known = getattr(semantic, side)
        there = (torch.bincount(train.inter_feat[name], minlength=len(table)) > 0) & table.any(dim=1)
        there[0] = True
        ids = (~there & known.covered).nonzero().squeeze(1)
        with torch.no_grad():
            projected = normalize_rows(network(known.rows(ids).to(torch.get_default_dtype())))
        table[ids] = (projected * table[there][1:].norm(dim=1).mean()).to(table.dtype)
    values = {name: getattr(found, name) for name in Trained.__dataclass_fields__}
    return _Placed(**values, user_table=tables[0], item_table=tables[1])


def _check_products(found: Trained, users: torch.Tensor, items: torch.Tensor) -> None:
    some = torch.arange(1, min(len(users), 4))
    if not torch.allclose(found.scores(some), (users[some] @ items.T).float(), atol=1e-4, rtol=1e-3):
        raise ModelError(
            f"The scores of {found.config['model']} are no products of what it represents users and items by, so new ones "
            "cannot be placed among them; LightGCN_RLMRec and AlphaRec can serve them."
        )
