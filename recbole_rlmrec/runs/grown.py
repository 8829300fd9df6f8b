"""Data that have changed since training: met by token, so that known users and items keep their rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.data.pairs import pair_key, pair_of
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.errors import CheckpointError
from recbole_rlmrec.plugin.vocabulary import PARTS, known_keys, sorted_keys
from recbole_rlmrec.runs.histories import alone_of

NAMED = 3


@dataclass(frozen=True)
class Later:
    """What the data hold that the run did not have, and the other way round.

    Attributes
    ----------
    users, items : list of str
        Tokens that the run does not have.
    gone : dict of str to list of str
        By side: tokens of the run that the data do not have any more.
    pairs : DataFrame
        Interactions, ``user`` and ``item`` tokens, that are in none of the run's splits.
    unserved : str
        Why a model that could serve them does not; empty where nothing is in the way.
    """

    users: list[str]
    items: list[str]
    gone: Mapping[str, list[str]]
    pairs: pd.DataFrame
    unserved: str = ""

    @property
    def gained(self) -> bool:
        """Whether anything is new; rows in another order, or fewer of them, are no gain."""
        return bool(self.users or self.items or len(self.pairs))

    @property
    def sentence(self) -> str:
        """What is new, as the beginning of a sentence."""
        return f"{str(self)[0].upper()}{str(self)[1:]}"

    def __str__(self) -> str:
        """What is new, in words."""
        new = [_named(self.users, "user"), _named(self.items, "item"), _counted(len(self.pairs), "interaction")]
        said = f"since training the data have gained {_listed(part for part in new if part) or 'nothing'}"
        gone = _listed(part for part in (_named(self.gone[side], side) for side in SIDES) if part)
        return f"{said}{f' and lost {gone}' if gone else ''}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}" if count else ""


def _named(tokens: Sequence[str], what: str) -> str:
    more = ", ..." if len(tokens) > NAMED else ""
    return f"{_counted(len(tokens), what)} ({', '.join(tokens[:NAMED])}{more})" if tokens else ""


def _listed(parts) -> str:
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def meet(kept: Mapping, dataset, splits: Sequence, sequences: bool = False) -> tuple[object, list, Later | None]:
    """The data of a run out of files that may have changed since.

    Parameters
    ----------
    kept : mapping
        What the checkpoint holds, see :func:`recbole_rlmrec.plugin.vocabulary.describe`.
    dataset : recbole.data.dataset.Dataset
        The data as they are now, with the filters of the run.
    splits : sequence of Dataset
        As they are drawn now.
    sequences : bool
        Whether rows are sequences of ids; then they are those of the run where users, items and targets are, in any order.

    Returns
    -------
    dataset : recbole.data.dataset.Dataset
    splits : list of Dataset
        Those of the run: its internal ids, its pairs. Other columns of interactions are as they are now, or zeros.
    later : Later or None
        None where the data are those of the run.

    Raises
    ------
    CheckpointError
        What the checkpoint holds does not fit together.
    """
    keys = known_keys(kept)
    if keys is None:
        raise CheckpointError("The interactions in the checkpoint do not fit its users and items: the file is damaged.")
    tokens = {side: [str(token) for token in dataset.field2id_token[field]] for side, field in zip(SIDES, _fields(dataset))}
    drawn = [sorted_keys(split) for split in splits]
    same = all(tokens[side] == kept[side] for side in SIDES)
    if same and all(np.array_equal(found, keys[part]) for found, part in zip(drawn, PARTS)):
        return dataset, list(splits), None
    places = {side: _places(tokens[side], kept[side]) for side in SIDES}
    base = _of_run(dataset, kept, places)
    if sequences and all(set(tokens[side]) == set(kept[side]) for side in SIDES):
        found = [base.copy(_renumbered(base, split.inter_feat, places)) for split in splits]
        if all(np.array_equal(sorted_keys(part), keys[name]) for part, name in zip(found, PARTS)):
            base.inter_feat = _renumbered(base, dataset.inter_feat, places)
            base.rlmrec_alone = np.stack([places[side][ids] for side, ids in zip(SIDES, alone_of(dataset))])
            found[0].rlmrec_heldout = tuple(found[1:])
            return base, found, None
    rows = _rows(splits, places, len(kept["item"]))
    found = [base.copy(_interactions(base, keys[part], rows)) for part in PARTS]
    base.inter_feat = _interactions(base, np.concatenate([keys[part] for part in PARTS]), rows)
    found[0].rlmrec_heldout = tuple(found[1:])
    return base, found, _later(np.unique(np.concatenate(drawn)), keys, tokens, kept, places)


def _fields(dataset) -> tuple[str, str]:
    return dataset.uid_field, dataset.iid_field


def _places(tokens: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Row in the run of each token, int64 [n]; -1 for those that it does not have."""
    number = {token: place for place, token in enumerate(known)}
    return np.fromiter((number.get(token, -1) for token in tokens), np.int64, len(tokens))


