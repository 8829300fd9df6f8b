"""Matrices of one tag and encoder as they lie on disk, checked before anything relies on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import file_digest, read_json, write_json
from recbole_rlmrec.data.profile import SIDES, digest_of
from recbole_rlmrec.data.reading import parse_json, read_npy
from recbole_rlmrec.data.store import ProfileStore, Scan
from recbole_rlmrec.errors import SemanticError, quoted

FORMAT = 1
_CHECK_BYTES = 1 << 25
_SHAPE = {"digests?": {str: str}, "encoder?": str, "revision?": str}

logger = getLogger()

_unbound: set[Path] = set()


@dataclass
class Embeddings:
    """Matrices of a tag and encoder.

    Attributes
    ----------
    folder : Path
        ``.../TAG/embeddings/ENCODER``.
    manifest : dict
        How they were made.
    tokens : dict of str to list of str
        Token of each row, by side; a side may be absent.
    matrices : dict of str to ndarray
        Memory maps, float32 or float16 [rows, dim], by side.
    """

    folder: Path
    manifest: dict
    tokens: dict[str, list[str]]
    matrices: dict[str, np.ndarray]

    @property
    def dim(self) -> int:
        """Width of the matrices."""
        return next(iter(self.matrices.values())).shape[1]

    def path(self, side: str) -> Path:
        """File of a side's matrix."""
        return self.folder / f"{side}s.npy"


def list_encoders(tag_folder: Path) -> list[str]:
    """Names of the encoders that have begun or finished matrices of a tag, sorted."""
    return sorted(path.name for path in (tag_folder / "embeddings").glob("[!.]*") if path.is_dir())


def read_embeddings(folder: Path, dataset: str) -> Embeddings:
    """Read and check the matrices of a tag and encoder.

    Parameters
    ----------
    folder : Path
        ``.../TAG/embeddings/ENCODER``.
    dataset : str
        Whose they must be.

    Raises
    ------
    SemanticError
        They are half-written, of another dataset, of the wrong number of rows, width or type, hold NaN or infinity, or are
        not the files that their manifest was written for.
    """
    remedy = _remedy(folder, dataset)
    manifest = read_json(folder / "manifest.json", SemanticError, remedy, _SHAPE)
    if manifest.get("format") != FORMAT:
        raise SemanticError(f"{folder} has format {manifest.get('format')!r}, this version reads {FORMAT}; {remedy}.")
    if manifest.get("dataset") != dataset:
        raise SemanticError(
            f"{folder} holds embeddings of dataset {manifest.get('dataset')!r}, not of {dataset!r}; {remedy}, "
            f"or choose another semantic_tag."
        )
    sides = [side for side in SIDES if manifest.get(f"{side}s")]
    found = Embeddings(folder, manifest, {}, {})
    for side in sides:
        found.tokens[side] = _read_tokens(folder / f"{side}s.tokens.json", remedy)
        found.matrices[side] = _read_matrix(found.path(side), len(found.tokens[side]), remedy)
    _check_widths(found, remedy)
    _check_files(folder, manifest, sides, remedy)
    return found


def seal(folder: Path, manifest: dict) -> None:
    """Write the manifest of matrices that lie in a folder, bound to them and to their tokens by the digest of each file."""
    names = [name for side in SIDES if manifest.get(f"{side}s") for name in files_of(side)]
    write_json(folder / "manifest.json", {**manifest, "files": {name: file_digest(folder / name) for name in names}})


def files_of(side: str) -> tuple[str, str]:
    """Names of a side's matrix and of the list of its tokens."""
    return f"{side}s.npy", f"{side}s.tokens.json"


def _check_files(folder: Path, manifest: dict, sides: list[str], remedy: str) -> None:
    """Make sure that the files are those that the manifest was written for; an older manifest cannot tell, which is said."""
    bound = manifest.get("files")
    if bound is None:
        if folder not in _unbound:
            _unbound.add(folder)
            logger.info(f"{folder} is of an earlier version, which bound no tokens to matrices; encode again to bind them.")
        return
    for name in (name for side in sides for name in files_of(side)):
        expected = bound.get(name) if isinstance(bound, dict) else None
        if not (folder / name).is_file() or file_digest(folder / name) != expected:
            raise SemanticError(f"{folder / name} is not the file that its manifest was written for; {remedy}.")


