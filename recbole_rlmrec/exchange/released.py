"""The data that the authors of RLMRec publish -> atomic files, profiles and embeddings.

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_rlmrec.data.atomic import PARTS
from recbole_rlmrec.data.files import building, write_json
from recbole_rlmrec.data.paths import encoder_slug
from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.data.store import ProfileStore, now
from recbole_rlmrec.encoding.embeddings import seal
from recbole_rlmrec.encoding.encode import FORMAT
from recbole_rlmrec.errors import ConfigError, DataError, quoted
from recbole_rlmrec.exchange.unpickle import read_pickle

TAG = "released"
ENCODER = "text-embedding-ada-002"
MATRICES = {"train": "trn_mat.pkl", "valid": "val_mat.pkl", "test": "tst_mat.pkl"}
PROFILES = {"user": "usr_prf.pkl", "item": "itm_prf.pkl"}
EMBEDDINGS = {"user": "usr_emb_np.pkl", "item": "itm_emb_np.pkl"}


@dataclass(frozen=True)
class Released:
    """What an import wrote; as text it is two sentences.

    Attributes
    ----------
    folder : Path
        The data set's folder.
    users, items : int
    interactions : dict of str to int
        By part: train, valid, test.
    dim : int
        Width of the embeddings.
    """

    folder: Path
    users: int
    items: int
    interactions: dict[str, int]
    dim: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {part}" for part, count in self.interactions.items())
        return (
            f"{self.users} users and {self.items} items ({counts}) with profiles and {self.dim}-dimensional embeddings "
            f"imported into {self.folder}. Run with --semantic_tag={TAG} and "
            f"--config_files={quoted(self.folder / self.folder.name)}.yaml."
        )


def import_released(folder: Path | str, data_root: Path | str, dataset: str) -> Released:
    """Take the authors' folder over as a data set with a benchmark split; it is there as a whole or not at all.

    Parameters
    ----------
    folder : Path
        Holds ``trn_mat.pkl``, ``val_mat.pkl`` and ``tst_mat.pkl`` (sparse matrices, users x items), ``usr_prf.pkl`` and
        ``itm_prf.pkl`` (profiles by row), ``usr_emb_np.pkl`` and ``itm_emb_np.pkl`` (arrays, a row each).
    data_root : Path
        Folder above the data set's.
    dataset : str
        Name of the data set to make. Its tokens are the rows and columns of the matrices.

    Returns
    -------
    Released

    Raises
    ------
    DataError
        A file is missing, is refused or does not fit the others, or the data set exists.
    ConfigError
        The name cannot be that of a data set.
    """
    folder, target = Path(folder), Path(data_root) / dataset
    if not dataset or Path(dataset).name != dataset or dataset.startswith("."):
        raise ConfigError(f"{dataset!r} cannot be the name of a data set; choose another one, for example amazon.")
    if target.exists():
        raise DataError(f"{target} exists; remove it or choose another --dataset.")
    wanted = [*MATRICES.values(), *PROFILES.values(), *EMBEDDINGS.values()]
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; give the folder of one of the authors' data sets.")
    matrices = _read_matrices(folder)
    sizes = dict(zip(PROFILES, matrices["train"].shape))
    profiles = {side: _read_profiles(folder / name, sizes[side]) for side, name in PROFILES.items()}
    embeddings = {side: _read_embeddings(folder / name, sizes[side]) for side, name in EMBEDDINGS.items()}
    widths = {side: matrix.shape[1] for side, matrix in embeddings.items()}
    if widths["user"] != widths["item"]:
        raise DataError(
            f"{folder / EMBEDDINGS['user']} has rows of {widths['user']} numbers, {EMBEDDINGS['item']} of "
            f"{widths['item']}; both must come from one encoder."
        )
    with building(target) as building_site:
        _write_interactions(building_site, dataset, matrices)
        _write_semantic(building_site / "semantic" / TAG, dataset, folder, profiles, embeddings)
    counts = {part: matrix.nnz for part, matrix in matrices.items()}
    return Released(target, sizes["user"], sizes["item"], counts, widths["user"])


def _read_matrices(folder: Path) -> dict[str, sp.csr_matrix]:
    """The interactions of each part, [users, items], in order of user and item."""
    matrices = {part: _read_matrix(folder / name) for part, name in MATRICES.items()}
    shapes = {part: matrix.shape for part, matrix in matrices.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{MATRICES[part]} {rows} x {columns}" for part, (rows, columns) in shapes.items())
        raise DataError(f"The matrices in {folder} are of different data sets, users x items differ: {found}.")
    return matrices


def _read_matrix(path: Path) -> sp.csr_matrix:
    matrix = read_pickle(path)
    if not sp.issparse(matrix):
        raise DataError(f"{path} holds a {type(matrix).__name__}, not a sparse matrix of users x items.")
    try:
        matrix = sp.csr_matrix(matrix != 0)
        matrix.sort_indices()
    except (MemoryError, ValueError):
        size = " x ".join(map(str, matrix.shape))
        raise DataError(f"{path} holds a matrix of {size}, which does not fit into memory; fetch it again.") from None
    if not matrix.nnz:
        raise DataError(f"{path} holds no interaction.")
    return matrix


def _read_profiles(path: Path, count: int) -> list[Profile]:
    found = read_pickle(path)
    if isinstance(found, (list, tuple)):
        found = dict(enumerate(found))
    if not isinstance(found, dict) or set(found) != set(range(count)):
        raise DataError(f"{path} does not hold one profile for each of the {count} rows of the matrices.")
    return [_profile(path, row, found[row]) for row in range(count)]


def _profile(path: Path, row: int, entry) -> Profile:
    entry = entry if isinstance(entry, dict) else {"profile": entry}
    text, reasoning = entry.get("profile"), entry.get("reasoning")
    if not isinstance(text, str) or not isinstance(reasoning, str | None):
        raise DataError(f"{path}, entry {row}: there is no text under 'profile', or 'reasoning' is no text.")
    return Profile(str(row), text, reasoning or "")


def _read_embeddings(path: Path, count: int) -> np.ndarray:
    """float32 [count, d]."""
    matrix = read_pickle(path)
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise DataError(f"{path} does not hold a two-dimensional array of floats.")
    if len(matrix) != count:
        raise DataError(f"{path} has {len(matrix)} rows, the matrices have {count}; they are of different data sets.")
    matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    if not matrix.shape[1] or not np.isfinite(matrix).all():
        raise DataError(f"{path} holds no numbers, or numbers that are not finite; fetch it again.")
    return matrix


def _write_interactions(folder: Path, dataset: str, matrices: dict[str, sp.csr_matrix]) -> None:
    for part, matrix in matrices.items():
        users, items = matrix.nonzero()
        table = pd.DataFrame({"user_id:token": users, "item_id:token": items})
        table.to_csv(folder / f"{dataset}.{part}.inter", sep="\t", index=False, lineterminator="\n")
    (folder / f"{dataset}.yaml").write_text(f"benchmark_filename: [{', '.join(PARTS)}]\n", encoding="utf-8")


def _write_semantic(
    folder: Path, dataset: str, source: Path, profiles: dict[str, list[Profile]], embeddings: dict[str, np.ndarray]
) -> None:
    store = ProfileStore(folder)
    counts = {f"{side}s": len(found) for side, found in profiles.items()}
    for side, found in profiles.items():
        store.write(side, found)
    origin = {"dataset": dataset, "tag": TAG, "made": now()}
    how = {"folder": source.resolve().name, "files": [*PROFILES.values(), *EMBEDDINGS.values()]}
    by = f"import {source.resolve().name}"
    store.write_manifest({**origin, "by": by, "how": how, "split_hash": None, **counts, "provenance": "unknown"})
    target = folder / "embeddings" / encoder_slug(ENCODER)
    target.mkdir(parents=True)
    for side, matrix in embeddings.items():
        np.save(target / f"{side}s.npy", matrix, allow_pickle=False)
        write_json(target / f"{side}s.tokens.json", {"tokens": [profile.token for profile in profiles[side]]})
    digests = {side: store.digest(side) for side in profiles}
    about = {"encoder": ENCODER, "dim": embeddings["user"].shape[1], "dtype": "float32", "digests": digests}
    seal(target, {"format": FORMAT, **origin, **about, **counts})
