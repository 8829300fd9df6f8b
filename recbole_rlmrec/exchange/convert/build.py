"""A data set out of tables: interactions, and what is known about items and users."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from tqdm import tqdm

from recbole_rlmrec.data.files import building
from recbole_rlmrec.errors import ConfigError, DataError, quoted
from recbole_rlmrec.exchange.convert.counts import Distinct, Pairs, hashes, repeats
from recbole_rlmrec.exchange.convert.roles import find_key, find_roles
from recbole_rlmrec.exchange.convert.source import Source
from recbole_rlmrec.exchange.convert.table import SEPARATORS, Table

_FIELDS = {
    "user": ("user_id", "id"),
    "item": ("item_id", "id"),
    "rating": ("rating", "rating"),
    "time": ("timestamp", "time"),
    "review": ("review", "text"),
}


@dataclass(frozen=True)
class Choices:
    """What people say about their tables; the rest is guessed.

    Attributes
    ----------
    roles : mapping of str to str or None
        Columns of the interactions: ``user``, ``item``, ``rating``, ``time``, ``review``; ``none`` for no such column.
    items_id, users_id : str or None
        Columns with the ids in the other tables.
    time_format : str or None
        How times are written, as ``strptime`` says it.
    lists : mapping of str to str
        Separators of columns whose texts hold lists.
    """

    roles: Mapping[str, str | None] = field(default_factory=dict)
    items_id: str | None = None
    users_id: str | None = None
    time_format: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Converted:
    """A data set on disk.

    Attributes
    ----------
    name : str
    folder : Path
        Holds ``NAME.inter``, ``NAME.item``, ``NAME.user`` where there are tables of them, and ``NAME.yaml``.
    rows, users, items : int
        Interactions, and the users and items in them.
    repeated : int
        Interactions whose user and item stand together in one before; they are kept.
    broken : int
        Rows of the interactions that are left out.
    settings : dict
        What ``NAME.yaml`` says.
    lines : list of str
        All of this and the columns, for people.
    """

    name: str
    folder: Path
    rows: int
    users: int
    items: int
    repeated: int
    broken: int
    settings: dict
    lines: list[str]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def build_dataset(
    interactions: Source,
    items: Source | None,
    users: Source | None,
    name: str,
    output: Path | str = "dataset",
    choices: Choices | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write tables as the atomic files of a data set, all of them or none.

    Parameters
    ----------
    interactions, items, users : Source
    name : str
        Of the data set.
    output : Path
        Folder above its own.
    choices : Choices, optional
    overwrite : bool
        Whether to replace the atomic files of a data set that is there; what else is in its folder stays.

    Returns
    -------
    Converted

    Raises
    ------
    ConfigError
        The name is unusable or a column does not exist.
    DataError
        The data set is there already, also with features that are not given again, a table cannot be read, or no row of it
        can be used.
    """
    target = Path(output) / name
    if not name or Path(name).name != name or name.startswith(".") or set(name) & set("\t\r\n"):
        raise ConfigError(f"{name!r} cannot be the name of a data set; choose one that can be the name of a folder.")
    if target.exists() and not overwrite:
        raise DataError(f"{target} exists; choose another --dataset, or replace its atomic files with --overwrite.")
    for side, source in (("item", items), ("user", users)):
        if source is None and (target / f"{name}.{side}").exists():
            raise DataError(
                f"{target / f'{name}.{side}'} is there from before, and the new interactions would be read with it; give "
                f"--{side}s, or remove it."
            )
    job = _Job(interactions, items, users, name, choices or Choices())
    with _placed(target) as folder:
        return job.run(folder, target)


@contextmanager
def _placed(target: Path):
    """A folder that becomes ``target``, or whose files replace those of the same name there."""
    if not target.exists():
        with building(target) as folder:
            yield folder
        return
    with building(target / f".converted-{os.getpid()}") as folder:
        yield folder
        for file in sorted(folder.iterdir()):
            os.replace(file, target / file.name)
    (target / f".converted-{os.getpid()}").rmdir()