def check_embeddings(tag_folder: Path, folder: Path) -> str:
    """Check the matrices of a tag and encoder, also against the tag's profiles.

    Returns
    -------
    str
        Their sizes in one line.

    Raises
    ------
    SemanticError, StoreError
        See :func:`read_embeddings` and :func:`check_unchanged`.
    """
    store = ProfileStore(tag_folder)
    found = read_embeddings(folder, store.manifest.get("dataset"))
    check_unchanged(found, {side: store.scan(side) for side in SIDES})
    counts = ", ".join(f"{len(tokens)} {side}s" for side, tokens in found.tokens.items())
    return f"{counts}, {found.dim} dimensions, {found.manifest.get('dtype')}"


def check_unchanged(found: Embeddings, scans: dict[str, Scan]) -> None:
    """Make sure that the profiles are those that were encoded; a side whose manifest has no digest is not compared.

    Raises
    ------
    SemanticError
        Profiles were added, removed or changed since.
    """
    digests = found.manifest.get("digests") or {}
    for side, scan in scans.items():
        encoded = digests.get(side, None if side in found.matrices else digest_of(()))
        if encoded is not None and encoded != scan.digest:
            raise SemanticError(
                f"The {side} profiles of tag {found.folder.parents[1].name!r} have changed since they were encoded; "
                f"{_remedy(found.folder, found.manifest.get('dataset'))}."
            )


def _remedy(folder: Path, dataset: str) -> str:
    tag = folder.parents[1].name
    try:
        encoder = parse_json((folder / "manifest.json").read_bytes())["encoder"]
    except (OSError, ValueError, KeyError, TypeError):
        encoder = folder.name.replace("--", "/")
    return f"run `recbole-rlmrec encode --dataset {quoted(dataset)} --tag {tag} --encoder {quoted(encoder)}` again"


def _read_tokens(path: Path, remedy: str) -> list[str]:
    tokens = read_json(path, SemanticError, remedy).get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise SemanticError(f"{path} does not hold a list of tokens; {remedy}.")
    if len(set(tokens)) < len(tokens):
        raise SemanticError(f"{path} lists a token twice; {remedy}.")
    return tokens


def _read_matrix(path: Path, rows: int, remedy: str) -> np.ndarray:
    try:
        # "c": pages are shared until written to, and torch takes the array without a warning.
        matrix = read_npy(path, "c")
    except (OSError, ValueError, EOFError) as reason:
        raise SemanticError(f"{path} cannot be read ({reason}); {remedy}.") from None
    if matrix.ndim != 2 or matrix.dtype not in (np.float32, np.float16) or not matrix.flags.c_contiguous:
        raise SemanticError(f"{path} is {matrix.dtype} {matrix.shape}, not a float32 or float16 matrix; {remedy}.")
    if len(matrix) != rows:
        raise SemanticError(f"{path} has {len(matrix)} rows, but its token list {rows}; {remedy}.")
    for start, block in _blocks(path, matrix):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise SemanticError(f"{path} holds NaN or infinity, first in row {start + int(finite.argmin())}; {remedy}.")
    return matrix


def _blocks(path: Path, matrix: np.memmap) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the rows of blocks that are read, not mapped, so that they leave memory again."""
    rows = max(_CHECK_BYTES // max(matrix.shape[1] * matrix.itemsize, 1), 1)
    with open(path, "rb") as file:
        file.seek(matrix.offset)
        for start in range(0, len(matrix), rows):
            count = min(rows, len(matrix) - start)
            block = np.fromfile(file, dtype=matrix.dtype, count=count * matrix.shape[1])
            yield start, block.reshape(count, matrix.shape[1])


def _check_widths(found: Embeddings, remedy: str) -> None:
    if not found.matrices:
        raise SemanticError(f"{found.folder} holds no matrix; {remedy}.")
    expected = found.manifest.get("dim")
    for side, matrix in found.matrices.items():
        if matrix.shape[1] != expected:
            raise SemanticError(f"{found.path(side)} has width {matrix.shape[1]}, but its manifest says {expected}; {remedy}.")
