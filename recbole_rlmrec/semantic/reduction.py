"""Fewer dimensions: a principal component analysis over users and items together, kept beside the matrices."""

from __future__ import annotations

import hashlib
from logging import getLogger

import numpy as np

from recbole_rlmrec.data.files import file_digest, replacing, write_json, write_matrix
from recbole_rlmrec.data.reading import parse_json, read_npy
from recbole_rlmrec.encoding.embeddings import Embeddings
from recbole_rlmrec.errors import ConfigError, SemanticError

_BLOCK = 4096

logger = getLogger()


def reduce(found: Embeddings, dim: int) -> Embeddings:
    """Project the matrices on their first principal components.

    The mean and the components are of all rows of both sides; the projected rows are centred and not rescaled. The result is
    cached as ``users.pcaDIM.npy`` and ``items.pcaDIM.npy`` until the matrices change.

    Parameters
    ----------
    found : Embeddings
        Matrices [rows, d].
    dim : int
        Number of components, from 1 to d.

    Returns
    -------
    Embeddings
        Matrices [rows, dim], memory-mapped, of the same type; the manifest gets ``variance_kept``.

    Raises
    ------
    ConfigError
        ``dim`` is out of range.
    SemanticError
        The folder cannot be written to.
    """
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= found.dim:
        raise ConfigError(f"semantic_dim must be an integer from 1 to {found.dim}, the size of the embeddings, not {dim!r}.")
    source = _source_digest(found)
    variance = _cached_variance(found, dim, source)
    if variance is None:
        try:
            variance = _build(found, dim, source)
        except OSError as reason:
            raise SemanticError(f"{found.folder} cannot be written to ({reason.strerror}); semantic_dim needs it.") from None
    logger.info(f"semantic_dim {dim} of {found.dim} keeps {variance:.1%} of the variance of the embeddings.")
    matrices = {side: read_npy(_path(found, side, dim), "c") for side in found.matrices}
    return Embeddings(found.folder, {**found.manifest, "variance_kept": variance}, found.tokens, matrices)


def _path(found: Embeddings, side: str, dim: int):
    return found.folder / f"{side}s.pca{dim}.npy"


def _source_digest(found: Embeddings) -> str:
    """Changes whenever the matrices are written anew."""
    digest = hashlib.sha256((found.folder / "manifest.json").read_bytes())
    for side in found.matrices:
        state = found.path(side).stat()
        digest.update(f"{side} {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()


def _cached_variance(found: Embeddings, dim: int, source: str) -> float | None:
    """Share of the variance that a cached projection of these very matrices keeps; None where there is none."""
    try:
        head = parse_json((found.folder / f"pca{dim}.json").read_bytes())
        if head["source"] != source:
            return None
        for side, matrix in found.matrices.items():
            shape = read_npy(_path(found, side, dim), "r").shape
            if shape != (len(matrix), dim) or head["files"][side] != file_digest(_path(found, side, dim)):
                return None
        return float(head["variance_kept"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(found: Embeddings, dim: int, source: str) -> float:
    mean, components, variance = fit(list(found.matrices.values()), dim)
    (found.folder / f"pca{dim}.json").unlink(missing_ok=True)
    for side, matrix in found.matrices.items():
        with replacing(_path(found, side, dim)) as temporary:
            blocks = ((block - mean) @ components for block in _float64_blocks([matrix]))
            write_matrix(temporary, matrix.dtype, (len(matrix), dim), blocks)
    files = {side: file_digest(_path(found, side, dim)) for side in found.matrices}
    head = {"source": source, "dim": dim, "variance_kept": variance, "files": files}
    write_json(found.folder / f"pca{dim}.json", head)
    return variance


def fit(matrices: list[np.ndarray], dim: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Principal components of the rows of all matrices together, in float64, read in blocks.

    Returns
    -------
    mean : float64 [d]
    components : float64 [d, dim]
        Orthonormal columns by falling variance; the entry of largest size in each is positive.
    variance : float
        Share of the variance that they keep.
    """
    count = sum(len(matrix) for matrix in matrices)
    width = matrices[0].shape[1]
    mean, covariance = np.zeros(width), np.zeros((width, width))
    for block in _float64_blocks(matrices):
        mean += block.sum(axis=0)
    mean /= count
    for block in _float64_blocks(matrices):
        block -= mean
        covariance += block.T @ block
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1][:, :dim]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(dim)])
    total = values.sum()
    return mean, vectors, float(values[:dim].sum() / total) if total else 1.0


def _float64_blocks(matrices: list[np.ndarray]):
    for matrix in matrices:
        for start in range(0, len(matrix), _BLOCK):
            yield matrix[start : start + _BLOCK].astype(np.float64)
