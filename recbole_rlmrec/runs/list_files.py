"""Lists as files: as a table, CSV, JSON lines or Parquet; in parts, so that writing goes on where it was interrupted."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from recbole_rlmrec.data.files import held, read_json, replacing, write_json
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.runs.lists import Recommended

USERS_PER_PART = 8192
Lists = Iterable[tuple[str, list[Recommended]]]


def texts(found: Lists, form: str, reasons: bool, head: bool = True) -> Iterator[str]:
    """Each user's text in a format, one of ``TEXTS``; ``head``: the first one begins the file."""
    for number, (user, items) in enumerate(found):
        yield TEXTS[form](user, items, reasons, head and number == 0)


def _as_table(user: str, items: list[Recommended], reasons: bool, first: bool) -> str:
    width = max((len(one.item) for one in items), default=0)
    rows = []
    for rank, one in enumerate(items, 1):
        rows.append(f"{rank:4}  {one.score:10.4f}  {one.item:{width}}  {one.title or ''}".rstrip())
        if reasons and one.because:
            rows.append(f"{'':18}because of {', '.join(one.because)}")
        if reasons and one.profile:
            rows.append(f"{'':18}{one.profile}")
    return "\n".join([*([] if first else [""]), f"user {user}", *rows]) + "\n"


def _as_csv(user: str, items: list[Recommended], reasons: bool, first: bool) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if first:
        writer.writerow(columns(reasons))
    for rank, one in enumerate(items, 1):
        more = ["|".join(one.because), one.profile or ""] if reasons else []
        writer.writerow([user, rank, one.item, one.title or "", f"{one.score:.7g}", *more])
    return file.getvalue()


def _as_jsonl(user: str, items: list[Recommended], reasons: bool, first: bool) -> str:
    names = Recommended._fields if reasons else Recommended._fields[:3]
    return json.dumps({"user": user, "items": [dict(zip(names, one)) for one in items]}, ensure_ascii=False) + "\n"


TEXTS: dict[str, Callable[[str, list[Recommended], bool, bool], str]] = {
    "table": _as_table,
    "csv": _as_csv,
    "jsonl": _as_jsonl,
}


def columns(reasons: bool) -> list[str]:
    """Columns of CSV and Parquet."""
    return ["user", "rank", "item", "title", "score", *(["because", "profile"] if reasons else [])]


def digest(*parts: object) -> str:
    """Hash of what makes lists what they are: texts, numbers, bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()


def write_lists(path: Path, users: Sequence, make: Callable[[Sequence], Lists], form: str, reasons: bool, made_of: str) -> int:
    """Write the lists of users; what an interrupted call with the same ``made_of`` has finished is used.

    Parameters
    ----------
    path : Path
        File to make or replace; finished parts stand in ``.NAME.parts`` beside it until it is whole.
    users : sequence
        Anything that can be sliced.
    make : callable
        Gives the lists of some of the users.
    form : str
        ``table``, ``csv``, ``jsonl`` or ``parquet``.
    reasons : bool
        Whether reasons are written.
    made_of : str
        See `digest`.

    Returns
    -------
    int
        Number of users whose lists an interrupted call had made.

    Raises
    ------
    StoreError
        Another process writes this file.
    """
    write, join = (_write_parquet, _join_parquet) if form == "parquet" else (_write_text, _join_text)
    starts = range(0, len(users), USERS_PER_PART)
    if len(starts) == 1:
        with replacing(path) as temporary:
            write(temporary, make(users), form, reasons, True)
        return 0
    folder, kept = path.with_name(f".{path.name}.parts"), 0
    with held(folder, f"Another process writes {path}; wait for it, or give another --output."):
        _keep_if_same(folder, made_of)
        parts = [folder / f"{start:010}" for start in starts]
        for start, part in zip(starts, parts):
            if part.exists():
                kept += min(USERS_PER_PART, len(users) - start)
                continue
            with replacing(part) as temporary:
                write(temporary, make(users[start : start + USERS_PER_PART]), form, reasons, start == 0)
        with replacing(path) as temporary:
            join(temporary, parts)
    shutil.rmtree(folder, ignore_errors=True)
    return kept


def _keep_if_same(folder: Path, made_of: str) -> None:
    """Remove the parts of lists that were made of something else."""
    about = folder / "about.json"
    try:
        same = read_json(about, StoreError, "remove it").get("made_of") == made_of
    except StoreError:
        same = False
    if not same:
        for part in folder.glob("[0-9]*"):
            part.unlink()
        write_json(about, {"made_of": made_of})


def _write_text(path: Path, found: Lists, form: str, reasons: bool, head: bool) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(texts(found, form, reasons, head))


def _join_text(path: Path, parts: Sequence[Path]) -> None:
    with open(path, "wb") as file:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)


def _schema(reasons: bool):
    import pyarrow as pa

    kinds = [pa.string(), pa.int32(), pa.string(), pa.string(), pa.float32(), pa.list_(pa.string()), pa.string()]
    return pa.schema(list(zip(columns(reasons), kinds)))


def _write_parquet(path: Path, found: Lists, form: str, reasons: bool, head: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, found = _schema(reasons), iter(found)
    with pq.ParquetWriter(path, schema) as file:
        while some := list(itertools.islice(found, USERS_PER_PART)):
            rows = [(user, rank, *one) for user, items in some for rank, one in enumerate(items, 1)]
            if rows:
                arrays = [pa.array(column, kind.type) for column, kind in zip(zip(*rows), schema)]
                file.write_table(pa.table(arrays, schema=schema))


def _join_parquet(path: Path, parts: Sequence[Path]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as file:
        for part in parts:
            file.write_table(pq.read_table(part))
