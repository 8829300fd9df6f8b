"""Profiles that were made elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recbole_rlmrec.data.profile import (
    SIDES,
    BadRecord,
    Profile,
    parse_profile,
)
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.data.store import ProfileStore, check_tag, now
from recbole_rlmrec.errors import DataError, StoreError


@dataclass
class ImportSummary:
    """What :func:`import_profiles` did; as text it is one sentence.

    Attributes
    ----------
    folder : Path
        The tag's folder.
    users, items : int
        Profiles taken from the file.
    blank : int
        Lines of the file whose profile is empty, which were passed over.
    replaced : int
        Profiles that the tag already had for the same id with another text.
    provenance : str
        ``recorded`` where every profile of the tag records the interactions that it quotes, else ``unknown``.
    """

    folder: Path
    users: int
    items: int
    blank: int
    replaced: int
    provenance: str

    def __str__(self) -> str:
        parts = [f"{self.users} user profiles and {self.items} item profiles imported into {self.folder}"]
        if self.replaced:
            parts.append(f"{self.replaced} of them in place of earlier ones")
        if self.blank:
            parts.append(f"{self.blank} without text passed over")
        return "; ".join([*parts, f"quoted interactions: {self.provenance}"]) + "."


def import_profiles(file: Path | str, root: Path | str, dataset: str, tag: str) -> ImportSummary:
    """Take profiles made elsewhere into a tag; the file is checked as a whole before anything is written.

    Parameters
    ----------
    file : Path
        JSON lines in UTF-8, each with ``user_id`` or ``item_id``, ``profile`` and, if known, ``reasoning`` and ``pairs``
        (the [user id, item id] interactions quoted). Both sides may be in one file or come by successive calls.
    root : Path
        The dataset's ``semantic`` folder.
    dataset, tag : str
        Names; a tag that was not imported cannot be added to.

    Raises
    ------
    DataError
        A line of the file is not a profile, or an id comes twice.
    StoreError
        The tag belongs to another dataset, was made in another way, or is unreadable.
    """
    file, store = Path(file), ProfileStore(Path(root) / check_tag(tag))
    found, blank = _read_import(file)
    if not any(found.values()):
        raise DataError(f"{file} holds no profile; each line needs user_id or item_id, and profile.")
    with store.locked(), _whole_or_not(store):
        manifest = _import_manifest(store, dataset, tag)
        sides = {side: store.read(side) for side in SIDES}
        replaced = sum(
            token in sides[side] and sides[side][token].profile != profile.profile
            for side in SIDES
            for token, profile in found[side].items()
        )
        for side in SIDES:
            sides[side].update(found[side])
        manifest["how"]["files"].append(
            {"file": file.name, "made": now(), "users": len(found["user"]), "items": len(found["item"])}
        )
        unknown = any(profile.pairs is None for side in SIDES for profile in sides[side].values())
        manifest |= {
            "by": "import " + ", ".join(entry["file"] for entry in manifest["how"]["files"]),
            "users": len(sides["user"]),
            "items": len(sides["item"]),
            "provenance": "unknown" if unknown else "recorded",
        }
        store.write_manifest(manifest)  # first, so that what a kill leaves is a tag that the same import completes
        for side in SIDES:
            if found[side]:
                store.write(side, sides[side].values())
    return ImportSummary(store.folder, len(found["user"]), len(found["item"]), blank, replaced, manifest["provenance"])


@contextmanager
def _whole_or_not(store: ProfileStore) -> Iterator[None]:
    """Remove the folder of a tag that is new where it cannot be written as a whole."""
    new = not store.exists and not any(store.path(side).exists() for side in SIDES)
    try:
        yield
    except BaseException:
        if new:
            shutil.rmtree(store.folder, ignore_errors=True)
        raise


def _import_manifest(store: ProfileStore, dataset: str, tag: str) -> dict:
    if not store.exists:
        if any(store.path(side).exists() for side in SIDES):
            raise StoreError(f"{store.folder} holds profiles but no manifest.json; it is left as it is: choose another tag.")
        made = {"dataset": dataset, "tag": tag, "made": now(), "how": {"files": []}, "split_hash": None}
        return made
    manifest = store.manifest
    if manifest.get("dataset") != dataset:
        raise StoreError(f"{store.folder} belongs to dataset {manifest.get('dataset')!r}; choose another tag.")
    imported = str(manifest.get("by")).startswith("import ")
    if imported and not all(isinstance(entry, dict) for entry in manifest["how"]["files"]):
        raise StoreError(f"{store.folder} holds the data that the authors publish, as they are; choose another tag.")
    if not imported:
        raise StoreError(f"{store.folder} was made by {manifest.get('by')!r}, not by an import; choose another tag.")
    return manifest


def _read_import(file: Path) -> tuple[dict[str, dict[str, Profile]], int]:
    """Profiles of an import file by side and token, and how many lines had no text."""
    found, blank = {side: {} for side in SIDES}, 0
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                side, profile = _parse_import(line, f"{file}, line {number}")
                if profile.token in found[side]:
                    raise DataError(f"{file}, line {number}: {side} {profile.token!r} comes a second time; remove one.")
                blank += not profile.profile.strip()
                found[side][profile.token] = profile
    except OSError as reason:
        raise DataError(f"{file} cannot be read ({reason.strerror}); check the path.") from None
    return {side: {t: p for t, p in found[side].items() if p.profile.strip()} for side in SIDES}, blank


def _parse_import(line: bytes, where: str) -> tuple[str, Profile]:
    try:
        record = parse_json(line)
        if not isinstance(record, dict) or ("user_id" in record) == ("item_id" in record):
            raise BadRecord("not a JSON object with either 'user_id' or 'item_id'")
        side = "user" if "user_id" in record else "item"
        return side, parse_profile(record, side)
    except ValueError as reason:
        raise DataError(f"{where}: {reason}; correct the line, nothing was imported.") from None
