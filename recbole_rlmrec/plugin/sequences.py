"""Sequences for data that come split: RecBole makes them of a single file alone, and wants them ready-made of several.

A target's sequence is what its user did before it, in the order of time, in its own part of the split and those before it:
training knows of training alone, a test target of everything earlier. Equal times keep the order of parts and files; without
a column of times, that order is all there is.
"""

from __future__ import annotations

from logging import getLogger

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.data.pairs import targets
from recbole_rlmrec.errors import ConfigError, DataError


def presets(original, dataset) -> None:
    """``SequentialDataset._benchmark_presets``, for items of any name and files without sequences."""
    lists = f"{dataset.iid_field}{dataset.config['LIST_SUFFIX']}"
    if lists in dataset.inter_feat:
        if lists not in (dataset.config["alias_of_item_id"] or []):
            raise ConfigError(
                f"The items of the column {lists!r} would get other numbers than those of {dataset.iid_field!r}; set "
                f"alias_of_item_id: [{lists}]."
            )
        dataset.item_id_list_field = lists
        original(dataset)
        return
    dataset.rlmrec_makes_sequences = True
    loaded = (dataset.config["load_col"] or {}).get("inter")
    if dataset.time_field not in dataset.inter_feat and loaded is not None and dataset.time_field not in loaded:
        getLogger().warning(
            f"The column {dataset.time_field!r} is not loaded, so the order of the files is taken for the order of time; "
            f"load_col: {{inter: [{', '.join([*loaded, dataset.time_field])}]}} loads it."
        )


def with_sequences(dataset, parts: list) -> list:
    """The parts of a split with the sequences before their targets, as RecBole makes them of a single file.

    The data set itself gets the rows of all parts.

    Parameters
    ----------
    dataset : recbole.data.dataset.SequentialDataset
    parts : list of SequentialDataset
        Training, validation and test, one row an interaction.

    Returns
    -------
    list of SequentialDataset
        By user and time, without targets that nothing comes before; ``rlmrec_interactions`` has these, too.

    Raises
    ------
    ConfigError
        ``MAX_ITEM_LIST_LENGTH`` is no length.
    DataError
        No training target has a sequence.
    """
    longest = dataset.max_item_list_len
    if not isinstance(longest, int) or longest < 1:
        raise ConfigError(f"MAX_ITEM_LIST_LENGTH is a number of items, 1 or more, not {longest!r}.")
    dataset._aug_presets()
    rows = [targets(part) for part in parts]
    interactions, made, lost = None, [], []
    for number, part in enumerate(parts):
        interactions = rows[number] if interactions is None else interactions.plus(rows[number])
        feats = [one.inter_feat.interaction for one in parts[: number + 1]]
        places, before = _before(interactions, len(interactions.users) - len(part.inter_feat), longest)
        lost.append(len(part.inter_feat) - len(places))
        made.append(dataset.copy(_joined(dataset, feats, places, before)))
        made[-1].rlmrec_interactions = rows[number]
    if not len(made[0].inter_feat):
        raise DataError(f"No user of {dataset.dataset_name} has two training interactions, so no sequence can be learnt from.")
    if any(lost[1:]):
        getLogger().info(
            f"{lost[1]} validation and {lost[2]} test interactions are their users' first ones and are left out: there is no "
            "sequence before them."
        )
    columns = [part.inter_feat.interaction for part in made]
    dataset.inter_feat = Interaction({name: torch.cat([one[name] for one in columns]) for name in columns[0]})
    return made


def _before(interactions, first: int, longest: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows from ``first`` on that have something before them, by user and time, and what stands before each."""
    times = interactions.times if interactions.times is not None else np.zeros(len(interactions.users))
    order = np.lexsort((times, interactions.users))  # stable: equal times stay in the order of parts and files
    users = interactions.users[order]
    begins = np.searchsorted(users, users)
    places = np.flatnonzero((order >= first) & (np.arange(len(order)) > begins))
    lengths = np.minimum(places - begins[places], longest)
    columns = np.arange(longest)
    table = places[:, None] - lengths[:, None] + columns
    return order[places], [np.where(columns < lengths[:, None], order[np.minimum(table, len(order) - 1)], -1), lengths]


def _joined(dataset, feats: list[dict], places: np.ndarray, before: list[np.ndarray]) -> Interaction:
    """Rows of several parts with lists of what stands before them, zeros behind."""
    table, lengths = (torch.from_numpy(array) for array in before)
    columns = {name: torch.cat([feat[name] for feat in feats]) for name in feats[0]}
    found = {name: column[torch.from_numpy(places)] for name, column in columns.items()}
    found[dataset.item_list_length_field] = lengths
    filled = table >= 0
    for name, column in columns.items():
        if name != dataset.uid_field:
            values = column[table.clamp(min=0)]
            values[~filled] = 0
            found[f"{name}{dataset.config['LIST_SUFFIX']}"] = values
    return Interaction(found)
