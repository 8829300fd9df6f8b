"""The text of a dataset: columns of .item and .user as written, and the training interactions of the run's own split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import AtomicFile, FeatureType, read_header
from recbole_rlmrec.data.columns import (
    SAMPLE,
    YEARS,
    Columns,
    guess_description,
    guess_reviews,
    guess_title,
    is_aggregate,
    is_readable,
    name_of_lists,
    pick,
    sample,
)
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.rows import Raw, Rows
from recbole_rlmrec.data.streams import Entities, stream_atomic
from recbole_rlmrec.data.text import plain_columns, says_something, sequence_separator
from recbole_rlmrec.data.texts import Picked, Tokens, some
from recbole_rlmrec.errors import ConfigError, DataError, quoted

_BLOCK = 1 << 14
_CODE = r"(?=\D*\d)[\w-]{4,}"
_LETTERS_AND_DIGITS = r"(?=\D*\d)(?=.*[A-Za-z])[\w-]+"
_SOME = 0.05


class _Made:
    """A table that may be given as a function, which is called when the table is asked for the first time."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, corpus, owner: type | None = None):
        if corpus is None:
            raise AttributeError(self._name)  # so that it has no default
        value = corpus.__dict__[self._name]
        if callable(value):
            value = corpus.__dict__[self._name] = value()
        return value

    def __set__(self, corpus, value) -> None:
        corpus.__dict__[self._name] = value


