"""What a result is computed by, in a digest: other code, another result."""

from __future__ import annotations

import functools
from pathlib import Path

from recbole_rlmrec.data.files import digest_source
from recbole_rlmrec.plugin.defaults import PROPERTIES

COMPUTING = ("data", "encoding", "semantic", "model", "plugin", "runs", "properties")
"""Folders that compute a result; the rest of the package makes profiles, tables and pages out of it."""


@functools.cache
def source_digest() -> str:
    """SHA-256 over the files of this package that compute a result, defaults of options included, 16 digits."""
    return digest_source({name: PROPERTIES if name == "properties" else Path(__file__).parents[1] / name for name in COMPUTING})
