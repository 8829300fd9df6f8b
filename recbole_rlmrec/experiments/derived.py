"""Profiles that differ from others in one respect, for ablations: written beside the results, never beside the originals."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import building, write_json
from recbole_rlmrec.data.profile import SIDES, Profile
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings, seal
from recbole_rlmrec.encoding.encode import encode_tag, same_encoder
from recbole_rlmrec.experiments.cells.data import Data
from recbole_rlmrec.experiments.cells.study import Profiles, find_profiles

logger = getLogger()

Change = Callable[[dict[str, np.ndarray], np.random.Generator], dict[str, np.ndarray]]


def _shuffled(matrices, rng):
    return {side: matrix[rng.permutation(len(matrix))] for side, matrix in matrices.items()}


def _random(matrices, rng):
    norm = np.mean([np.linalg.norm(matrix, axis=1).mean() for matrix in matrices.values()])
    drawn = {side: rng.standard_normal(matrix.shape) for side, matrix in matrices.items()}
    return {side: norm * matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for side, matrix in drawn.items()}


def _constant(matrices, rng):
    mean = np.concatenate(list(matrices.values())).mean(axis=0)
    return {side: np.tile(mean, (len(matrix), 1)) for side, matrix in matrices.items()}


def _users_only(matrices, rng):
    return {side: matrix for side, matrix in matrices.items() if side == "user"}


def _items_only(matrices, rng):
    return {side: matrix for side, matrix in matrices.items() if side == "item"}


CHANGES: dict[str, Change] = {
    "shuffled": _shuffled,
    "random": _random,
    "constant": _constant,
    "users only": _users_only,
    "items only": _items_only,
}
DRAWN = ("shuffled", "random")


def change_embeddings(profiles: Profiles, data: Data, kind: str, seed: int, root: Path, options: dict) -> Profiles:
    """Profiles whose embeddings are changed.

    Parameters
    ----------
    profiles : Profiles
        The originals.
    data : Data
    kind : str
        A key of ``CHANGES``: rows shuffled within users and within items, random directions of the same length, the mean
        of all rows for everyone, one side alone.
    seed : int
        Of what is drawn; the others are the same for every seed.
    root : Path
        Folder above the new dataset folder; what is there is used again.
    options : dict
        RecBole's options, for the check that a run makes.
    """
    suffix = f"{kind.replace(' ', '-')}-{seed}" if kind in DRAWN else kind.replace(" ", "-")
    tag = f"{profiles.tag}--{suffix}-{profiles.digest[:8]}"
    folder = root / data.name / "semantic" / tag
    if not folder.exists():
        found = read_embeddings(profiles.folder / "embeddings" / profiles.encoder, data.name)
        originals = {side: np.asarray(matrix, dtype=np.float32) for side, matrix in found.matrices.items()}
        matrices = CHANGES[kind](originals, np.random.default_rng(seed))
        with building(folder) as temporary:
            _copy_store(profiles, temporary, tag, kind, matrices)
            place = temporary / "embeddings" / profiles.encoder
            place.mkdir(parents=True)
            for side, matrix in matrices.items():
                np.save(place / f"{side}s.npy", np.ascontiguousarray(matrix, dtype=np.float32), allow_pickle=False)
                shutil.copyfile(found.folder / f"{side}s.tokens.json", place / f"{side}s.tokens.json")
            digests = {side: value for side, value in (found.manifest.get("digests") or {}).items() if side in matrices}
            changed = {"kind": kind, "seed": seed if kind in DRAWN else None, "of": profiles.digest, "rows": _digest(matrices)}
            counts = {f"{side}s": len(matrices.get(side, ())) for side in SIDES}
            about = {**found.manifest, **counts, "dtype": "float32", "digests": digests, "changed": changed}
            seal(place, about)
    return _found(data, options, tag, profiles.encoder, root)


def with_reasoning(profiles: Profiles, data: Data, root: Path, options: dict) -> Profiles | None:
    """Profiles whose text is followed by the model's reasoning, encoded anew by the same encoder.

    None where no reasoning is stored, or the encoder cannot be asked again (see `same_encoder`), which the log says.
    """
    store = ProfileStore(profiles.folder)
    sides = {side: store.read(side) for side in SIDES}
    if not any(profile.reasoning.strip() for side in SIDES for profile in sides[side].values()):
        return None
    read = hashlib.sha256(json.dumps([[_joined(one).profile for one in sides[side].values()] for side in SIDES]).encode())
    tag = f"{profiles.tag}--reasoning-{profiles.digest[:8]}-{read.hexdigest()[:8]}"
    folder = root / data.name / "semantic" / tag
    if not folder.exists():
        manifest = read_embeddings(profiles.folder / "embeddings" / profiles.encoder, data.name).manifest
        encoder = same_encoder(manifest)
        if encoder is None:
            logger.warning(
                f"The row with reasoning is left out: {manifest.get('encoder')} is behind a server or its embeddings were "
                "imported, and nothing is encoded elsewhere without being asked."
            )
            return None
        with building(folder) as temporary:
            new = ProfileStore(temporary)
            for side in SIDES:
                new.write(side, map(_joined, sides[side].values()))
            new.write_manifest({**store.manifest, "tag": tag, "how": {"changed": "reasoning added", "of": profiles.tag}})
            encode_tag(temporary, manifest["encoder"], encoder=encoder, dtype=manifest["dtype"], show_progress=False)
    return _found(data, options, tag, profiles.encoder, root)


def _joined(profile: Profile) -> Profile:
    return replace(profile, profile=f"{profile.profile}\n{profile.reasoning}".strip(), extra={})


def _copy_store(profiles: Profiles, target: Path, tag: str, kind: str, sides) -> None:
    store = ProfileStore(profiles.folder)
    manifest = parse_json((profiles.folder / "manifest.json").read_bytes())
    for side in sides:
        if store.path(side).is_file():
            shutil.copyfile(store.path(side), target / store.path(side).name)
    write_json(target / "manifest.json", {**manifest, "tag": tag, "how": {"changed": kind, "of": profiles.tag}})


def _digest(matrices: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for side in sorted(matrices):
        digest.update(np.ascontiguousarray(matrices[side], dtype=np.float32).tobytes())
    return digest.hexdigest()[:16]


def _found(data: Data, options: dict, tag: str, encoder: str, root: Path) -> Profiles:
    wanted = {"semantic_tag": tag, "semantic_encoder": encoder, "gpu_id": ""}
    return find_profiles(data, {**options, **wanted}, root, report=False)