@dataclass
class Corpus:
    """Everything that profiles may be made from.

    The tables are made when they are asked for. Before that, texts are on disk, and :meth:`texts_of_items` and
    :meth:`texts_of_rows` give them one by one.

    Attributes
    ----------
    item_fields, user_fields : DataFrame or None
        Text of every column of ``.item`` and ``.user`` but the id, by column name, missing values empty; the index
        holds tokens, those of a run and others. Values of a sequence are separated by ``", "`` where the file separates
        them by anything but a space. None where there is no such file.
    field_types : dict of str to FeatureType
        Types of the columns of all files; where two files share a name, ``.item`` counts, then ``.user``.
    interactions : DataFrame
        Training interactions, one row per pair, by user in internal order and then by time: ``user`` and ``item``
        tokens and the other columns of ``.inter`` as text. Those are empty where the raw file has several rows of a
        pair and one of them may be held out.
    users, items : sequence of str
        Tokens of the run by internal id, padding left out.
    split_hash : str
        See :func:`split_hash`.
    """

    item_fields: pd.DataFrame | None = _Made()
    user_fields: pd.DataFrame | None = _Made()
    field_types: dict[str, FeatureType]
    interactions: pd.DataFrame = _Made()
    users: Sequence[str]
    items: Sequence[str]
    split_hash: str
    dataset: str
    rating_field: str | None = None
    time_field: str | None = None
    _sequences: dict[str, pd.Series] | None = None
    _separator: str = " "
    _files: dict[str, Entities] | None = None
    _rows: Rows | None = None

    @classmethod
    def from_config(cls, config, train, show_progress: bool = False) -> Corpus:
        """Read the corpus of a run.

        Parameters
        ----------
        config : recbole.config.Config
            The run's configuration; ``load_col`` does not matter.
        train : recbole.data.dataset.Dataset
            The training split, as ``Dataset.build`` returns it.
        show_progress : bool
            Whether to show progress bars.

        Raises
        ------
        DataError
            ``.inter`` is missing or does not fit the run, or a file is not an atomic file.
        """
        reader = _Reader(config, show_progress)
        sides = {"item": train.iid_field, "user": train.uid_field}
        files = {side: found for side, field in sides.items() if (found := reader.features(side, field))}
        raw = reader.interactions(train)
        rows = raw.training(config["rm_dup_inter"])
        users, items = _tokens(train, train.uid_field), _tokens(train, train.iid_field)
        separator = config["seq_separator"] or " "
        types = [raw.types, *(files[side].types for side in ("user", "item") if side in files)]
        made = {side: _maker(files[side], side, separator) if side in files else None for side in sides}
        return cls(
            item_fields=made["item"],
            user_fields=made["user"],
            field_types={name: kind for found in types for name, kind in found.items()},
            interactions=lambda: rows.frame(users, items),
            users=users,
            items=items,
            split_hash=split_hash(train),
            dataset=config["dataset"],
            rating_field=config["RATING_FIELD"],
            time_field=config["TIME_FIELD"],
            _separator=separator,
            _files=files,
            _rows=rows,
        )

    def with_items(self, file: AtomicFile, id_field: str) -> Corpus:
        """A corpus of the same items and those of another ``.item`` file; where both have one, the run's row counts.

        Raises
        ------
        DataError
            The file has no column of ids.
        """
        more = _by_token(file, "item", id_field)
        shown, sequences = _shown(more, self._separator), _item_sequences(more)
        fields = [table for table in (self.item_fields, shown) if table is not None]
        both = pd.concat(fields).fillna("").astype(object)
        both = both[~both.index.duplicated()].rename_axis("item")
        lists = self._raw_sequences()
        for name, column in sequences.items():
            whole = pd.concat([lists[name], column]) if name in lists else column
            lists[name] = whole[~whole.index.duplicated()]
        return replace(
            self,
            item_fields=both,
            field_types={**more.types, **self.field_types},
            items=list(dict.fromkeys([*self.items, *more.table.index])),
            _sequences=None if self._separator == " " else lists,
            _files=None,
            _rows=None,
        )

    def columns(self, **overrides) -> Columns:
        """Roles of the columns, guessed by name, type and values.

        Parameters
        ----------
        **overrides
            Any field but ``aggregates`` of :class:`~recbole_rlmrec.data.columns.Columns`: a column, a list of columns, or
            None for no such column; fields that are left out are guessed.

        Raises
        ------
        ConfigError
            A column that was named does not exist.
        """
        self._check_overrides(overrides)
        item, user, inter = self._table("item"), self._table("user"), self._table("inter")
        counted = {name for table in (item, user) for name in table if is_aggregate(name, table[name])}
        lists, of_users = self._columns_of_ids(item), self._columns_of_ids(user)
        named = [overrides[role] for role in ("title", "description", "year") if overrides.get(role)]
        free = item.drop(columns={*lists, *named, *counted}, errors="ignore")
        title = overrides.get("title") or guess_title(free, self.field_types)
        free = free.drop(columns=title or [], errors="ignore")
        readable = [n for n in item if is_readable(n, item[n], self._type(n)) and n not in counted.union(lists)]
        guessed = Columns(
            title=title,
            description=guess_description(free, self.field_types),
            reviews=guess_reviews(inter, self.field_types),
            rating=self.rating_field if self.rating_field in inter else None,
            timestamp=self.time_field if self.time_field in inter else None,
            year=pick([name for name in item if _mostly_years(item[name])], YEARS),
            user_attributes=[n for n in user if is_readable(n, user[n], self._type(n)) and n not in counted.union(of_users)],
        )
        columns = replace(guessed, **overrides)
        if "attributes" not in overrides:
            refused = [getattr(guessed, role) for role, value in overrides.items() if value is None]
            taken = (columns.title, columns.description, columns.year, *refused)
            columns.attributes = [name for name in readable if name not in taken]
        asked = {columns.title, columns.description, columns.year, *columns.attributes, *columns.user_attributes}
        columns.aggregates = sorted(counted - asked)
        return columns

    def require_text(self, columns: Columns) -> None:
        """Make sure that there is something to write profiles from.

        Raises
        ------
        DataError
            No column is a title, a description, an attribute or a review; the message says what to add.
        """
        if columns.title or columns.description or columns.attributes or columns.user_attributes or columns.reviews:
            return
        found = [f"{self.dataset}.{side}" for side in ("item", "user") if self.__dict__[f"{side}_fields"] is not None]
        state = f"no readable text in {' and '.join(found)}" if found else "neither an .item nor a .user file"
        raise DataError(
            f"Dataset {self.dataset!r} has {state}, so no profiles can be made; add {self.dataset}.item with the columns "
            f"item_id:token, title:token_seq and, if there is one, description:token_seq, or import profiles "
            f"(recbole-rlmrec import FILE.jsonl --dataset {quoted(self.dataset)} --tag TAG)."
        )

    def item_values(self, column: str) -> pd.DataFrame:
        """Values of an item column, one row each: a DataFrame of ``item`` tokens and ``value``.

        Sequences are taken apart at ``seq_separator``, or where that is the space, at what separates them in truth; other
        columns have one value per item. Values without a letter or digit are left out.
        """
        sequences = self._raw_sequences()
        values = sequences[column] if column in sequences else self._item_column(column)
        if self._type(column) == FeatureType.TOKEN_SEQ:
            separator = sequence_separator(sample(values)) if self._separator == " " else self._separator
            values = values.str.split(separator)
        frame = values.explode().str.strip().rename("value").rename_axis("item").reset_index()
        return frame[frame["value"].map(says_something)].reset_index(drop=True)

    def values_of_items(self, column: str) -> Iterator[list[str]]:
        """As `item_values`, those of each of ``items`` in turn."""
        if (file := self._on_disk("item_fields")) is None or self._separator != " ":
            values = self.item_values(column)
            values = values.groupby("item", sort=False)["value"].agg(list).to_dict() if len(values) else {}
            yield from (values.get(token, []) for token in self.items)
            return
        texts, separator = self.texts_of_items(column), None
        if self._type(column) == FeatureType.TOKEN_SEQ:
            separator = sequence_separator(some(Picked(file.columns[column], file.first_rows()), SAMPLE))
        for start in range(0, len(texts), _BLOCK):
            for text in texts.values(slice(start, start + _BLOCK)):
                parts = [text] if separator is None else text.split(separator)
                yield [part.strip() for part in parts if says_something(part)]

    def item_columns(self) -> list[str]:
        """Names of the columns of ``.item`` but the id."""
        return list(self._table("item"))

    def row_columns(self) -> list[str]:
        """Names of the columns of ``interactions`` but ``user`` and ``item``."""
        return list(self._table("inter"))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the user and of the item of each row of ``interactions`` among ``users`` and ``items``, int [n] each."""
        if (rows := self._on_disk("interactions")) is not None:
            return rows.users, rows.items
        frame = self.interactions
        return pd.Index(self.users).get_indexer(frame["user"]), pd.Index(self.items).get_indexer(frame["item"])

    def texts_of_rows(self, column: str) -> Picked | np.ndarray:
        """Values of a column of ``interactions``, by row."""
        if (rows := self._on_disk("interactions")) is not None:
            return rows.columns[column]
        return self.interactions[column].to_numpy(dtype=object)

    def texts_of_items(self, column: str) -> Picked | np.ndarray:
        """Values of a column of ``.item``, one for each of ``items``."""
        return self._texts_of("item", self.items, column)

    def texts_of_users(self, column: str) -> Picked | np.ndarray:
        """Values of a column of ``.user``, one for each of ``users``."""
        return self._texts_of("user", self.users, column)

    def _texts_of(self, side: str, tokens: Sequence[str], column: str) -> Picked | np.ndarray:
        if (file := self._on_disk(f"{side}_fields")) is not None and self._separator == " ":
            return Picked(file.columns[column], self._places(file, side, tokens))
        return getattr(self, f"{side}_fields")[column].reindex([*tokens]).fillna("").to_numpy(dtype=object)

    def _places(self, file: Entities, side: str, tokens: Sequence[str]) -> np.ndarray:
        known = self.__dict__.setdefault("_known_places", {})
        if side not in known:
            places = file.rows_of(tokens)
            known[side] = places.astype(np.int32) if len(file.ids) < 1 << 31 else places
        return known[side]

    def _item_column(self, column: str) -> pd.Series:
        """A column of ``.item``, the index holds the ids."""
        if (file := self._on_disk("item_fields")) is not None and self._separator == " ":
            return file.frame("item", [column])[column]
        return self.item_fields[column]

    def _on_disk(self, table: str):
        """What a table will be made from, None where it has been made, and may have been changed, since."""
        if not callable(self.__dict__[table]):
            return None
        return self._rows if table == "interactions" else (self._files or {}).get(table.removesuffix("_fields"))

    def _raw_sequences(self) -> dict[str, pd.Series]:
        """Columns of ``.item`` that are sequences, as they are in the file."""
        if self._sequences is not None:
            return dict(self._sequences)
        file = (self._files or {}).get("item")
        if file is None or self._separator == " ":
            return {}
        table = file.frame("item")
        return {name: table[name] for name, kind in file.types.items() if kind == FeatureType.TOKEN_SEQ}

    def _table(self, side: str) -> pd.DataFrame:
        """Columns of a file, some of their values where they are on disk."""
        name = "interactions" if side == "inter" else f"{side}_fields"
        if (source := self._on_disk(name)) is not None and (side == "inter" or self._separator == " "):
            return source.preview(SAMPLE)
        table = getattr(self, name)
        return pd.DataFrame() if table is None else table.drop(columns=["user", "item"]) if side == "inter" else table

    def _type(self, name: str) -> FeatureType:
        return self.field_types.get(name, FeatureType.TOKEN)

    def _columns_of_ids(self, table: pd.DataFrame) -> list[str]:
        """Columns of a file that hold users or items, such as what else was bought or liked, perhaps held out.

        They are told by their values: most are ids of the run; or they are lists of codes of which some are, since a run
        may have left out the others; or by the names that Amazon's data give them.
        """
        parts: dict[str, pd.Series] = {}
        lists = set()
        for name in table:
            values, kind = sample(table[name]), self._type(name)
            if kind not in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ):
                continue
            several = values if kind == FeatureType.TOKEN_SEQ else values[values.str.contains("[,;|]")]
            if len(several):
                lists.add(name)
                values = several
            found = values.str.split(r"""[\s,;|'"\[\]]+""", regex=True).explode()
            parts[name] = found[found != ""]
        listed = {part for found in parts.values() for part in found}
        ids = listed.intersection(self.items) | listed.intersection(self.users)
        return [name for name, found in parts.items() if name_of_lists(name) or _of_ids(found, ids, name in lists)]

    def _check_overrides(self, overrides: dict) -> None:
        places = {"user_attributes": self._table("user")}
        places |= dict.fromkeys(("rating", "timestamp", "reviews"), self._table("inter"))
        for role, value in overrides.items():
            table = places.get(role, self._table("item"))
            for name in [value] if isinstance(value, str) else value or []:
                if name not in table:
                    known = ", ".join(table.columns) or "none"
                    raise ConfigError(f"There is no column {name!r} to be the {role}; columns there: {known}.")


def _of_ids(values: pd.Series, ids: set[str], lists: bool) -> bool:
    """Whether the parts of a column's values, indexed by row, are ids; a single number or word may be an age or a name."""
    if not len(values):
        return False
    known = values.map(ids.__contains__).astype(bool)
    if not lists:
        return (known & values.str.fullmatch(_LETTERS_AND_DIGITS).astype(bool)).mean() > 0.5
    return known.mean() > 0.5 or (
        values.str.fullmatch(_CODE).astype(bool).mean() > 0.5 and known.groupby(level=0).any().mean() > _SOME
    )


def _tokens(dataset, field: str) -> Tokens:
    tokens = dataset.field2id_token[field][1:]
    return Tokens(tokens if tokens.dtype.kind == "U" else tokens.astype(str))


class _Reader:
    """Atomic files of a run."""

    def __init__(self, config, show: bool):
        self._config, self._show = config, show
        self._stem = Path(config["data_path"]) / config["dataset"]
        self._format = (config["field_separator"] or "\t", config["encoding"] or "utf-8")

    def _path(self, suffix: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{suffix}")

    def features(self, side: str, id_field: str) -> Entities | None:
        """``.item`` or ``.user``; None where the file is missing."""
        path = self._path(side)
        if not path.is_file():
            return None
        types = read_header(path, *self._format)
        if id_field not in types:
            raise DataError(f"{path} has no column {id_field!r}; add it, or set the name of the id column.")
        return stream_atomic(path, Entities(path, id_field, types).take, *self._format, self._show)

    def interactions(self, train) -> Raw:
        """``.inter``, or the training file of a dataset that comes split."""
        benchmark = self._config["benchmark_filename"]
        path = self._path(f"{benchmark[0]}.inter" if benchmark else "inter")
        raw = Raw(path, train, read_header(path, *self._format), self._config["TIME_FIELD"])
        return stream_atomic(path, raw.take, *self._format, self._show)


def _maker(file: Entities, side: str, separator: str) -> Callable[[], pd.DataFrame]:
    return lambda: _shown(AtomicFile(file.path, file.frame(side), file.types), separator)


def _by_token(file: AtomicFile, side: str, id_field: str) -> AtomicFile:
    if id_field not in file.table:
        raise DataError(f"{file.path} has no column {id_field!r}; add it, or set the name of the id column.")
    table = file.table[file.table[id_field] != ""].drop_duplicates(id_field).set_index(id_field)
    table = plain_columns(table, file.types, file.path.name)
    return AtomicFile(file.path, table.rename_axis(side), {n: t for n, t in file.types.items() if n != id_field})


def _shown(file: AtomicFile, separator: str) -> pd.DataFrame:
    if separator == " ":
        return file.table
    lists = [name for name, kind in file.types.items() if kind == FeatureType.TOKEN_SEQ]
    return file.table.assign(**{name: file.table[name].str.split(separator).map(_joined) for name in lists})


def _joined(values: list[str]) -> str:
    return ", ".join(value.strip() for value in values if value.strip())


def _item_sequences(file: AtomicFile) -> dict[str, pd.Series]:
    return {name: file.table[name] for name, kind in file.types.items() if kind == FeatureType.TOKEN_SEQ}


def _mostly_years(column: pd.Series) -> bool:
    return column[column != ""].str.contains(r"(?<!\d)(?:1[5-9]|20)\d\d(?!\d)").mean() > 0.5
