"""Encoding by several processes or machines: shard K of N encodes every N-th block of texts, and merging makes the matrices.

Blocks are those of one machine, so that what is batched together is the same, and so are the vectors.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.encoding.journal import Journal, Vectors
from recbole_rlmrec.errors import ConfigError, StoreError

FOLDER = ".shards"
_NAME = re.compile(r"(\d+)-of-(\d+)")


def parse_shard(text: str) -> tuple[int, int]:
    """K and N of ``K/N``.

    Raises
    ------
    ConfigError
        It is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(
            f"--shard={text} is no part of a whole; write for example --shard=1/2 here and --shard=2/2 elsewhere."
        )
    return int(match[1]), int(match[2])


def shard_folder(target: Path, shard: tuple[int, int]) -> Path:
    """Where a shard keeps its vectors: what a machine that shares no disk has to send."""
    return target / FOLDER / f"{shard[0]}-of-{shard[1]}"


def own_blocks(blocks: list, shard: tuple[int, int] | None) -> list:
    """The blocks that a shard encodes; all of them without one."""
    return blocks if shard is None else blocks[shard[0] - 1 :: shard[1]]


def rows_of_shards(target: Path, fingerprint: str) -> list[tuple[np.ndarray, Vectors]]:
    """Digests and vectors of all shards below a folder.

    Raises
    ------
    StoreError
        There are none, one is missing, or one was encoded with other settings or other texts.
    """
    found = {folder: _NAME.fullmatch(folder.name) for folder in sorted((target / FOLDER).glob("*-of-*"))}
    places = {folder: (int(match[1]), int(match[2])) for folder, match in found.items() if match}
    counts = {count for _, count in places.values()}
    if len(counts) != 1:
        there = "shards of several numbers" if counts else "no shards"
        raise StoreError(f"There are {there} in {target / FOLDER}; encode with --shard 1/N to N/N, and copy all of them there.")
    count = counts.pop()
    if missing := sorted(set(range(1, count + 1)) - {place for place, _ in places.values()}):
        lacking = ", ".join(f"{place}/{count}" for place in missing)
        raise StoreError(
            f"{target / FOLDER} lacks shard {lacking}; encode with --shard {missing[0]}/{count}, or copy it there."
        )
    rows = []
    for folder, (place, _) in places.items():
        if not (folder / "journal").is_file():
            continue  # of fewer texts than shards
        try:
            made_with = parse_json((folder / "journal.json").read_bytes())["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            made_with = None
        if made_with != fingerprint:
            raise StoreError(f"Shard {place}/{count} was encoded with other settings; give those here, or encode it again.")
        rows.append(Journal(folder / "journal", fingerprint).rows())
    return [(digests, vectors) for digests, vectors in rows if len(digests)]


def remove_shards(target: Path) -> None:
    """Delete what the shards left."""
    shutil.rmtree(target / FOLDER, ignore_errors=True)
