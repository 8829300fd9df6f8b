"""Profiles put together from templates: no language model, no network, the same text every time.

What the texts say is in :mod:`recbole_rlmrec.profiling.sentences`.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from logging import getLogger
from pathlib import Path

from recbole_rlmrec.data.columns import Columns
from recbole_rlmrec.data.corpus import Corpus, split_hash
from recbole_rlmrec.data.files import hash_file
from recbole_rlmrec.data.store import Profile, ProfileStore, now
from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.paths import semantic_root
from recbole_rlmrec.profiling.sentences import ItemTexts, UserTexts

logger = getLogger()


def build_template_profiles(corpus: Corpus, columns: Columns | None = None) -> tuple[list[Profile], list[Profile]]:
    """Make profiles of a corpus from templates.

    Parameters
    ----------
    corpus : Corpus
        The run's text and training interactions.
    columns : Columns, optional
        Roles of the columns; guessed where left out.

    Returns
    -------
    items, users : list of Profile
        By internal id; those about whom there is nothing to say are left out. ``pairs`` holds every interaction that a
        text was made from, counts included.

    Raises
    ------
    DataError
        The dataset has no text at all.
    """
    columns = columns or corpus.columns()
    corpus.require_text(columns)
    items = ItemTexts(corpus, columns)
    users = UserTexts(corpus, columns, items)
    return _profiles(items), _profiles(users)


def _profiles(texts: ItemTexts | UserTexts) -> list[Profile]:
    return [Profile(token, text, pairs=pairs) for token, text, pairs in texts.profiles() if text]


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
