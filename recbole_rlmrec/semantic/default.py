"""The offline default: profiles from templates, encoded with LSA, built by the first run that needs them."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.columns import left_out
from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.files import digest_source, hash_file
from recbole_rlmrec.data.memory import give_back
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore, now
from recbole_rlmrec.errors import SemanticError, quoted
from recbole_rlmrec.profiling.template import build_template_profiles, logger

_BLOCK = 1 << 14
_READ_BY = ("field_separator", "seq_separator", "encoding", "RATING_FIELD", "TIME_FIELD", "rm_dup_inter")


def offline_tag(train) -> str:
    """Tag of the offline default of a training split."""
    return _tag_of(split_hash(train))


def _tag_of(hashed: str) -> str:
    return f"template-lsa-{hashed[:8]}"


def ensure_offline_default(config, train) -> str:
    """Make the offline default of a run: template profiles of all its users and items, and their LSA matrices.

    What is there is used where it was made of the same split, users, items and text; else it is made anew.

    Parameters
    ----------
    config : recbole.config.Config
        The run's configuration.
    train : recbole.data.dataset.Dataset
        The training split.

    Returns
    -------
    str
        Its tag, ``template-lsa-`` and 8 digits of the split's hash.

    Raises
    ------
    DataError
        The dataset has no text.
    SemanticError
        The folder for semantic files cannot be written to.
    """

    hashed = split_hash(train)
    root, tag = semantic_root(config), _tag_of(hashed)
    made_of = _made_of(config, train, hashed)
    give_back()
    try:
        if not _is_whole(root / tag, made_of):
            root.mkdir(parents=True, exist_ok=True)
            with _held(root / f".{tag}.lock", tag):
                if not _is_whole(root / tag, made_of):
                    _build_default(config, train, root, tag, made_of)
    except OSError as reason:
        raise SemanticError(
            f"{root} cannot be written to ({reason.strerror}); set semantic_path to a folder of yours."
        ) from None
    _announce(config["dataset"], tag)
    return tag


@contextmanager
def _held(path: Path, tag: str) -> Iterator[None]:
    """Hold a lock, and say so where another process has it first."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info(f"Another process makes the profiles {tag}; this one waits for them.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _made_of(config, train, hashed: str) -> str:
    """SHA-256 over everything that the profiles depend on: the split, who is in the run, the files with their text, and the
    code that makes profiles of it: an older one may have quoted columns that know what is held out."""
    digest = hashlib.sha256(hashed.encode())
    for field in (train.uid_field, train.iid_field):
        tokens = np.sort(train.field2id_token[field][1:].astype(str, copy=False))
        digest.update(f"[{json.dumps(field)}, [".encode())  # a list: the field, the tokens, the options
        for start in range(0, len(tokens), _BLOCK):
            block = json.dumps(tokens[start : start + _BLOCK].tolist())[1:-1]
            digest.update(f"{', ' * (start > 0)}{block}".encode())
        digest.update(f"], {json.dumps([config[option] for option in _READ_BY])[1:]}".encode())
    stem, parts = Path(config["data_path"]) / config["dataset"], config["benchmark_filename"]
    for suffix in ("item", "user", f"{parts[0]}.inter" if parts else "inter"):
        path = stem.with_name(f"{stem.name}.{suffix}")
        digest.update(suffix.split(".")[-1].encode() + b"\0")
        if path.is_file():
            hash_file(digest, path)
    digest.update(_made_by().encode())
    return digest.hexdigest()


@functools.cache
def _made_by() -> str:
    """Digest of the files of this package that read a data set's text, put profiles together and encode them."""
    return digest_source({name: Path(__file__).parents[1] / name for name in ("data", "profiling", "encoding")})


def _is_whole(folder: Path, made_of: str) -> bool:
    """Whether a default is there, finished, and made of the same."""
    encoded = (folder / "embeddings" / "lsa" / "manifest.json").is_file()
    return encoded and (folder / "manifest.json").is_file() and ProfileStore(folder).manifest.get("made_of") == made_of


def _build_default(config, train, root: Path, tag: str, made_of: str) -> None:
    from recbole_rlmrec.encoding.encode import encode_tag

    before = ProfileStore(root / tag)
    known = before.exists
    if known and before.manifest.get("made_of") == made_of:
        encode_tag(root / tag, "lsa", show_progress=False)
        return
    temporary = Path(tempfile.mkdtemp(prefix=f".{tag}-", dir=root))
    try:
        store = ProfileStore(temporary / "new")
        aggregates = _write_profiles(store, Corpus.from_config(config, train), {"tag": tag, "made_of": made_of})
        manifest = store.manifest
        give_back()
        encode_tag(store.folder, "lsa", show_progress=False)
        if (root / tag).exists():
            (root / tag).rename(temporary / "old")
        store.folder.rename(root / tag)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    why = "has other users, items or texts than its profiles" if known else "had no profiles for this split"
    logger.info(f"{config['dataset']} {why}: made {manifest['items']} of items, {manifest['users']} of users.")
    if aggregates:
        logger.info(f"{left_out(aggregates)[0].upper()}{left_out(aggregates)[1:]}.")


def _write_profiles(store: ProfileStore, corpus: Corpus, about: dict) -> list[str]:
    """Write template profiles and their manifest; returns the columns that were left out because they count interactions."""
    columns = corpus.columns()
    items, users = build_template_profiles(corpus, columns)
    counts = {"users": store.write("user", users), "items": store.write("item", items)}
    store.write_manifest(
        {
            "dataset": corpus.dataset,
            **about,
            "made": now(),
            "by": "template",
            "how": {"columns": vars(columns)},
            "split_hash": corpus.split_hash,
            **counts,
            "provenance": "recorded",
        }
    )
    return columns.aggregates


def _announce(dataset: str, tag: str) -> None:
    logger.info(
        f"Profiles {tag}: put together from templates and encoded with LSA, no LLM wrote them. For profiles written by an "
        f"LLM: `recbole-rlmrec profile --dataset {quoted(dataset)} --tag TAG --chat-model MODEL`, then `recbole-rlmrec encode "
        f"--dataset {quoted(dataset)} --tag TAG --encoder MODEL`, then run with --semantic_tag=TAG."
    )