def _keys(users: np.ndarray, items: np.ndarray, places: Mapping[str, np.ndarray], n_items: int) -> np.ndarray:
    """Keys of pairs in the run, int64 [n]; -1 where it does not have the user or the item."""
    users, items = places["user"][users], places["item"][items]
    return np.where((users >= 0) & (items >= 0), pair_key(users, items, n_items), -1)


def _of_run(dataset, kept: Mapping, places: Mapping[str, np.ndarray]):
    """A copy of the data with the internal ids of the run; who is gone has a row of padding."""
    base = copy.copy(dataset)
    base.field2id_token, base.field2token_id = dict(dataset.field2id_token), dict(dataset.field2token_id)
    for side, field in zip(SIDES, _fields(dataset)):
        base.field2id_token[field] = np.array(kept[side])
        base.field2token_id[field] = {token: place for place, token in enumerate(kept[side])}
        table = getattr(dataset, f"{side}_feat", None)
        if isinstance(table, Interaction):
            there = np.zeros(len(kept[side]), dtype=np.int64)
            there[places[side][places[side] >= 0]] = np.flatnonzero(places[side] >= 0)
            columns = {name: column[torch.from_numpy(there)] for name, column in table.interaction.items()}
            columns[field] = torch.arange(len(there))
            setattr(base, f"{side}_feat", Interaction(columns))
    return base


def _renumbered(base, rows: Interaction, places: Mapping[str, np.ndarray]) -> Interaction:
    """Interactions, and the lists before them, with the internal ids of the run."""
    suffix, columns = base.config["LIST_SUFFIX"], dict(rows.interaction)
    for side, field in zip(SIDES, _fields(base)):
        for name in {field, f"{field}{suffix}", *(base.config[f"alias_of_{side}_id"] or ())}:  # lists may be an alias, too
            if name in columns:
                columns[name] = torch.from_numpy(places[side])[columns[name]]
    return Interaction(columns)


def _rows(splits: Sequence, places: Mapping[str, np.ndarray], n_items: int) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """Keys of the interactions as they are now, ascending, and their columns in this order."""
    columns = {name: torch.cat([split.inter_feat[name] for split in splits]) for name in splits[0].inter_feat.interaction}
    users, items = (columns[name].numpy() for name in _fields(splits[0]))
    keys = _keys(users, items, places, n_items)
    order = np.argsort(keys, kind="stable")
    return keys[order], {name: column[torch.from_numpy(order)] for name, column in columns.items()}


def _interactions(base, keys: np.ndarray, rows) -> Interaction:
    """Interactions of the run with what the data say of them now."""
    there, columns = rows
    place = np.searchsorted(there, keys).clip(max=len(there) - 1)
    missing = torch.from_numpy(there[place] != keys)
    found = {}
    for name, column in columns.items():
        found[name] = column[torch.from_numpy(place)]
        found[name][missing] = 0
    for name, ids in zip(_fields(base), pair_of(keys, len(base.field2id_token[base.iid_field]))):
        found[name] = torch.from_numpy(ids)
    return Interaction(found)


def _later(now: np.ndarray, keys: Mapping[str, np.ndarray], tokens: Mapping, kept: Mapping, places: Mapping) -> Later:
    users, items = pair_of(now, len(tokens["item"]))
    later = ~np.isin(_keys(users, items, places, len(kept["item"])), np.concatenate(list(keys.values())))
    pairs = {"user": [tokens["user"][n] for n in users[later]], "item": [tokens["item"][n] for n in items[later]]}
    new = {side: [token for token, place in zip(tokens[side], places[side]) if place < 0] for side in SIDES}
    gone = {side: sorted(set(kept[side]) - set(tokens[side])) for side in SIDES}
    return Later(new["user"], new["item"], gone, pd.DataFrame(pairs, dtype=object))


def known_pairs(later: Later, user_ids: Mapping[str, int], item_ids: Mapping[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Internal ids of the later interactions between users and items that a model knows, LongTensor [n] each."""
    ids = ((user_ids.get(user, 0), item_ids.get(item, 0)) for user, item in zip(later.pairs["user"], later.pairs["item"]))
    found = np.fromiter(chain.from_iterable(ids), np.int64).reshape(-1, 2)
    found = torch.from_numpy(found[(found > 0).all(1)])
    return found[:, 0], found[:, 1]
