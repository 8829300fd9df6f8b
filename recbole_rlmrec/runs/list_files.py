"""Lists as files: as a table, CSV, JSON lines or Parquet; in parts, so that writing goes on where it was interrupted."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from recbole_rlmrec.data.files import held, replacing
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.model import parallel
from recbole_rlmrec.runs.lists import Recommended

LISTS_PER_PART = 8192
Lists = Iterable[tuple[str, list[Recommended]]]


class Form(NamedTuple):
    """How lists are written.

    Attributes
    ----------
    kind : str
        ``table``, ``csv``, ``jsonl`` or ``parquet``.
    reasons : bool
        Whether reasons are written.
    of : str
        Whose lists they are, ``user`` or ``item``.
    """

    kind: str
    reasons: bool = False
    of: str = "user"

    @property
    def columns(self) -> list[str]:
        """Columns of CSV and Parquet."""
        found = "item" if self.of == "user" else "similar"
        return [self.of, "rank", found, "title", "score", *(["because", "profile"] if self.reasons else [])]


def texts(found: Lists, form: Form, head: bool = True) -> Iterator[str]:
    """The text of each list in a format that is text; ``head``: the first one begins the file."""
    for number, (token, items) in enumerate(found):
        yield TEXTS[form.kind](token, items, form, head and number == 0)


def _as_table(token: str, items: list[Recommended], form: Form, first: bool) -> str:
    width = max((len(one.item) for one in items), default=0)
    rows = []
    for rank, one in enumerate(items, 1):
        rows.append(f"{rank:4}  {one.score:10.4f}  {one.item:{width}}  {one.title or ''}".rstrip())
        if form.reasons and one.because:
            rows.append(f"{'':18}because of {', '.join(one.because)}")
        if form.reasons and one.profile:
            rows.append(f"{'':18}{one.profile}")
    return "\n".join([*([] if first else [""]), f"{form.of} {token}", *rows]) + "\n"


def _as_csv(token: str, items: list[Recommended], form: Form, first: bool) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if first:
        writer.writerow(form.columns)
    for rank, one in enumerate(items, 1):
        more = ["|".join(one.because), one.profile or ""] if form.reasons else []
        writer.writerow([token, rank, one.item, one.title or "", f"{one.score:.7g}", *more])
    return file.getvalue()


def _as_jsonl(token: str, items: list[Recommended], form: Form, first: bool) -> str:
    names = Recommended._fields if form.reasons else Recommended._fields[:3]
    return json.dumps({form.of: token, "items": [dict(zip(names, one)) for one in items]}, ensure_ascii=False) + "\n"


TEXTS: dict[str, Callable[[str, list[Recommended], Form, bool], str]] = {
    "table": _as_table,
    "csv": _as_csv,
    "jsonl": _as_jsonl,
}


def digest(*parts: object) -> str:
    """Hash of what makes lists what they are: texts, numbers, bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()


def write_lists(path: Path, wanted: Sequence, make: Callable[[Sequence], Lists], form: Form, made_of: str) -> int:
    """Write lists; what an interrupted call with the same ``made_of`` has finished is used.

    Several processes each make some of the parts, which are those of one; the first puts them together.

    Parameters
    ----------
    path : Path
        File to make or replace; finished parts stand in ``.NAME.parts`` beside it until it is whole.
    wanted : sequence
        Whose lists: anything that can be sliced.
    make : callable
        Gives the lists of a slice.
    form : Form
    made_of : str
        See `digest`.

    Returns
    -------
    int
        How many lists an interrupted call had made.

    Raises
    ------
    StoreError
        Another process writes this file.
    """
    write, join = (_write_parquet, _join_parquet) if form.kind == "parquet" else (_write_text, _join_text)

    def write_part(target: Path, some: Sequence, head: bool) -> None:
        with parallel.alone(), replacing(target) as temporary:
            write(temporary, make(some), form, head)

    starts = range(0, len(wanted), LISTS_PER_PART)
    if len(starts) == 1:
        parallel.on_first(lambda: write_part(path, wanted, True))
        return 0
    folder = path.with_name(f".{path.name}.parts")
    parts = [folder / f"{start:010}-{made_of[:16]}" for start in starts]
    with ExitStack() as stack:
        there = parallel.on_first(lambda: _begin(stack, path, folder, parts))
        missing = [number for number in range(len(parts)) if number not in there]
        for number in missing[parallel.rank() :: parallel.size()]:
            write_part(parts[number], wanted[starts[number] : starts[number] + LISTS_PER_PART], number == 0)
        parallel.wait()
        parallel.on_first(lambda: _end(path, folder, parts, join))
    return sum(len(wanted[starts[number] : starts[number] + LISTS_PER_PART]) for number in there)


def _begin(stack: ExitStack, path: Path, folder: Path, parts: Sequence[Path]) -> list[int]:
    """Hold the folder of parts and remove those of other lists; which parts are there."""
    stack.enter_context(held(folder, f"Another process writes {path}; wait for it, or give another --output."))
    for part in set(folder.glob("[0-9]*")) - set(parts):
        part.unlink()
    return [number for number, part in enumerate(parts) if part.exists()]


def _end(path: Path, folder: Path, parts: Sequence[Path], join: Callable[[Path, Sequence[Path]], None]) -> None:
    """Put the parts together."""
    if missing := [part for part in parts if not part.exists()]:
        raise StoreError(
            f"{len(missing)} of {len(parts)} parts of {path} are not in {folder}: their processes wrote into another "
            "folder, or read other data. Give all of them the same data and an --output in a folder that they share."
        )
    with replacing(path) as temporary:
        join(temporary, parts)
    shutil.rmtree(folder, ignore_errors=True)


def _write_text(path: Path, found: Lists, form: Form, head: bool) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(texts(found, form, head))


def _join_text(path: Path, parts: Sequence[Path]) -> None:
    with open(path, "wb") as file:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)


def _schema(form: Form):
    import pyarrow as pa

    kinds = [pa.string(), pa.int32(), pa.string(), pa.string(), pa.float32(), pa.list_(pa.string()), pa.string()]
    return pa.schema(list(zip(form.columns, kinds)))


def _write_parquet(path: Path, found: Lists, form: Form, head: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, found = _schema(form), iter(found)
    with pq.ParquetWriter(path, schema) as file:
        while some := list(itertools.islice(found, LISTS_PER_PART)):
            rows = [(token, rank, *one) for token, items in some for rank, one in enumerate(items, 1)]
            if rows:
                arrays = [pa.array(column, kind.type) for column, kind in zip(zip(*rows), schema)]
                file.write_table(pa.table(arrays, schema=schema))


def _join_parquet(path: Path, parts: Sequence[Path]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as file:
        for part in parts:
            file.write_table(pq.read_table(part))
