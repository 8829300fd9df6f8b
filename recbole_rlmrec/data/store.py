"""Profiles on disk: JSON lines, one object per profile, and a manifest that says how they were made."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_rlmrec.data.appender import Appender
from recbole_rlmrec.data.files import held, read_json, replacing, write_json
from recbole_rlmrec.data.profile import (
    SIDES,
    Profile,
    digest_of,
    parse_profile,
    text_digest,
    to_line,
)
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.errors import ConfigError, SemanticError, StoreError, quoted

FORMAT = 1
_BLOCK = 1 << 14
_SHAPE = {"by?": str, "made?": str, "split_hash?": str, "how?": dict, "usage?": dict}

logger = getLogger()


@dataclass
class Scan:
    """What one pass over the profiles of a side finds out.

    Attributes
    ----------
    digest : str
        See :func:`digest_of`.
    lines : int array [n]
        Which lines of the file count, from 0: of each token the last, those of white space alone left out.
    unknown : bool
        Whether the pairs of any profile are unknown.
    """

    digest: str
    lines: np.ndarray
    unknown: bool


def now() -> str:
    """The present moment in UTC, as manifests hold it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def check_tag(tag: str) -> str:
    """Return ``tag`` where it can be the name of a folder.

    Raises
    ------
    ConfigError
        It holds anything but letters, digits, ``.``, ``_`` and ``-``, or starts with a dot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", str(tag)):
        raise ConfigError(f"{tag!r} cannot be a tag; use letters, digits, '.', '_' and '-', for example gpt-4o-mini.")
    return str(tag)


def list_tags(root: Path) -> list[str]:
    """Names of the tags below a dataset's ``semantic`` folder, sorted."""
    return sorted(path.parent.name for path in Path(root).glob("[!.]*/manifest.json"))


