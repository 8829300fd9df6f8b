"""Exported embeddings that come back into a run as RecBole's additional features: checked like everything that is learnt."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

from recbole_rlmrec.data.files import file_digest, read_json, write_json
from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.semantic.origin import Origin, check_origin, read_prints, write_prints

logger = getLogger()

_AGAIN = "export the embeddings again (recbole-rlmrec export)"


def note_export(folder: Path, dataset: str, suffixes: list[str], origin: Origin, about: dict) -> None:
    """Write beside exported files where they come from: ``DATASET.preload.json``, and ``.npy`` with what they have seen.

    Parameters
    ----------
    folder : Path
    dataset : str
    suffixes : list of str
        Of the exported files.
    origin : Origin
    about : dict
        What else is known.
    """
    prints = folder / f"{dataset}.preload.npy"
    seen = None if origin.prints is None else write_prints(prints, origin.prints)
    if seen is None:
        prints.unlink(missing_ok=True)
    files = {suffix: file_digest(folder / f"{dataset}.{suffix}") for suffix in suffixes}
    write_json(_note(folder, dataset), {"format": 1, **about, "split_hash": origin.split_hash, "pairs": seen, "files": files})


def _note(folder: Path, dataset: str) -> Path:
    return folder / f"{dataset}.preload.json"


def check_preloaded(config, train) -> dict | None:
    """Let a run load embeddings from atomic files, or stop it.

    Parameters
    ----------
    config : recbole.config.Config
        Reads ``additional_feat_suffix``, ``preload_weight`` and ``leakage``.
    train : recbole.data.dataset.Dataset
        The training split.

    Returns
    -------
    dict or None
        Where they come from; None where the run loads none.

    Raises
    ------
    LeakageError
        They come from interactions that the run holds out.
    SemanticError
        They are not the files that were exported.
    """
    suffixes = config["additional_feat_suffix"] or []
    if not suffixes or not config["preload_weight"]:
        return None
    folder, name = Path(config["data_path"]), config["dataset"]
    note = _note(folder, name)
    about = read_json(note, SemanticError, _AGAIN) if note.is_file() else {}
    written = about.get("files") or {}
    for suffix in (suffix for suffix in suffixes if suffix in written):
        if file_digest(folder / f"{name}.{suffix}") != written[suffix]:
            raise SemanticError(f"{folder / f'{name}.{suffix}'} is not the file that was exported; {_AGAIN}.")
    if unknown := [suffix for suffix in suffixes if suffix not in written]:
        check_origin(Origin(f"The preloaded embeddings in {name}.{', .'.join(unknown)}"), train, config["leakage"], _AGAIN)
    if len(unknown) == len(suffixes):
        return {"provenance": "unknown"}
    seen = read_prints(folder / f"{name}.preload.npy", about["pairs"]) if about.get("pairs") else None
    origin = Origin(f"The preloaded embeddings of {name} (tag {about.get('tag')})", about.get("split_hash"), seen)
    found = check_origin(origin, train, config["leakage"], _AGAIN)
    return {"tag": about.get("tag"), "encoder": about.get("encoder"), **found, **({"provenance": "unknown"} if unknown else {})}
