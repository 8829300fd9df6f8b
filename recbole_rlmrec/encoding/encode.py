"""Profiles -> matrices: one row per profile in token order, with a manifest that says what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from logging import getLogger
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_rlmrec.data.files import file_digest, held, read_json, replacing, write_json, write_lists, write_matrix
from recbole_rlmrec.data.memory import give_back
from recbole_rlmrec.data.paths import encoder_slug
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.data.store import SIDES, ProfileStore, StoredTexts, now
from recbole_rlmrec.encoding.base import TextEncoder
from recbole_rlmrec.encoding.embeddings import files_of
from recbole_rlmrec.encoding.journal import Journal, Vectors
from recbole_rlmrec.encoding.registry import get_encoder, register_encoder, same_encoder
from recbole_rlmrec.encoding.shards import own_blocks, remove_shards, rows_of_shards, shard_folder
from recbole_rlmrec.errors import ConfigError, EncoderError, StoreError

__all__ = ["encode_tag", "get_encoder", "register_encoder", "same_encoder"]

FORMAT = 1
DTYPES = ("float32", "float16")
BLOCK = 512
_COPY_BLOCK = 1 << 12
_COMMIT = ".commit.json"

logger = getLogger()


def encode_tag(
    folder: Path | str,
    encoder_name: str,
    *,
    dtype: str = "float32",
    show_progress: bool = True,
    encoder: TextEncoder | None = None,
    shard: tuple[int, int] | None = None,
    merge: bool = False,
    **options,
) -> Path:
    """Encode the profiles of a tag.

    Vectors of texts that an earlier call with the same settings has encoded are used again, also those of a call that was
    killed; identical texts are encoded once. An encoder that is fitted to its texts starts anew when any of them changes.

    Parameters
    ----------
    folder : Path
        The tag's folder.
    encoder_name : str
        See :func:`get_encoder`.
    dtype : str
        Type of the stored matrices, float32 or float16.
    show_progress : bool
        Whether to show a progress bar.
    encoder : TextEncoder, optional
        An encoder of your own, in place of the one that ``encoder_name`` and the options make.
    shard : tuple of int, optional
        K and N: encode every N-th block of texts, from the K-th on, and make no matrices of it.
    merge : bool
        Whether to make the matrices of what the shards have encoded.
    **options
        See :func:`get_encoder`.

    Returns
    -------
    Path
        ``FOLDER/embeddings/ENCODER``, or the folder of the shard.

    Raises
    ------
    StoreError
        There are no profiles, another process encodes them with this encoder, or shards are missing.
    ConfigError
        An option is unknown or out of range.
    EncoderError
        The encoder cannot be loaded, fails, or returns something unusable.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"The dtype of stored embeddings must be one of {', '.join(DTYPES)}, not {dtype!r}.")
    store = ProfileStore(folder)
    manifest = store.manifest
    texts = {side: found for side in SIDES if len(found := store.stored_texts(side))}
    if not texts:
        raise StoreError(f"{store.folder} holds no profiles to encode; make or import some first.")
    encoder = encoder or get_encoder(encoder_name, **options)
    if "max_tokens" in (about := encoder.info()):
        limit = about["max_tokens"]
        said = f"reads {limit} tokens of each text" if limit else "does not say how long a text may be"
        logger.info(f"{encoder.name} {said}.")
    embeddings = store.folder / "embeddings"
    target = embeddings / encoder_slug(encoder_name, embeddings)
    if (shard or merge) and encoder.needs_fit:
        raise ConfigError(
            f"{encoder.name} is fitted to all texts, so there are no shards of them; leave --shard and --merge out."
        )
    place = shard_folder(target, shard) if shard else target
    with held(place, f"Another process is encoding into {place}; wait until it has ended."):
        job = _Job(target, texts, encoder, dtype, shard)
        if merge:
            job.take_shards()
        else:
            job.encode(show_progress)
        if not shard:
            job.finish({"dataset": manifest.get("dataset"), "tag": manifest.get("tag")})
    return place