class ProfileStore:
    """The profiles of one tag.

    Parameters
    ----------
    folder : Path
        ``.../DATASET/semantic/TAG``; need not exist yet.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._reported: set[str] = set()

    def path(self, side: str) -> Path:
        """File of a side, ``users.jsonl`` or ``items.jsonl``."""
        if side not in SIDES:
            raise ValueError(f"side is 'user' or 'item', not {side!r}")
        return self.folder / f"{side}s.jsonl"

    @property
    def exists(self) -> bool:
        """Whether the tag has a manifest."""
        return (self.folder / "manifest.json").is_file()

    @property
    def manifest(self) -> dict:
        """How the profiles were made.

        Raises
        ------
        StoreError
            The manifest is missing, unreadable or of a newer format.
        """
        path = self.folder / "manifest.json"
        manifest = read_json(path, StoreError, "restore it from a copy or make the profiles again under another tag", _SHAPE)
        if manifest.get("format") != FORMAT:
            raise StoreError(f"{path} has format {manifest.get('format')!r}, this version reads {FORMAT}; upgrade.")
        return manifest

    def write_manifest(self, manifest: dict) -> None:
        """Write the manifest, whole or not at all; ``format`` is added."""
        write_json(self.folder / "manifest.json", {"format": FORMAT, **manifest})

    def iter(self, side: str) -> Iterator[Profile]:
        """Yield the profiles of a side line by line; where a token comes again, its later line replaces the earlier.

        Raises
        ------
        StoreError
            A line is not a profile. Only a last line that was cut off in writing is passed over, with a warning.
        """
        return (profile for _, profile in self._read(side))

    def _read(self, side: str) -> Iterator[tuple[int, Profile]]:
        """Where each line begins, and its profile."""
        path, begin = self.path(side), 0
        if not path.exists():
            return
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield begin, parse_profile(parse_json(line), side)
                    begin += len(line)
                except ValueError as reason:
                    if not line.endswith(b"\n"):
                        self._report_cut(path, number)
                        return
                    raise StoreError(
                        f"{path}, line {number}: {reason}; the file is left as it is: mend or remove that line."
                    ) from None

    def _report_cut(self, path: Path, number: int) -> None:
        if path.name not in self._reported:
            self._reported.add(path.name)
            logger.warning(f"{path}: line {number} was cut off in writing and is passed over.")

    def read(self, side: str) -> dict[str, Profile]:
        """Profiles of a side by token, in the order in which the tokens first appear; empty without a file."""
        return {profile.token: profile for profile in self.iter(side)}

    def texts(self, side: str) -> dict[str, str]:
        """Texts to encode by token, in token order; profiles of white space alone are left out."""
        texts = {profile.token: profile.profile for profile in self.iter(side)}
        return {token: texts[token] for token in sorted(texts) if texts[token].strip()}

    def stored_texts(self, side: str) -> StoredTexts:
        """As `texts`, on disk."""
        return StoredTexts(self.path(side), side, self._read(side))

    def scan(self, side: str, note: Callable[[int, Profile], None] | None = None) -> Scan:
        """Read a side in one pass that keeps no profile.

        Parameters
        ----------
        side : str
        note : callable, optional
            Called with the number of each line and its profile where its pairs are known; a later line may replace it.
        """
        known = bytearray()

        def noted() -> Iterator[tuple[int, Profile]]:
            for number, (begin, profile) in enumerate(self._read(side)):
                known.append(profile.pairs is not None)
                if note is not None and known[-1]:
                    note(number, profile)
                yield begin, profile

        texts = StoredTexts(self.path(side), side, noted())
        return Scan(texts.digest(), texts.lines, not np.frombuffer(known, dtype=bool)[texts.lines].all())

    def digest(self, side: str) -> str:
        """SHA-256 over tokens and texts of a side in token order; changes exactly when one of them does."""
        return self.scan(side).digest

    def quoted_pairs(self) -> tuple[pd.DataFrame, bool]:
        """Interactions that the profiles quote.

        Returns
        -------
        pairs : DataFrame
            Distinct rows of ``user`` and ``item`` tokens.
        unknown : bool
            Whether any profile does not record its pairs.
        """
        quoted, unknown = set(), False
        for side in SIDES:
            pairs: dict[int, list[tuple[str, str]]] = {}
            scan = self.scan(side, lambda number, profile, pairs=pairs: pairs.update({number: profile.pairs}))
            quoted.update(*(pairs.get(line, ()) for line in scan.lines.tolist()))
            unknown |= scan.unknown
        return pd.DataFrame(sorted(quoted), columns=["user", "item"], dtype=object), unknown

    def write(self, side: str, profiles: Iterable[Profile]) -> int:
        """Replace the file of a side, whole or not at all; returns how many profiles it holds."""
        count = 0
        with replacing(self.path(side)) as temporary, open(temporary, "wb") as file:
            for profile in profiles:
                file.write(to_line(profile, side))
                count += 1
            file.flush()
            os.fsync(file.fileno())
        return count

    @contextmanager
    def appender(self, side: str) -> Iterator[Appender]:
        """Open the file of a side for adding profiles as they arrive; flushed to disk and closed at the end."""
        appender = Appender(self.path(side), side)
        try:
            yield appender
        finally:
            appender.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the tag for this process.

        Raises
        ------
        StoreError
            Another process holds it.
        """
        with held(self.folder, f"Another process is writing to {self.folder}; wait until it has ended."):
            yield


