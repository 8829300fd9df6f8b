"""Semantic embeddings of a run: rows by RecBole's internal id, and a mask of who has a profile."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.paths import encoder_slug, semantic_root
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.data.store import ProfileStore, list_tags, tag_folder
from recbole_rlmrec.encoding.embeddings import (
    Embeddings,
    check_embeddings,
    check_unchanged,
    list_encoders,
    read_embeddings,
)
from recbole_rlmrec.errors import SemanticError, quoted
from recbole_rlmrec.semantic.leakage import QuoteReader, check_quotes
from recbole_rlmrec.semantic.origin import Origin, check_origin
from recbole_rlmrec.semantic.reduction import reduce
from recbole_rlmrec.semantic.sketch import check_sketch, sketch
from recbole_rlmrec.semantic.table import Semantic, SemanticTable, home_of

__all__ = ["Semantic", "SemanticTable", "check_embeddings", "load_semantic"]

logger = getLogger()


def load_semantic(config, train, report: bool = True) -> Semantic:
    """Load the semantic embeddings that a run asks for; the offline default is built where it asks for none.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``semantic_path``, ``semantic_tag``, ``semantic_encoder``, ``semantic_dim``, ``semantic_device``, ``leakage`` and
        ``device``.
    train : recbole.data.dataset.Dataset
        The training split. Where it has ``rlmrec_more``, tokens and vectors by side, these are used as if they were rows of
        the tag, and before those of the same token; where it has ``rlmrec_trained``, the split that it was extended from, leaks
        are looked for there; where it has ``rlmrec_known_sketch``, a model was trained with these vectors and needs them. It
        gets ``rlmrec_sketch``, what is to be known of them later.
    report : bool
        Whether the log says what was found.

    Raises
    ------
    SemanticError
        The tag or encoder does not exist or is not clear, or its files do not fit the run, its model or each other.
    LeakageError
        A profile quotes a held-out interaction.
    StoreError
        The profiles cannot be read.
    DataError
        The offline default is needed and the dataset has no text.
    ConfigError
        An option is out of range.
    """
    root, home = semantic_root(config), home_of(config)
    tag = _resolve_tag(config, train, root)
    store = ProfileStore(root / tag)
    manifest = store.manifest
    if manifest.get("dataset") != config["dataset"]:
        raise SemanticError(
            f"{store.folder} holds profiles of dataset {manifest.get('dataset')!r}, not of {config['dataset']!r}; "
            f"choose another semantic_tag, or make or import profiles of this dataset."
        )
    found = read_embeddings(encoder_folder(config, store.folder), config["dataset"])
    origin = check_profiles(store, found, getattr(train, "rlmrec_trained", train), config["leakage"], report)
    if config["semantic_dim"] not in (None, ""):
        found = reduce(found, config["semantic_dim"])
    tables = {side: _table(found, side, train, config["device"], home) for side in SIDES}
    provenance = {
        "tag": tag,
        "encoder": found.manifest.get("encoder"),
        "revision": found.manifest.get("revision"),
        **{name: found.manifest[name] for name in ("precision", "backend") if found.manifest.get(name)},
        "by": manifest.get("by"),
        "made": manifest.get("made"),
        **origin,
        "dim": found.dim,
        "coverage": {f"{side}s": [tables[side].count, tables[side].n - 1] for side in SIDES},
    }
    if not any(table.count for table in tables.values()):
        raise SemanticError(
            f"No profile of tag {tag!r} belongs to a user or an item of this run; "
            f"are they really of dataset {config['dataset']!r}?"
        )
    if report:
        _report(provenance)
    semantic = Semantic(tables["user"], tables["item"], tag, provenance["encoder"], provenance)
    if known := getattr(train, "rlmrec_known_sketch", None):
        check_sketch(known, semantic)
    train.rlmrec_sketch = sketch(semantic)
    return semantic


def check_profiles(store: ProfileStore, found: Embeddings | None, train, mode: str | None, report: bool = True) -> dict:
    """Let a run use a tag, or stop it: its profiles are those that were encoded, and quote nothing that the run holds out.

    Profiles that do not record what they quote count as made from all of the training split that the tag names.

    Parameters
    ----------
    store : ProfileStore
    found : Embeddings or None
        None where the texts themselves are read.
    train : recbole.data.dataset.Dataset
        The training split.
    mode : str or None
        The option ``leakage``.
    report : bool
        Whether the log says what is not known.

    Returns
    -------
    dict
        For the result file; see :func:`~recbole_rlmrec.semantic.origin.check_origin`.

    Raises
    ------
    SemanticError, LeakageError, ConfigError
        See :func:`load_semantic`.
    """
    readers = {side: QuoteReader(train) for side in SIDES}
    scans = {side: store.scan(side, readers[side].note) for side in SIDES}
    if found is not None:
        check_unchanged(found, scans)
    users, items = (readers[side].quotes(scans[side].lines) for side in SIDES)
    quotes = users.plus(items)
    leaked = check_quotes(quotes, train, mode or "error", store.folder.name)
    unknown = any(scan.unknown for scan in scans.values())
    made_for = store.manifest.get("split_hash")
    same = made_for and made_for == split_hash(train)
    about = {"split_hash": made_for, "made_for_this_split": same}
    if unknown and (report or (made_for and not same)):
        origin = Origin(f"The profiles of tag {store.folder.name!r}", made_for)
        remedy = f"make profiles for this split (recbole-rlmrec profile --dataset {quoted(train.dataset_name)} --tag NEW)"
        check_origin(origin, train, mode, remedy)
    return {**about, "provenance": "unknown" if unknown and not same else "recorded", "leaked_interactions": leaked}


def _resolve_tag(config, train, root: Path) -> str:
    wanted = config["semantic_tag"]
    if wanted in (None, ""):
        from recbole_rlmrec.semantic.default import ensure_offline_default

        tag = ensure_offline_default(config, train)
        if others := [name for name in list_tags(root) if not name.startswith("template-lsa-")]:
            logger.info(f"No semantic_tag given, so the offline default is used; there are also: {', '.join(others)}.")
        return tag
    return tag_folder(root, str(wanted), config["dataset"]).name


def encoder_folder(config, folder: Path) -> Path:
    """Folder of the embeddings that the run asks for, or of the only ones that there are.

    Raises
    ------
    SemanticError
        There are none, not those, or several and none is named.
    """
    wanted, there = config["semantic_encoder"], list_encoders(folder)
    command = f"`recbole-rlmrec encode --dataset {quoted(config['dataset'])} --tag {folder.name} --encoder ENCODER`"
    if not there:
        raise SemanticError(f"The profiles of tag {folder.name!r} have not been encoded yet; run {command}.")
    if wanted in (None, ""):
        if len(there) > 1:
            raise SemanticError(
                f"The profiles of tag {folder.name!r} have been encoded by several encoders; "
                f"set semantic_encoder to one of: {', '.join(there)}."
            )
        return folder / "embeddings" / there[0]
    slug = encoder_slug(str(wanted), folder / "embeddings")
    if slug not in there:
        raise SemanticError(
            f"The profiles of tag {folder.name!r} have not been encoded by {wanted!r}, only by: {', '.join(there)}; "
            f"set semantic_encoder to one of these, or run {command}."
        )
    return folder / "embeddings" / slug


def _table(found: Embeddings, side: str, train, device, home: str | None) -> SemanticTable:
    matrix, tokens = found.matrices.get(side), found.tokens.get(side, [])
    if side in (more := getattr(train, "rlmrec_more", {})):
        further, vectors = more[side]
        vectors = vectors if matrix is None else vectors.astype(matrix.dtype)
        matrix = vectors if matrix is None else np.concatenate([matrix, vectors])
        tokens = [*tokens, *further]
    if matrix is None:
        matrix = np.zeros((0, found.dim), dtype=np.float32)
    return SemanticTable.of_tokens(matrix, tokens, side, train, device, home)


def _report(provenance: dict) -> None:
    counts = {side: f"{covered} of {total}" for side, (covered, total) in provenance["coverage"].items()}
    logger.info(
        f"profiles: {counts['users']} users, {counts['items']} items "
        f"(tag {provenance['tag']}, by {provenance['by']}; encoder {provenance['encoder']}, {provenance['dim']} dimensions)"
    )
