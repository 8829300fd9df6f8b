"""Profiles -> matrices: one row per profile in token order, with a manifest that says what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_rlmrec.data.files import bytes_digest, file_digest, held, json_bytes, new_matrix, read_json, replacing, write_json
from recbole_rlmrec.data.paths import encoder_slug
from recbole_rlmrec.data.reading import parse_json, read_npy
from recbole_rlmrec.data.store import SIDES, ProfileStore, combined_digest, now, text_digest
from recbole_rlmrec.encoding.base import TextEncoder
from recbole_rlmrec.encoding.embeddings import files_of
from recbole_rlmrec.encoding.journal import Journal
from recbole_rlmrec.encoding.registry import get_encoder, register_encoder, same_encoder
from recbole_rlmrec.encoding.shards import own_blocks, remove_shards, rows_of_shards, shard_folder
from recbole_rlmrec.errors import ConfigError, EncoderError, StoreError

__all__ = ["encode_tag", "get_encoder", "register_encoder", "same_encoder"]

FORMAT = 1
DTYPES = ("float32", "float16")
BLOCK = 512
_COPY_BLOCK = 1 << 14
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
    texts = {side: found for side in SIDES if (found := store.texts(side))}
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


def _new(matrix: Path) -> Path:
    return matrix.with_name(f".{matrix.stem}.new.npy")


class _Job:
    """One call of :func:`encode_tag`."""

    def __init__(self, target: Path, texts: dict[str, dict[str, str]], encoder: TextEncoder, dtype: str, shard=None):
        self._target, self._texts, self._encoder, self._dtype = target, texts, encoder, np.dtype(dtype)
        self._digests = {side: {t: text_digest(text) for t, text in found.items()} for side, found in texts.items()}
        self._by_digest = {digest: texts[side][token] for side in texts for token, digest in self._digests[side].items()}
        self._side_of = {digest: side for side in texts for digest in self._digests[side].values()}
        self._fingerprint = self._make_fingerprint()
        self._shard, self._merged = shard, []
        if shard is None:
            self._commit()
        journal = target / ".journal" if shard is None else shard_folder(target, shard) / "journal"
        self._journal = Journal(journal, self._fingerprint)
        self._finished = self._finished_rows()

    def _make_fingerprint(self) -> str:
        fitted_on = [sorted(d.values()) for d in self._digests.values()] if self._encoder.needs_fit else None
        settings = [self._encoder.info(), self._dtype.name, fitted_on]
        return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()

    def _finished_rows(self) -> list[tuple[list[str], np.ndarray]]:
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

    def _finished_side(self, side: str) -> tuple[list[str], np.ndarray]:
        digests = parse_json((self._target / f"{side}s.tokens.json").read_bytes())["digests"]
        matrix = read_npy(self._target / f"{side}s.npy", "r")
        if matrix.shape[0] != len(digests) or matrix.dtype != self._dtype:
            raise ValueError(f"{side}s.npy does not fit its tokens")
        return digests, matrix

    def encode(self, show_progress: bool) -> None:
        """Encode what neither the journal nor a finished matrix holds, the longest texts first."""
        kept = set(self._journal.rows()[0])
        known = set() if self._shard else kept  # all shards divide the same texts, whatever they have got through
        known = known.union(*(digests for digests, _ in self._finished))
        todo = sorted(set(self._by_digest) - known, key=lambda digest: (-len(self._by_digest[digest]), digest))
        if known := len(self._by_digest) - len(todo):
            logger.info(f"{known} of {len(self._by_digest)} texts were encoded before.")
        if not todo:
            return
        if self._encoder.needs_fit:
            self._encoder.fit([text for found in self._texts.values() for text in found.values()])
        size = max(BLOCK, getattr(self._encoder, "at_once", 0))
        sides = list(self._by_side(todo))
        blocks = [(side, mine[start : start + size]) for side, mine in sides for start in range(0, len(mine), size)]
        blocks = [block for block in own_blocks(blocks, self._shard) if not kept.issuperset(block[1])]
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
        missing = len(set(self._by_digest).difference(*(digests for digests, _ in [*self._finished, *self._merged])))
        if missing:
            raise StoreError(f"{missing} texts are in no shard below {self._target}; let each --shard come to its end.")

    def _by_side(self, todo: list[str]) -> Iterator[tuple[str, list[str]]]:
        """What is to be encoded, side by side where the encoder tells them apart; what both sides have is an item's."""
        if not getattr(self._encoder, "sided", False):
            yield SIDES[-1], todo
            return
        for side in SIDES:
            yield side, [digest for digest in todo if self._side_of[digest] == side]

    def _vectors(self, digests: list[str]) -> Iterator[tuple[list[str], np.ndarray]]:
        texts = [self._by_digest[digest] for digest in digests]
        stream = getattr(self._encoder, "stream", None)
        for place, vectors in stream(texts) if stream else [(slice(0, len(texts)), self._encoder.encode(texts))]:
            yield digests[place], self._checked(digests[place], np.asarray(vectors))

    def _checked(self, digests: list[str], vectors: np.ndarray) -> np.ndarray:
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
        where = self._sources()
        width = next(iter(where.values()))[0].shape[1]
        for side in self._texts:
            self._write_matrix(side, where, width)
        tokens = {side: {"tokens": [*digests], "digests": [*digests.values()]} for side, digests in self._digests.items()}
        del where  # nothing may be mapped that is replaced or removed: Windows refuses that
        self._finished, self._merged = [], []
        files = {}
        for side, listed in tokens.items():
            matrix, names = files_of(side)
            files |= {matrix: file_digest(_new(self._target / matrix)), names: bytes_digest(json_bytes(listed))}
        manifest = {**self._manifest(origin, width), "files": files}
        write_json(self._target / _COMMIT, {"tokens": tokens, "manifest": manifest})
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
        (self._target / "manifest.json").unlink(missing_ok=True)
        for side in SIDES:
            matrix, tokens = self._target / f"{side}s.npy", self._target / f"{side}s.tokens.json"
            if side not in new["tokens"]:
                matrix.unlink(missing_ok=True)
                tokens.unlink(missing_ok=True)
                continue
            if (made := _new(matrix)).is_file():
                made.replace(matrix)
            write_json(tokens, new["tokens"][side])
        write_json(self._target / "manifest.json", new["manifest"])
        path.unlink()

    def _sources(self) -> dict[str, tuple[np.ndarray, int]]:
        """Where the vector of each digest is: a matrix and a row."""
        where = {}
        for digests, matrix in [*self._finished, *self._merged, self._journal.rows()]:
            where.update((digest, (matrix, row)) for row, digest in enumerate(digests) if digest in self._by_digest)
        return where

    def _write_matrix(self, side: str, where: dict[str, tuple[np.ndarray, int]], width: int) -> None:
        digests = list(self._digests[side].values())
        with replacing(_new(self._target / f"{side}s.npy")) as temporary:
            matrix = new_matrix(temporary, self._dtype, (len(digests), width))
            for start in range(0, len(digests), _COPY_BLOCK):
                block = [where[digest] for digest in digests[start : start + _COPY_BLOCK]]
                matrix[start : start + len(block)] = np.stack([source[row] for source, row in block])
            matrix.flush()
            del matrix  # see finish

    def _manifest(self, origin: dict, width: int) -> dict:
        return {
            "format": FORMAT,
            **origin,
            **self._encoder.info(),
            "dim": width,
            "dtype": self._dtype.name,
            "digests": {side: combined_digest(digests) for side, digests in self._digests.items()},
            "users": len(self._digests.get("user", ())),
            "items": len(self._digests.get("item", ())),
            "fingerprint": self._fingerprint,
            "made": now(),
        }
