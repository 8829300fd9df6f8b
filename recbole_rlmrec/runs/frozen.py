"""Freeze a split: RecBole's filters and split applied once, written as benchmark files under a name of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_rlmrec.data.atomic import PARTS, digest_files, read_atomic, write_atomic
from recbole_rlmrec.data.files import building, bytes_digest, copy_folder, write_json
from recbole_rlmrec.data.pairs import hash_tokens, split_hash
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.data.store import list_tags, now
from recbole_rlmrec.errors import ConfigError, DataError, quoted
from recbole_rlmrec.model.lookup import backbone_name, is_sequential
from recbole_rlmrec.runs.split import draw_split, make_config

_ROW = "rlmrec_row"
_COLUMNS = ("field_separator", "seq_separator", "USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD", "TIME_FIELD", "LABEL_FIELD")
_LOADING = ("load_col", "unload_col", "threshold", "normalize_all", "normalize_field", "encoding", "seq_len")
FILTERS = ("val_interval", "user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter")

logger = getLogger()


@dataclass(frozen=True)
class FrozenSplit:
    """A split on disk.

    Attributes
    ----------
    name : str
    folder : Path
        Holds ``NAME.train.inter``, ``.valid.``, ``.test.``, ``NAME.item``, ``NAME.user`` where there are, ``NAME.yaml``,
        ``split.json`` and ``semantic/``.
    about : dict
        What ``split.json`` says.
    """

    name: str
    folder: Path
    about: dict

    def __str__(self) -> str:
        counts = ", ".join(f"{self.about['interactions'][part]} {part}" for part in PARTS)
        tags = ", ".join(self.about["tags"]) or "none"
        return f"{self.folder}: {self.about['users']} users, {self.about['items']} items; {counts}; profiles: {tags}"


def freeze_split(dataset: str, name: str, root: Path | str, options: Mapping | None = None, model: str = "BPR") -> FrozenSplit:
    """Draw the split that a run with these options draws, and write it.

    Parameters
    ----------
    dataset : str
        RecBole dataset to read, ``NAME.inter``.
    name : str
        Name of the new one.
    root : Path
        Folder above it.
    options : mapping, optional
        RecBole's options: filters, ``eval_args``, ``seed``, ``data_path``, ``semantic_path`` ...
    model : str
        Whose protocol the split follows where ``eval_args`` say nothing: sequential ones leave the last two out.

    Returns
    -------
    FrozenSplit

    Raises
    ------
    ConfigError
        The new name is the old one or unusable, or the dataset is split already.
    DataError
        Files are missing or cannot be read, or the new folder exists.
    """
    target = Path(root) / name
    if name == dataset or not name or Path(name).name != name or name.startswith("."):
        raise ConfigError(f"{name!r} cannot be the name of the frozen split of {dataset}; choose another one.")
    if target.exists():
        raise DataError(f"{target} exists; remove it or choose another name for the split.")
    config = make_config(model, dataset, options or {})
    if config["benchmark_filename"]:
        raise ConfigError(f"{dataset} comes split (benchmark_filename is set); there is nothing to draw.")
    data, splits = draw_split(config, _NumberedSequences if is_sequential(backbone_name(model)) else _NumberedDataset)
    parts = dict(zip(PARTS, splits, strict=True))
    with building(target) as folder:
        about = _write(config, data, parts, folder, name)
    return FrozenSplit(name, target, about)


class _Numbered:
    """Mixin over RecBole's datasets whose interactions know their row in the file.

    ``first`` are the rows that are in no part of a split: of a sequential recommender's, users' first interactions, which are
    no targets.
    """

    def _load_inter_feat(self, token, dataset_path):
        super()._load_inter_feat(token, dataset_path)
        self.inter_feat[_ROW] = np.arange(len(self.inter_feat)).astype(str)
        self.field2type[_ROW] = FeatureType.TOKEN
        self.field2source[_ROW] = FeatureSource.INTERACTION
        self.field2seqlen[_ROW] = 1
        self.rows_read = len(self.inter_feat)

    def _change_feat_format(self):
        kept = self.inter_feat[_ROW].to_numpy()
        super()._change_feat_format()
        self.first = np.setdiff1d(kept, self.inter_feat[_ROW].numpy())

    def file_rows(self, ids: np.ndarray) -> np.ndarray:
        """Rows of the file by internal ids of the column that numbers them."""
        return self.field2id_token[_ROW][ids].astype(np.int64)


class _NumberedDataset(_Numbered, Dataset):
    """For recommenders that take interactions."""


class _NumberedSequences(_Numbered, SequentialDataset):
    """For recommenders that take sequences."""


def _write(config, data: _Numbered, parts: dict[str, Dataset], folder: Path, name: str) -> dict:
    source, separator = Path(config["data_path"]) / config["dataset"], config["field_separator"]
    encoding = config["encoding"] or "utf-8"
    inter = read_atomic(source.with_name(f"{source.name}.inter"), separator, encoding)
    if len(inter.table) != data.rows_read:
        raise DataError(
            f"RecBole reads {data.rows_read} rows from {inter.path}, which has {len(inter.table)} lines; a field that starts "
            "with a quotation mark can be why: remove these marks."
        )
    tables = {}
    for part, split in parts.items():
        rows = data.file_rows(split.inter_feat[_ROW].numpy())
        if part == "train":
            rows = np.concatenate([data.file_rows(data.first), rows])
        tables[part] = inter.table.iloc[rows]
        write_atomic(folder / f"{name}.{part}.inter", inter, tables[part], separator, encoding)
    for side, field in (("item", data.iid_field), ("user", data.uid_field)):
        path = source.with_name(f"{source.name}.{side}")
        if path.is_file():
            file = read_atomic(path, separator, encoding)
            kept = file.table[file.table[field].isin(set(data.field2id_token[field][1:]))]
            write_atomic(folder / f"{name}.{side}", file, kept, separator, encoding)
    digest = hash_tokens(tables["train"][data.uid_field], tables["train"][data.iid_field])
    settings = frozen_options(config)
    (folder / f"{name}.yaml").write_text(
        f"# Settings of {name}, a frozen split of {config['dataset']}: run with --config_files={quoted(f'{name}.yaml')}\n"
        + json.dumps(settings, ensure_ascii=False, indent=1)
        + "\n",
        encoding="utf-8",
    )
    about = {
        "format": 1,
        "dataset": config["dataset"],
        "name": name,
        "made": now(),
        "seed": config["seed"],
        "drawn": {key: config[key] for key in (*FILTERS, "eval_args", "filter_inter_by_user_or_item")},
        "source_digest": digest_files(source.parent, source.name),
        "drawn_hash": split_hash(parts["train"]),
        "split_hash": digest,
        "users": data.user_num - 1,
        "items": data.item_num - 1,
        "interactions": {part: len(table) for part, table in tables.items()},
        "tags": copy_semantic(semantic_root(config), folder / "semantic", name, (split_hash(parts["train"]), digest)),
    }
    write_json(folder / "split.json", about)
    return about


def frozen_options(config) -> dict:
    """Options with which a run reads a frozen split as its source was read."""
    options = {key: config[key] for key in (*_COLUMNS, *_LOADING) if config[key] is not None}
    return {"benchmark_filename": list(PARTS), **options, **dict.fromkeys(FILTERS)}


def copy_semantic(source: Path, target: Path, name: str, hashes: tuple[str, str]) -> list[str]:
    """Copy profiles and embeddings to a dataset of another name; those made for another split stay behind.

    What is there already is copied again where its source has changed since.

    Parameters
    ----------
    source, target : Path
        Folders of tags.
    name : str
        Of the new dataset.
    hashes : (str, str)
        Of the training split as the run draws it and as it is on disk: there it has first interactions of users who have no
        training row in a sequential run.

    Returns
    -------
    list of str
        Tags that were copied.
    """
    tags, copied = [], target / ".copied.json"
    stamps = parse_json(copied.read_bytes()) if copied.is_file() else {}
    for tag in list_tags(source) if source.is_dir() else []:
        made_for = parse_json((source / tag / "manifest.json").read_bytes()).get("split_hash")
        if made_for not in (None, *hashes):
            logger.warning(f"The profiles {tag} were made for another split and are not copied.")
            continue
        tags.append(tag)
        stamp = _stamp(source / tag)
        if (target / tag).is_dir() and stamps.get(tag) == stamp:
            continue
        fresh = target / f".{tag}"
        shutil.rmtree(fresh, ignore_errors=True)
        copy_folder(source / tag, fresh)
        for manifest in [fresh / "manifest.json", *fresh.glob("embeddings/*/manifest.json")]:
            about = {**parse_json(manifest.read_bytes()), "dataset": name}
            write_json(manifest, about | ({"split_hash": hashes[1]} if about.get("split_hash") == hashes[0] else {}))
        shutil.rmtree(target / tag, ignore_errors=True)
        fresh.rename(target / tag)
        write_json(copied, stamps := {**stamps, tag: stamp})
    return tags


def _stamp(folder: Path) -> str:
    """Digest of the names, sizes and dates of what `copy_folder` copies."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    seen = [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return bytes_digest(json.dumps([one for one in seen if not re.search(r"(^|/)\.", one[0])]).encode())