def prepare(encoder: TextEncoder, side: str) -> None:
    """Tell an encoder whose texts come next, where it tells users from items."""
    if getattr(encoder, "sided", False):
        encoder.prepare(side)


def _new(path: Path) -> Path:
    return path.with_name(f".{path.stem}.new{path.suffix}")


class _All(Sequence):
    """The texts of all sides in one."""

    def __init__(self, parts: list[StoredTexts]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place):
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place = int(place) % len(self)
        part = int(np.searchsorted(self._ends, place, side="right"))
        return self._parts[part][place - int(self._ends[part]) + len(self._parts[part])]


class _Job:
    """One call of :func:`encode_tag`. Texts stay on disk; of each there are its token, its digest and its length."""

    def __init__(self, target: Path, texts: dict[str, StoredTexts], encoder: TextEncoder, dtype: str, shard=None):
        self._target, self._texts, self._encoder, self._dtype = target, texts, encoder, np.dtype(dtype)
        self._everything = _All(list(texts.values()))
        digests = np.concatenate([self._keys(side, found.digests) for side, found in texts.items()])
        self._digests, last = np.unique(digests[::-1], return_index=True)
        self._place = len(digests) - 1 - last
        self._fingerprint = self._make_fingerprint()
        self._shard, self._merged = shard, []
        if shard is None:
            self._commit()
        journal = target / ".journal" if shard is None else shard_folder(target, shard) / "journal"
        self._journal = Journal(journal, self._fingerprint)
        self._finished = self._finished_rows()

    def _keys(self, side: str, digests: np.ndarray) -> np.ndarray:
        """What tells texts of a side apart: their digests, and for an encoder that tells sides apart the side, too."""
        if side != "user" or not getattr(self._encoder, "sided", False):
            return digests
        keys = np.array(digests)
        keys.view("S1")[:: keys.itemsize] = b"u"  # no hexadecimal digit
        return keys

    def _make_fingerprint(self) -> str:
        """SHA-256 of a JSON list: the encoder's info, the type, and the sorted digests of each side it is fitted to."""
        settings = json.dumps([self._encoder.info(), self._dtype.name], sort_keys=True, default=str)
        digest = hashlib.sha256(settings[:-1].encode())
        if not self._encoder.needs_fit:
            digest.update(b", null]")
            return digest.hexdigest()
        for number, found in enumerate(self._texts.values()):
            digest.update(b", [[" if not number else b"], [")
            ordered = np.sort(found.digests)
            for start in range(0, len(ordered), _COPY_BLOCK):
                lead = b", " * (start > 0)
                digest.update(lead + b", ".join(b'"%b"' % each for each in ordered[start : start + _COPY_BLOCK].tolist()))
        digest.update(b"]]]")
        return digest.hexdigest()

    def _finished_rows(self) -> list[tuple[np.ndarray, Vectors]]:
        """Digests and matrices of an earlier call with the same settings."""
        try:
            manifest = parse_json((self._target / "manifest.json").read_bytes())
            bound = manifest.get("files") or {}
            if manifest["fingerprint"] != self._fingerprint or any(
                file_digest(self._target / name) != digest for name, digest in bound.items()
            ):
                return []
            return [self._finished_side(side) for side in manifest["digests"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _finished_side(self, side: str) -> tuple[np.ndarray, Vectors]:
        digests = np.array(parse_json((self._target / f"{side}s.tokens.json").read_bytes())["digests"], dtype="S32")
        matrix = Vectors.of_npy(self._target / f"{side}s.npy")
        if matrix.shape[0] != len(digests) or matrix.dtype != self._dtype:
            raise ValueError(f"{side}s.npy does not fit its tokens")
        return self._keys(side, digests), matrix

    def encode(self, show_progress: bool) -> None:
        """Encode what neither the journal nor a finished matrix holds, the longest texts first."""
        kept = self._holding(self._journal.rows()[0])
        known = kept.copy()
        if self._shard:  # all shards divide the same texts, whatever they have got through
            known[:] = False
        for digests, _ in self._finished:
            known |= self._holding(digests)
        lengths = np.concatenate([found.lengths for found in self._texts.values()])[self._place]
        todo = np.flatnonzero(~known)
        todo = todo[np.argsort(-lengths[todo], kind="stable")]  # equally long ones by digest
        if known.any():
            logger.info(f"{known.sum()} of {len(known)} texts were encoded before.")
        if not len(todo):
            return
        if self._encoder.needs_fit:
            self._encoder.fit(self._everything)
            give_back()
        size = max(BLOCK, getattr(self._encoder, "at_once", 0))
        sides = list(self._by_side(todo))
        blocks = [(side, mine[start : start + size]) for side, mine in sides for start in range(0, len(mine), size)]
        blocks = [block for block in own_blocks(blocks, self._shard) if not kept[block[1]].all()]
        bar = tqdm(total=sum(len(block) for _, block in blocks), desc="Encode", ncols=100, disable=not show_progress)
        with bar:
            before = None
            for side, block in blocks:
                if side != before:
                    prepare(self._encoder, side)
                    before = side
                for digests, vectors in self._vectors(block):
                    self._journal.append(digests, vectors)
                    bar.update(len(digests))
        if self._encoder.truncated:
            limit = self._encoder.info().get("max_tokens")
            logger.warning(
                f"{self._encoder.truncated} of {len(todo)} texts were longer than the {limit} tokens that "
                f"{self._encoder.name} reads, and were cut."
            )

    def take_shards(self) -> None:
        """Take what shards have encoded.

        Raises
        ------
        StoreError
            They are not all there, or not whole.
        """
        self._merged = rows_of_shards(self._target, self._fingerprint)
        held_by = [self._holding(digests) for digests, _ in [*self._finished, *self._merged]]
        missing = int((~np.logical_or.reduce(held_by)).sum()) if held_by else len(self._digests)
        if missing:
            raise StoreError(f"{missing} texts are in no shard below {self._target}; let each --shard come to its end.")

    def _find(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texts with one of these digests, int [k], and which of them each has, int [k]."""
        places = np.minimum(np.searchsorted(self._digests, digests), len(self._digests) - 1)
        ours = np.flatnonzero(self._digests[places] == digests)
        return places[ours], ours

    def _holding(self, digests: np.ndarray) -> np.ndarray:
        """Which of the texts have one of these digests, bool [n]."""
        held_by = np.zeros(len(self._digests), dtype=bool)
        held_by[self._find(digests)[0]] = True
        return held_by

    def _by_side(self, todo: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """What is to be encoded, side by side where the encoder tells them apart."""
        if not getattr(self._encoder, "sided", False):
            yield SIDES[-1], todo
            return
        begin = 0
        for side, found in self._texts.items():
            places = self._place[todo]
            yield side, todo[(places >= begin) & (places < begin + len(found))]
            begin += len(found)

    def _vectors(self, block: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        digests = self._digests[block]
        texts = [self._everything[place] for place in self._place[block]]
        stream = getattr(self._encoder, "stream", None)
        for place, vectors in stream(texts) if stream else [(slice(0, len(texts)), self._encoder.encode(texts))]:
            yield digests[place], self._checked(digests[place], np.asarray(vectors))

    def _checked(self, digests: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        if vectors.ndim != 2 or len(vectors) != len(digests):
            raise EncoderError(f"{self._encoder.name} returned shape {vectors.shape} for {len(digests)} texts.")
        with np.errstate(over="ignore"):
            vectors = vectors.astype(self._dtype)
        if not np.isfinite(vectors).all():
            raise EncoderError(
                f"{self._encoder.name} returned a value that is not a finite {self._dtype.name}; "
                f"use another precision or dtype."
            )
        return vectors

    def finish(self, origin: dict) -> None:
        """Put the matrices in place."""
        sources, source, row = self._sources()
        width = sources[0].shape[1]
        for side, found in self._texts.items():
            matrix, tokens = (_new(self._target / name) for name in files_of(side))
            with replacing(matrix) as temporary:
                blocks = self._rows_of(self._keys(side, found.digests), sources, source, row)
                write_matrix(temporary, self._dtype, (len(found), width), blocks)
            write_lists(tokens, {"tokens": found.token_blocks(), "digests": found.digest_blocks()})
        names = [name for side in self._texts for name in files_of(side)]
        files = {name: file_digest(_new(self._target / name)) for name in names}
        manifest = {**self._manifest(origin, width), "files": files}
        write_json(self._target / _COMMIT, {"sides": list(self._texts), "manifest": manifest})
        self._commit()
        self._journal.remove()
        remove_shards(self._target)
        counts = " and ".join(f"{len(found)} {side}s" for side, found in self._texts.items())
        logger.info(f"{counts} encoded by {self._encoder.name}: {width} dimensions, {self._dtype.name}")

    def _commit(self) -> None:
        """Carry out what ``.commit.json`` says, where there is one; a process that was killed over it leaves the rest to us.

        Without a manifest matrices do not count, so it goes first and comes last.
        """
        path = self._target / _COMMIT
        if not path.is_file():
            return
        new = read_json(path, StoreError, "delete it and encode again")
        if "sides" not in new:  # of an earlier version; the vectors are in the journal still
            path.unlink()
            return
        (self._target / "manifest.json").unlink(missing_ok=True)
        for side in SIDES:
            for found in (self._target / name for name in files_of(side)):
                if side not in new["sides"]:
                    found.unlink(missing_ok=True)
                elif (made := _new(found)).is_file():
                    made.replace(found)
        write_json(self._target / "manifest.json", new["manifest"])
        path.unlink()

    def _sources(self) -> tuple[list[Vectors], np.ndarray, np.ndarray]:
        """Where the vector of each text is: matrices, and by digest which of them, int [n], and its row there, int [n]."""
        found = [*self._finished, *self._merged, self._journal.rows()]
        source, row = np.full(len(self._digests), -1, dtype=np.int32), np.zeros(len(self._digests), dtype=np.int64)
        for number, (digests, _) in enumerate(found):
            places, ours = self._find(digests)
            source[places], row[places] = number, ours
        if lacking := int((source < 0).sum()):
            raise EncoderError(f"{self._encoder.name} returned no vector for {lacking} of {len(source)} texts.")
        used = np.unique(source)
        return [found[number][1] for number in used], np.searchsorted(used, source).astype(np.int32), row

    def _rows_of(
        self, digests: np.ndarray, sources: list[Vectors], source: np.ndarray, row: np.ndarray
    ) -> Iterator[np.ndarray]:
        """The vectors of texts in blocks."""
        for start in range(0, len(digests), _COPY_BLOCK):
            places = np.searchsorted(self._digests, digests[start : start + _COPY_BLOCK])
            block = np.empty((len(places), sources[0].shape[1]), dtype=self._dtype)
            for number, vectors in enumerate(sources):
                mine = np.flatnonzero(source[places] == number)
                block[mine] = vectors.take(row[places[mine]])
            yield block

    def _manifest(self, origin: dict, width: int) -> dict:
        return {
            "format": FORMAT,
            **origin,
            **self._encoder.info(),
            "dim": width,
            "dtype": self._dtype.name,
            "digests": {side: found.digest() for side, found in self._texts.items()},
            "users": len(self._texts.get("user", ())),
            "items": len(self._texts.get("item", ())),
            "fingerprint": self._fingerprint,
            "made": now(),
        }
