"""What a result is computed by, in a digest: other code, another result."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from recbole_rlmrec.plugin.defaults import PROPERTIES

COMPUTING = ("data", "encoding", "semantic", "model", "plugin", "runs", "properties")
"""Folders that compute a result; the rest of the package makes profiles, tables and pages out of it."""


@functools.cache
def source_digest() -> str:
    """SHA-256 over the files of this package that compute a result, defaults of options included, 16 digits."""
    return digest_source({name: PROPERTIES if name == "properties" else Path(__file__).parents[1] / name for name in COMPUTING})


def digest_source(folders: dict[str, Path]) -> str:
    """SHA-256 over names and contents of the ``.py`` and ``.yaml`` files of folders, 16 digits."""
    digest = hashlib.sha256()
    for name, folder in folders.items():
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml")):
            digest.update(f"{name}/{path.relative_to(folder).as_posix()}".encode() + b"\0")
            digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]