class _Job:
    def __init__(self, interactions: Source, items: Source | None, users: Source | None, name: str, choices: Choices):
        self._name, self._choices = name, choices
        roles = find_roles(interactions.columns, choices.roles, interactions.name)
        known = {column for source in (interactions, items, users) if source for column in source.columns}
        if unknown := [column for column in choices.lists if column not in known]:
            raise ConfigError(f"--list {unknown[0]}: no such column; there are {', '.join(sorted(filter(None, known)))}.")
        for side, source, key in (("item", items, choices.items_id), ("user", users, choices.users_id)):
            if key is not None and source is None:
                raise ConfigError(f"--{side}s-id needs a table of {side}s: --{side}s FILE.")
        taken = {_FIELDS[role][0] for role in _FIELDS}
        self._tables = {}
        for side, source, key in (("item", items, choices.items_id), ("user", users, choices.users_id)):
            if source is not None:
                column = find_key(side, source.columns, key, roles[side], source.name)
                self._tables[side] = Table(side, source, {column: _FIELDS[side]}, taken, choices.lists)
        taken -= {_FIELDS[role][0] for role in _FIELDS if role not in roles}
        named = {column: _FIELDS[role] for role, column in roles.items()}
        self._roles = roles
        self._tables["inter"] = Table("inter", interactions, named, taken, choices.lists, choices.time_format)

    def run(self, folder: Path, target: Path) -> Converted:
        with tqdm(unit=" rows", unit_scale=True, disable=None, leave=False) as bar:
            keys = {side: self._features(side, folder, bar) for side in self._tables if side != "inter"}
            pairs, seen = self._interactions(folder, bar)
        separator = self._separator()
        for side, table in self._tables.items():
            again = repeats(keys[side]) if side in keys else ()
            table.finish(folder / f"{side}.body", folder / f"{self._name}.{side}", separator, again)
        repeated, rows = pairs.repeated(), pairs.rows
        (folder / "pairs").unlink()
        settings = self._settings(separator)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None)
        said = f"# Settings of {self._name}: use with --config_files={quoted(target / self._name)}.yaml\n"
        (folder / f"{self._name}.yaml").write_text(said + text, encoding="utf-8")
        counts = {side: len(one.values()) for side, one in seen.items()}
        lines = [*self._about_interactions(target, rows, counts, repeated)]
        for side in keys:
            lines += self._about_features(side, target, keys[side], seen[side].values())
        if "seq_separator" in settings:
            lines.append(f"  lists are separated by {separator!r}: {target / self._name}.yaml says so")
        return Converted(
            self._name,
            target,
            rows,
            counts["user"],
            counts["item"],
            repeated,
            sum(self._tables["inter"].broken.counts.values()),
            settings,
            lines,
        )

    def _features(self, side: str, folder: Path, bar: tqdm) -> np.ndarray:
        found: list[np.ndarray] = []
        table = self._tables[side]

        def seen(ids) -> None:
            found.append(hashes(ids[0]))
            bar.update(len(ids[0]))

        table.write(folder / f"{side}.body", found.clear, seen)
        if not found:
            raise DataError(f"{table.source.name} has no row that can be used{_because(table)}.")
        return np.concatenate(found)

    def _interactions(self, folder: Path, bar: tqdm) -> tuple[Pairs, dict[str, Distinct]]:
        table, state = self._tables["inter"], {}

        def begin() -> None:
            state.update(pairs=Pairs(folder / "pairs"), user=Distinct(), item=Distinct())

        def seen(ids) -> None:
            users, items = map(hashes, ids)
            state["user"].add(users)
            state["item"].add(items)
            state["pairs"].add(users, items)
            bar.update(len(users))

        table.write(folder / "inter.body", begin, seen)
        if not state["pairs"].rows:
            raise DataError(f"{table.source.name} has no row that can be used{_because(table)}.")
        return state.pop("pairs"), state

    def _separator(self) -> str:
        used = {mark for table in self._tables.values() for one in table.fields if one.is_list for mark in one.used}
        return next(mark for mark in SEPARATORS if mark not in used)

    def _settings(self, separator: str) -> dict:
        table = self._tables["inter"]
        loaded = [one.name for one in table.fields if one.role in ("id", "rating", "time")]
        lists = any(one.is_list for table in self._tables.values() for one in table.fields)
        return {**({"seq_separator": separator} if lists and separator != " " else {}), "load_col": {"inter": loaded}}

    def _about_interactions(self, target: Path, rows: int, counts: dict[str, int], repeated: int) -> list[str]:
        table = self._tables["inter"]
        counted = f"{rows:,} interactions of {counts['user']:,} users and {counts['item']:,} items"
        roles = ", ".join(f"{role} = {column}" for role, column in self._roles.items())
        lines = [f"{target / self._name}.inter: {counted}", f"  {roles}"]
        if "time" in self._roles:
            lines[-1] += f" ({table.times})"
        lines += self._columns(table, set(self._roles.values()))
        if repeated:
            lines.append(f"  rows that repeat a pair of user and item: {repeated:,}, kept (--rm_dup_inter=last takes the last)")
        return lines

    def _about_features(self, side: str, target: Path, keys: np.ndarray, seen: np.ndarray) -> list[str]:
        table, distinct = self._tables[side], np.unique(keys)
        missing = len(np.setdiff1d(seen, distinct, assume_unique=True))
        key = next(one.column for one in table.fields if one.role == "id")
        if missing == len(seen):
            raise DataError(
                f"None of the {side}s of {self._tables['inter'].source.name} is in the column {key} of {table.source.name}; "
                f"say with --{side} and --{side}s-id which columns belong together."
            )
        lines = [f"{target / self._name}.{side}: {len(distinct):,} {side}s, ids = {key}", *self._columns(table, {key})]
        if len(keys) > len(distinct):
            lines.append(f"  rows left out, because their id stands above: {len(keys) - len(distinct):,}")
        if missing:
            lines.append(f"  {side}s of the interactions that are not in it: {missing:,}")
        return lines

    def _columns(self, table: Table, named: set[str]) -> list[str]:
        others = [one for one in table.fields if one.column not in named]
        shown = [one.name if one.name == one.column else f"{one.name} = {one.column}" for one in others]
        lines = [f"  also: {', '.join(f'{name}:{one.kind}' for name, one in zip(shown, others))}"] if others else []
        if table.left_out:
            lines.append(f"  left out, because they hold records: {', '.join(table.left_out)}")
        if table.broken.counts:
            lines.append(f"  rows left out: {table.broken}")
        return lines


def _because(table: Table) -> str:
    return f"; rows left out: {table.broken}" if table.broken.counts else ""
