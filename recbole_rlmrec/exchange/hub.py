"""Tags and models to and from the Hugging Face hub: with a card on the way out, checked as archives are on the way in."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.errors import CheckpointError, ConfigError, StoreError, refused
from recbole_rlmrec.exchange.archive import SUFFIXES, export_archive, import_archive
from recbole_rlmrec.exchange.card import model_card, tag_card

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(datasets/)?((?!datasets/)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_KINDS = {"dataset": "profiles go to and come from hf://datasets/OWNER/NAME", "model": "models go to hf://OWNER/NAME"}


@dataclass(frozen=True)
class Address:
    """A repository of the hub.

    Attributes
    ----------
    kind : str
        ``dataset`` or ``model``.
    name : str
        ``OWNER/NAME``.
    revision : str or None
        Branch, tag or commit.
    """

    kind: str
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return (
            f"{SCHEME}{'datasets/' if self.kind == 'dataset' else ''}{self.name}{f'@{self.revision}' if self.revision else ''}"
        )


def parse_address(text: str, kind: str | None = None) -> Address:
    """The repository that ``hf://[datasets/]OWNER/NAME[@REVISION]`` names.

    Raises
    ------
    ConfigError
        It is no such address, or of another ``kind``.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{text!r} is no address of the hub; write hf://datasets/OWNER/NAME for profiles, hf://OWNER/NAME for a model."
        )
    address = Address("dataset" if found[1] else "model", found[2], found[3])
    if kind is not None and address.kind != kind:
        raise ConfigError(f"{text} is a repository of {address.kind}s; {_KINDS[kind]}.")
    return address


def tag_files(folder: Path, work: Path) -> dict[str, Path]:
    """A tag as what is uploaded: its archive and its card, written into ``work``, by name."""
    archive = export_archive(folder, work / f"{folder.name}{SUFFIXES[0]}")
    return {archive.name: archive, "README.md": _written(work, tag_card(folder))}


def model_files(checkpoint: Path, work: Path) -> dict[str, Path]:
    """A trained model as what is uploaded: its checkpoint and its card, by name.

    Raises
    ------
    CheckpointError
        It is none.
    """
    return {checkpoint.name: checkpoint, "README.md": _written(work, model_card(checkpoint))}


def _written(work: Path, card: str) -> Path:
    path = work / "README.md"
    path.write_text(card, encoding="utf-8")
    return path


def share(address: Address, files: Mapping[str, Path], public: bool = False) -> str:
    """Upload files in one commit; a repository that is not there is made, private unless ``public``.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    StoreError
        The hub cannot be reached or refuses.
    """
    with _understood(address) as hub:
        api = hub.HfApi()
        api.create_repo(address.name, repo_type=address.kind, private=not public, exist_ok=True)
        changes = [hub.CommitOperationAdd(name, str(path)) for name, path in files.items()]
        said = f"Add {', '.join(files)}"
        where = {"repo_type": address.kind, "revision": address.revision}
        return str(api.create_commit(address.name, changes, commit_message=said, **where).commit_url)


def fetch_tag(address: Address, root: Path, dataset: str, tag: str | None = None) -> Path:
    """Take a tag that was shared into a data set; see :func:`~recbole_rlmrec.exchange.archive.import_archive`.

    Raises
    ------
    StoreError
        The hub cannot be reached or refuses, the repository does not hold one archive, or the archive cannot be used.
    """
    with _fetched(address, SUFFIXES) as path:
        return import_archive(path, root, dataset, tag)


def fetch_model(address: Address, folder: Path, dataset: str) -> Path:
    """Take a model that was shared into a folder, once it has been read without running anything in it.

    Raises
    ------
    StoreError
        The hub cannot be reached or refuses, the repository does not hold one model, or there is a file of its name.
    CheckpointError
        The file is no checkpoint, or of a model of another data set.
    """
    from recbole_rlmrec.plugin.checkpoint import load_checkpoint

    with _fetched(address, (".pth",)) as path:
        found = load_checkpoint(path, map_location="cpu")
        config = found.get("config") if isinstance(found, dict) else None
        if config is None or "state_dict" not in found:
            raise CheckpointError(f"{address} holds {path.name}, which is no model of RecBole; nothing was taken.")
        if config["dataset"] != dataset:
            raise CheckpointError(f"{address} holds a model of {config['dataset']!r}, not of {dataset!r}; nothing was taken.")
        target = folder / path.name
        if target.exists():
            raise StoreError(f"{target} exists already; move it away first.")
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
        return target


@contextmanager
def _fetched(address: Address, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The one file of a repository that ends so, downloaded for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="recbole-rlmrec-") as folder:
        with _understood(address) as hub:
            where = {"repo_type": address.kind, "revision": address.revision}
            api = hub.HfApi()
            names = [name for name in api.list_repo_files(address.name, **where) if name.endswith(suffixes)]
            if len(names) != 1:
                there = ", ".join(names[:5]) or "none"
                raise StoreError(f"{address} should hold one {' or '.join(suffixes)} file; it holds {there}.")
            path = Path(api.hf_hub_download(address.name, names[0], local_dir=folder, **where))
        yield path


@contextmanager
def _understood(address: Address):
    """huggingface_hub, whose errors are sentences: no token, address of the web or trace in them."""
    try:
        import huggingface_hub as hub
    except ImportError:
        raise ConfigError("hf:// needs huggingface_hub: pip install huggingface_hub.") from None
    from huggingface_hub import errors

    try:
        yield hub
    except StoreError:
        raise
    except errors.OfflineModeIsEnabled:
        raise StoreError(f"{address} cannot be reached: HF_HUB_OFFLINE is set; unset it.") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.GatedRepoError):
        raise StoreError(
            f"{address} is not there or not for you; check its name, and set HF_TOKEN (or `hf auth login`) where it is private."
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        remedy = "set HF_TOKEN to a token that may write" if status in (401, 403) else "try again later"
        raise StoreError(f"The hub refused {address} (HTTP {status}); {remedy}.") from None
    except Exception as error:
        if refused(error):
            raise
        endpoint = os.environ.get("HF_ENDPOINT")
        through = f" through HF_ENDPOINT={endpoint}" if endpoint else ""
        raise StoreError(f"{address} cannot be reached{through} ({type(error).__name__}); check the network.") from None