class StoredTexts(Sequence):
    """Texts to encode of a side, in token order; a text is read when it is asked for.

    Attributes
    ----------
    digests : bytes array [n]
        See :func:`text_digest`.
    lengths : int array [n]
        Characters of each text.
    lines : int array [n]
        Which line of the file each is, from 0.
    """

    def __init__(self, path: Path, side: str, lines: Iterable[tuple[int, Profile]]) -> None:
        self._path, self._side, self._file = path, side, None
        begins, lengths, digests = array("q"), array("i"), bytearray()
        tokens, block = [pa.array([], type=pa.large_binary())], []
        for begin, profile in lines:
            block.append(profile.token.encode("utf-8", "surrogatepass"))  # sorted as the texts are
            begins.append(begin)
            lengths.append(len(profile.profile) if profile.profile.strip() else 0)
            digests += text_digest(profile.profile).encode()
            if len(block) == _BLOCK:
                tokens.append(pa.array(block, type=pa.large_binary()))
                block = []
        everything = pa.concat_arrays([*tokens, pa.array(block, type=pa.large_binary())])
        rows = _last_of_each(everything)
        lengths = np.frombuffer(lengths, dtype=np.int32)
        rows = rows[lengths[rows] > 0]
        self.lines = rows.astype(np.int32) if len(lengths) < 1 << 31 else rows
        self._tokens = everything.take(pa.array(rows))
        self._begins, self.lengths = np.frombuffer(begins, dtype=np.int64)[rows], lengths[rows]
        self.digests = np.frombuffer(digests, dtype="S32")[rows]

    @property
    def tokens(self) -> list[str]:
        """All tokens."""
        return [token for block in self.token_blocks() for token in block]

    def token_blocks(self) -> Iterator[list[str]]:
        """Tokens, some at a time."""
        for start in range(0, len(self), _BLOCK):
            yield [token.decode("utf-8", "surrogatepass") for token in self._tokens[start : start + _BLOCK].to_pylist()]

    def digest_blocks(self) -> Iterator[list[str]]:
        """As `token_blocks`, of ``digests``."""
        for start in range(0, len(self), _BLOCK):
            yield self.digests[start : start + _BLOCK].astype(str).tolist()

    def digest(self) -> str:
        """See :func:`digest_of`."""
        blocks = zip(self.token_blocks(), self.digest_blocks())
        return digest_of(pair for tokens, digests in blocks for pair in zip(tokens, digests))

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._begins)

    def __getitem__(self, place):
        """The text at a place."""
        if self._file is None:
            self._file = open(self._path, "rb")
        self._file.seek(int(self._begins[place]))
        try:
            text = parse_profile(parse_json(self._file.readline()), self._side).profile
        except ValueError:
            text = None
        if text is None or text_digest(text).encode() != self.digests[place]:
            raise StoreError(f"{self._path} has changed while it was read; encode again.")
        return text


def _last_of_each(tokens: pa.Array) -> np.ndarray:
    """Where each token comes last, int64 [distinct], in token order."""
    if not len(tokens):
        return np.empty(0, dtype=np.int64)
    order = pc.array_sort_indices(tokens)
    ordered = tokens.take(order)
    last = pc.not_equal(ordered[:-1], ordered[1:]).to_numpy(zero_copy_only=False)
    return order.to_numpy().astype(np.int64)[np.append(last, True)]


def tag_folder(root: Path, tag: str | None, dataset: str) -> Path:
    """Folder of the profiles of a tag, or of the only one that there is where none is named.

    Parameters
    ----------
    root : Path
        The dataset's ``semantic`` folder.
    tag : str or None
    dataset : str

    Raises
    ------
    SemanticError
        There are no such profiles, or none are named and there are several; the message lists the tags that there are.
    ConfigError
        The tag is no name of a folder.
    """
    tags = list_tags(root)
    if tag is None and tags:
        if len(tags) > 1:
            raise SemanticError(f"There are several sets of profiles in {root}; choose one with --tag: {', '.join(tags)}.")
        return root / tags[0]
    if tag is not None and (root / check_tag(tag)).is_dir():
        return root / tag
    missing = "no profiles" if tag is None else f"no profiles with the tag {tag!r}"
    there = f"there are: {', '.join(tags)}" if tags else "there are none yet"
    named = f"--dataset {quoted(dataset)} --tag {tag or 'TAG'}"
    raise SemanticError(
        f"There are {missing} in {root}; {there}. Make them with `recbole-rlmrec profile {named} --chat-model MODEL`, or "
        f"import them with `recbole-rlmrec import FILE.jsonl {named}`, then encode them."
    )
