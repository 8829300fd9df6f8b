"""A tag as one file to share: a tar.gz of its profiles, manifest and embeddings, checked on the way in."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.data.store import ProfileStore, check_tag
from recbole_rlmrec.encoding.embeddings import check_embeddings, list_encoders
from recbole_rlmrec.errors import SemanticError, StoreError, refused

_SLUG = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_NAMES = re.compile(
    rf"manifest\.json|(users|items)\.jsonl|embeddings/{_SLUG}/(manifest\.json|(users|items)\.(npy|tokens\.json))"
)
SUFFIXES = (".tar.gz", ".tgz")
MOST_FILES = 1000
MOST_GROWTH = 200
_CHUNK = 1 << 20


def export_archive(folder: Path, file: Path) -> Path:
    """Write a tag into one archive; the same tag gives the same bytes.

    Parameters
    ----------
    folder : Path
        The tag's folder. Failures, open batches, unfinished embeddings and whatever else is in it are left out.
    file : Path
        ``NAME.tar.gz``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        The tag cannot be read, or the name does not end in .tar.gz.
    SemanticError
        Embeddings do not fit the profiles, so that whoever gets the archive could not import it.
    """
    if not file.name.endswith(SUFFIXES):
        raise StoreError(f"{file} should end in .tar.gz.")
    store = ProfileStore(folder)
    with store.locked():
        _check_profiles(store)
        finished = [path.parent for path in folder.glob("embeddings/[!.]*/manifest.json")]
        for encoder in finished:
            check_embeddings(folder, encoder)
        files = [path for parent in (folder, *finished) for path in parent.iterdir() if path.is_file()]
        names = sorted(path.relative_to(folder).as_posix() for path in files)
        with replacing(file) as temporary, open(temporary, "wb") as raw:
            with (
                gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for name in filter(_NAMES.fullmatch, names):
                    _add(archive, folder / name, name)
    return file


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = path.stat().st_size, 0o644
    with open(path, "rb") as stream:
        archive.addfile(info, stream)


def import_archive(file: Path | str, root: Path | str, dataset: str, tag: str | None = None) -> Path:
    """Take a tag out of an archive that someone else made.

    Only regular files of the names that a tag has are read, into a temporary folder; the tag appears when everything in it
    has been checked.

    Parameters
    ----------
    file : Path
        The archive.
    root : Path
        The dataset's ``semantic`` folder.
    dataset : str
        Whose profiles they must be.
    tag : str, optional
        Name to give; by default the one that they had.

    Returns
    -------
    Path
        The tag's folder.

    Raises
    ------
    StoreError
        The archive is damaged, holds anything unexpected, is of another dataset, or its embeddings do not fit its profiles;
        or the tag exists already.
    ConfigError
        The tag is no usable name.
    """
    file, root = Path(file), Path(root)
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".import-", dir=root))
    try:
        _unpack(file, temporary)
        manifest = _checked(file, temporary)
        if manifest.get("dataset") != dataset:
            raise StoreError(f"{file} holds profiles of {manifest.get('dataset')!r}, not of {dataset!r}.")
        target = root / check_tag(tag or str(manifest.get("tag")))
        if target.exists():
            raise StoreError(f"{target} exists already; choose another --tag.")
        ProfileStore(temporary).write_manifest({**manifest, "tag": target.name, "archive": file.name})
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _checked(file: Path, folder: Path) -> dict:
    """Read everything that was unpacked; returns the manifest."""
    try:
        store = ProfileStore(folder)
        manifest = store.manifest
        _check_profiles(store)
        for encoder in list_encoders(folder):
            check_embeddings(folder, folder / "embeddings" / encoder)
    except (StoreError, SemanticError) as error:
        said = str(error).partition(";")[0].replace(f"{folder}/", "").replace(str(folder), "it").rstrip(".")
        raise StoreError(f"{file} cannot be used: {said}.") from None
    return manifest


def _unpack(file: Path, folder: Path) -> None:
    try:
        allowed = MOST_GROWTH * file.stat().st_size + _CHUNK
        with tarfile.open(file, "r:gz") as archive:
            for number, member in enumerate(archive):
                if not member.isreg() or not _NAMES.fullmatch(member.name):
                    raise StoreError(f"{file} holds {member.name[:200]!r}, which no tag has; nothing of it was taken.")
                target = folder / member.name
                allowed -= member.size
                if target.exists() or allowed < 0 or number >= MOST_FILES:
                    raise StoreError(f"{file} holds a file twice or is far too large; nothing of it was taken.")
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "xb") as out:
                    shutil.copyfileobj(archive.extractfile(member), out, _CHUNK)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        if refused(error):
            raise
        raise StoreError(f"{file} is not a whole tar.gz archive ({' '.join(str(error).split())}).") from None


def _check_profiles(store: ProfileStore) -> None:
    """Read every line once."""
    if not sum(1 for side in SIDES for _ in store.iter(side)):
        raise StoreError(f"{store.folder} holds no profiles.")
