"""One table as one atomic file: its columns, what they turn out to hold, and the rows written one batch after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_rlmrec.data.columns import named_as_prose
from recbole_rlmrec.exchange.convert import values
from recbole_rlmrec.exchange.convert.source import Broken, Source
from recbole_rlmrec.exchange.convert.times import Times

SEPARATORS = " |;~^" + values.JOINT
_BYTES = 1 << 27
_SAMPLE = 1000
_UNNAMED = re.compile(r"^(Unnamed: \d+|__index_level_\d+__)?$")
_COPIED = 1 << 22


@dataclass
class Field:
    """A column of an atomic file in the making.

    Attributes
    ----------
    column : str
        Its name in the table.
    name : str
        Its name in the atomic file.
    role : str
        ``id``, ``rating``, ``time`` or ``text``.
    split : str or None
        How its texts hold lists, see :func:`values.list_splitter`; empty until it is known.
    """

    column: str
    name: str
    role: str = "text"
    split: str | None = ""
    is_list: bool = False
    is_nested: bool = False
    numbers: bool = True
    fractions: bool = False
    filled: bool = False
    used: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """Type in the header."""
        if self.role == "id":
            return "token"
        number = self.role in ("rating", "time") or (self.filled and self.numbers and self.fractions)
        return ("float" if number else "token") + "_seq" * self.is_list

    def texts(self, array: pa.Array) -> pa.Array:
        """The values as fields; notes what they are."""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if self.split == "":  # not known yet
            plain = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
            if not plain and array.null_count < len(array):
                self.split = None
            elif plain and len(some := array.filter(pc.not_equal(array, ""))[:_SAMPLE]):
                self.split = values.list_splitter(some.to_pylist(), bars=not named_as_prose(self.name))
        if self.split and not values.is_list(array):
            array = values.split_texts(values.raw_texts(array), self.split)
        self.is_list |= values.is_list(array)
        found = values.texts(array)
        self._note(found)
        return found

    def _note(self, found: pa.Array) -> None:
        data = bytes(values.data_of(found))
        self.filled |= bool(data)
        self.used |= {mark for mark in set(SEPARATORS) - self.used if mark != values.JOINT and mark.encode() in data}
        if self.numbers and data:
            parts = pc.split_pattern(found, values.JOINT).flatten() if self.is_list else found
            parts = parts.filter(pc.not_equal(parts, ""))
            self.numbers = bool(pc.all(pc.match_substring_regex(parts, values.NUMBER)).as_py())
            self.fractions |= not pc.all(pc.match_substring_regex(parts, values.WHOLE)).as_py()


class Table:
    """A source on its way into an atomic file.

    Parameters
    ----------
    side : str
        ``inter``, ``item`` or ``user``.
    source : Source
    named : dict of str to tuple
        Columns that are known: their name in the file and role.
    taken : set of str
        Names that other files have; those of this one are added.
    lists : mapping of str to str
        Separators of columns that hold lists.
    form : str or None
        See :class:`Times`.
    """

    def __init__(
        self,
        side: str,
        source: Source,
        named: Mapping[str, tuple[str, str]],
        taken: set[str],
        lists: Mapping[str, str],
        form: str | None = None,
    ):
        self.side, self.source, self.times, self.broken, self.rows = side, source, Times(form), Broken(), 0
        self._named, self._taken, self._lists = named, taken, lists
        self._fields: dict[str, Field] = {}
        self._written: list[Field] = []
        self._taken |= {name for name, _ in named.values()}
        self._add_fields()

    @property
    def fields(self) -> list[Field]:
        """Columns of the file, ids first."""
        return [one for one in self._fields.values() if not one.is_nested]

    @property
    def left_out(self) -> list[str]:
        """Columns that no field can hold."""
        return [one.column for one in self._fields.values() if one.is_nested]

    def _add_fields(self) -> None:
        for column, (name, role) in self._named.items():
            self._fields.setdefault(column, Field(column, name, role))
        for column in self.source.columns:
            if column not in self._fields and not _UNNAMED.match(column):
                split = self._lists.get(column, "")
                self._fields[column] = Field(column, self._free_name(column), split=split)

    def _free_name(self, column: str) -> str:
        name = re.sub(r"[\s:\"]+", "_", column).strip("_") or "column"
        if self.side == "inter" and "review" in self._taken and name in ("title", "summary", "headline"):
            name = f"review_{name}"
        if name in self._taken:
            name = f"{self.side}_{name}"
        number, stem = 2, name
        while name in self._taken:
            name, number = f"{stem}_{number}", number + 1
        self._taken.add(name)
        return name

    def write(self, path: Path, begin: Callable, seen: Callable[[list[pa.Array]], None]) -> None:
        """Write the rows without a header; begins again where a later row changes how earlier ones are written.

        Parameters
        ----------
        path : Path
        begin : callable
            Called before each beginning.
        seen : callable
            Takes the ids of each batch, one array for each column of ids.
        """
        while True:
            begin()
            self.broken, self.rows, self._written = Broken(), 0, []
            with open(path, "wb") as file:
                for columns, length in self.source.batches(self.broken):
                    for part, n in _slices(columns, length):
                        self._write(file, part, n, seen)
            self._add_fields()
            if not self.times.settle() and self.fields == (self._written or self.fields):
                return

    def _write(self, file, columns: dict[str, pa.Array], length: int, seen: Callable) -> None:
        for one in self._fields.values():
            one.is_nested |= one.column in columns and values.is_nested(columns[one.column].type)
        self._written = self._written or self.fields
        bad, arrays = np.zeros(length, dtype=bool), []
        for one in self.fields:
            array = columns.get(one.column)
            array = pa.nulls(length, pa.string()) if array is None else array
            if one.role == "id":
                found = values.ids(array)
                wrong, reason = pc.equal(found, "").to_numpy(zero_copy_only=False), f"without {one.name}"
            elif one.role == "rating":
                (found, wrong), reason = values.numbers(array), f"whose {one.column} is no number"
            elif one.role == "time":
                (found, wrong), reason = self.times.fields(array, one.column), f"whose {one.column} is no time"
            else:
                found, wrong, reason = one.texts(array), None, ""
            if wrong is not None and (wrong & ~bad).any():
                self._count(reason, wrong & ~bad, array)
                bad |= wrong
            arrays.append(found)
        self.rows += length
        if bad.any():
            arrays = [array.filter(pa.array(~bad)) for array in arrays]
        if not len(arrays[0]):
            return
        seen([array for one, array in zip(self.fields, arrays) if one.role == "id"])
        rows = pc.binary_join_element_wise(*arrays, "\t")
        file.write(values.data_of(pc.binary_join_element_wise(rows, "", "\n")))

    def _count(self, reason: str, wrong: np.ndarray, array: pa.Array) -> None:
        row = int(np.flatnonzero(wrong)[0])
        self.broken.add(reason, int(wrong.sum()), f"row {self.rows + row + 1}: {str(array[row].as_py())[:40]!r}")

    def finish(self, body: Path, path: Path, separator: str, without: Iterable[int] = ()) -> None:
        """Put header and rows together.

        Parameters
        ----------
        body : Path
            What :meth:`write` wrote; it is removed.
        path : Path
        separator : str
            Between the values of a list.
        without : iterable of int
            Rows to leave out.
        """
        left_out = set(int(row) for row in without)
        replaced = (values.JOINT.encode(), separator.encode())
        lists = any(one.is_list for one in self.fields)
        with open(body, "rb") as source, open(path, "wb") as file:
            file.write("\t".join(f"{one.name}:{one.kind}" for one in self.fields).encode() + b"\n")
            if left_out:
                blocks = (line for number, line in enumerate(source) if number not in left_out)
            else:
                blocks = iter(lambda: source.read(_COPIED), b"")
            for block in blocks:
                file.write(block.replace(*replaced) if lists else block)
        body.unlink()


def _slices(columns: dict[str, pa.Array], length: int):
    size = sum(array.nbytes for array in columns.values())
    step = max(length * _BYTES // max(size, _BYTES), 1)
    for start in range(0, length, step):
        n = min(step, length - start)
        yield {name: array.slice(start, n) for name, array in columns.items()}, n
