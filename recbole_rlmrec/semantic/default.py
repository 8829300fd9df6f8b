"""The offline default: profiles from templates, encoded with LSA, built by the first run that needs them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.files import hash_file
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore, now
from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.profiling.template import build_template_profiles, logger


def ensure_offline_default(config, train) -> str:
    """Make the offline default of a run's split unless it is there: template profiles and their LSA matrices.

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
    from filelock import FileLock

    digest = split_hash(train)
    root, tag = semantic_root(config), f"template-lsa-{digest[:8]}"
    try:
        if not _is_whole(root / tag):
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(str(root / f".{tag}.lock")):
                if not _is_whole(root / tag):
                    _build_default(config, train, root, tag)
    except OSError as reason:
        raise SemanticError(
            f"{root} cannot be written to ({reason.strerror}); set semantic_path to a folder of yours."
        ) from None
    _announce(config["dataset"], tag)
    made_from = (ProfileStore(root / tag).manifest.get("text") or {}).get(config["dataset"])
    if made_from not in (None, _text_digest(config)):
        logger.warning(
            f"The .item or .user file of {config['dataset']} has changed since the profiles {tag} were made from it; "
            f"delete {root / tag} to have them made anew."
        )
    return tag


def _text_digest(config) -> str:
    """SHA-256 over the files that hold the text of a dataset."""
    digest, stem = hashlib.sha256(), Path(config["data_path"]) / config["dataset"]
    for path in (stem.with_name(f"{stem.name}.{side}") for side in ("item", "user")):
        if path.is_file():
            hash_file(digest, path)
    return digest.hexdigest()


def _is_whole(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() and (folder / "embeddings" / "lsa" / "manifest.json").is_file()


def _build_default(config, train, root: Path, tag: str) -> None:
    from recbole_rlmrec.encoding.encode import encode_tag

    if ProfileStore(root / tag).exists:
        encode_tag(root / tag, "lsa", show_progress=False)
        return
    corpus = Corpus.from_config(config, train)
    columns = corpus.columns()
    items, users = build_template_profiles(corpus, columns)
    temporary = Path(tempfile.mkdtemp(prefix=f".{tag}-", dir=root))
    try:
        store = ProfileStore(temporary)
        store.write("item", items)
        store.write("user", users)
        store.write_manifest(
            {
                "dataset": config["dataset"],
                "tag": tag,
                "made": now(),
                "by": "template",
                "how": {"columns": vars(columns)},
                "split_hash": corpus.split_hash,
                "text": {config["dataset"]: _text_digest(config)},
                "users": len(users),
                "items": len(items),
                "provenance": "recorded",
            }
        )
        encode_tag(temporary, "lsa", show_progress=False)
        temporary.chmod(0o755)
        temporary.rename(root / tag)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info(f"{config['dataset']} had no profiles for this split: made {len(items)} of items, {len(users)} of users.")


def _announce(dataset: str, tag: str) -> None:
    logger.info(
        f"Profiles {tag}: put together from templates and encoded with LSA, no LLM wrote them. For profiles written by an "
        f"LLM: `recbole-rlmrec profile --dataset {dataset} --tag TAG --chat-model MODEL`, then `recbole-rlmrec encode "
        f"--dataset {dataset} --tag TAG --encoder MODEL`, then run with --semantic_tag=TAG."
    )
