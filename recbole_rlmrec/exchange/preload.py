"""Semantic embeddings as RecBole's atomic files, for models that load their embeddings from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from recbole_rlmrec.data.atomic import field_text
from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.data.pairs import pair_prints, token_prints
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.semantic.load import check_profiles
from recbole_rlmrec.semantic.origin import Origin
from recbole_rlmrec.semantic.preloaded import note_export

_BLOCK = 4096


@dataclass(frozen=True)
class _Fields:
    """Names of one side's file and columns."""

    suffix: str
    token: str
    vector: str
    alias: str


def export_embeddings(config, data, train, embeddings: Path, output: Path | None = None) -> Path:
    """Write embeddings as RecBole's atomic files, for ``dataset.get_preload_weight``.

    Parameters
    ----------
    config : recbole.config.Config
        Of the run that will use them.
    data : recbole.data.dataset.Dataset
        Its filtered data: ids that it does not have are left out, because RecBole would make users and items of them.
    train : recbole.data.dataset.Dataset
        Its training split, which knows the held-out ones.
    embeddings : Path
        ``.../TAG/embeddings/ENCODER``.
    output : Path, optional
        Folder; by default that of the atomic files, where RecBole looks.

    Returns
    -------
    Path
        ``NAME.preload.yaml``: the options with which RecBole loads the files. ``NAME.preload.json`` says where they come
        from, for the check of a run that loads them.

    Raises
    ------
    LeakageError
        The profiles quote interactions that the run holds out.
    ConfigError
        The atomic files are inside the RecBole package and no folder was given.
    SemanticError, StoreError
        The embeddings cannot be read, or the profiles have changed since.
    """
    name, folder = config["dataset"], _target(config, output)
    found = read_embeddings(embeddings, name)
    store = ProfileStore(embeddings.parents[1])
    made_from = check_profiles(store, found, train, config["leakage"])
    fields = {side: _fields(data, side) for side in found.matrices}
    for side, field in fields.items():
        tokens = data.field2id_token[data.uid_field if side == "user" else data.iid_field][1:]
        rows = pd.Index(found.tokens[side]).get_indexer([str(token) for token in tokens])
        with replacing(folder / f"{name}.{field.suffix}") as temporary:
            _write(temporary, field, config["field_separator"], config["seq_separator"], tokens, rows, found.matrices[side])
    about = {"dataset": name, "tag": store.folder.name, "encoder": found.manifest.get("encoder"), **made_from}
    note_export(folder, name, [field.suffix for field in fields.values()], _origin(store, made_from["split_hash"]), about)
    settings = folder / f"{name}.preload.yaml"
    with replacing(settings) as temporary:
        temporary.write_text(yaml.safe_dump(_settings(config, fields), sort_keys=False), encoding="utf-8")
    return settings


def _origin(store: ProfileStore, split_hash: str | None) -> Origin:
    pairs, unknown = store.quoted_pairs()
    seen = None if unknown else pair_prints(token_prints(pairs["user"]), token_prints(pairs["item"]))
    return Origin(f"Profiles of {store.folder.name}", split_hash, seen)


def _target(config, output: Path | None) -> Path:
    import recbole

    folder = Path(config["data_path"]) if output is None else output
    if Path(recbole.__file__).resolve().parent in folder.resolve().parents:
        raise ConfigError(
            f"The files of {config['dataset']} are inside the RecBole package. Copy them to FOLDER/{config['dataset']}, give "
            "that as --output, and run RecBole with --data_path=FOLDER."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fields(data, side: str) -> _Fields:
    taken = data.uid_field, data.iid_field
    token = "uid" if side == "user" else "iid"
    token = f"emb_{token}" if token in taken else token
    return _Fields(f"{side}emb", token, f"{side}_emb", f"alias_of_{side}_id")


def _write(path: Path, field: _Fields, separator: str, between: str, tokens, rows: np.ndarray, matrix: np.ndarray) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(f"{field.token}:token{separator}{field.vector}:float_seq\n")
        has = np.flatnonzero(rows >= 0)
        for start in range(0, len(has), _BLOCK):
            block = has[start : start + _BLOCK]
            for position, vector in zip(block, matrix[rows[block]].astype(np.float32), strict=True):
                token = field_text(str(tokens[position]), separator)
                file.write(f"{token}{separator}{between.join(f'{value:.8g}' for value in vector)}\n")


def _settings(config, fields: dict[str, _Fields]) -> dict:
    """Options that load the files, together with what the run loads anyway."""
    load = config["load_col"]
    settings: dict = {"additional_feat_suffix": [field.suffix for field in fields.values()]}
    if load is not None:
        added = {field.suffix: [field.token, field.vector] for field in fields.values()}
        settings["load_col"] = {**{source: _plain(columns) for source, columns in load.items()}, **added}
    settings |= {field.alias: [field.token] for field in fields.values()}
    settings["preload_weight"] = {field.token: field.vector for field in fields.values()}
    return settings


def _plain(columns):
    return columns if isinstance(columns, str) or columns is None else [str(column) for column in columns]
