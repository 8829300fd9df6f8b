"""The data of an experiment's cells: a split that is frozen, and changed copies of it."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from recbole_rlmrec.data.atomic import PARTS, AtomicFile, atomic_files, digest_files, read_atomic, write_atomic
from recbole_rlmrec.data.files import read_json
from recbole_rlmrec.data.pairs import hash_tokens
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.reading import parse_json
from recbole_rlmrec.errors import ConfigError, StoreError
from recbole_rlmrec.runs.frozen import FILTERS, copy_semantic, freeze_split, frozen_options
from recbole_rlmrec.runs.run import check_data
from recbole_rlmrec.runs.split import draw_split, make_config


@dataclass(frozen=True)
class Data:
    """A split dataset.

    Attributes
    ----------
    name : str
    root : Path
        Folder above the dataset's own.
    semantic_path : Path
        Folder above the one that holds ``semantic/``.
    options : dict
        How RecBole reads it.
    digest : str
        SHA-256 of its files, 16 digits.
    """

    name: str
    root: Path
    semantic_path: Path
    options: dict
    digest: str

    def run_options(self) -> dict:
        """What a run needs to find it."""
        return {**self.options, "data_path": str(self.root), "semantic_path": str(self.semantic_path)}

    @property
    def separator(self) -> str:
        """Separator of columns."""
        return self.options.get("field_separator") or "\t"

    @property
    def encoding(self) -> str:
        """Encoding of the files."""
        return self.options.get("encoding") or "utf-8"

    def read(self, part: str) -> AtomicFile:
        """Raw rows of ``train``, ``valid`` or ``test``."""
        names = dict(zip(PARTS, self.options["benchmark_filename"], strict=True))
        path = self.root / self.name / f"{self.name}.{names[part]}.inter"
        return read_atomic(path, self.separator, self.encoding)

    def pairs(self, part: str) -> pd.DataFrame:
        """Interactions of a part: a DataFrame of ``user`` and ``item`` tokens."""
        if part not in self._pairs:
            table = self.read(part).table
            user, item = self.id_fields
            self._pairs[part] = pd.DataFrame({"user": table[user].to_numpy(), "item": table[item].to_numpy()})
        return self._pairs[part]

    @functools.cached_property
    def _pairs(self) -> dict[str, pd.DataFrame]:
        return {}

    @functools.cached_property
    def split_hash(self) -> str:
        """Hash of the training interactions, as :func:`~recbole_rlmrec.data.pairs.split_hash` makes it."""
        train = self.pairs("train")
        return hash_tokens(train["user"], train["item"])

    @property
    def id_fields(self) -> tuple[str, str]:
        """Names of the columns of users and items."""
        return self.options.get("USER_ID_FIELD") or "user_id", self.options.get("ITEM_ID_FIELD") or "item_id"

    def features(self, options: Mapping) -> dict[str, str]:
        """``features``: SHA-256 of the further files that runs with these options read, a knowledge graph's or features'."""
        suffixes = options.get("additional_feat_suffix") or ()
        suffixes = {"kg", "link", *([suffixes] if isinstance(suffixes, str) else suffixes)}
        names = [f"{self.name}.{suffix}" for suffix in sorted(suffixes)]
        there = [name for name in names if (self.root / self.name / name).is_file()]
        return {"features": digest_files(self.root / self.name, self.name, there)} if there else {}

    def counts(self) -> dict[str, int]:
        """Number of users and of items that occur, and of interactions of each part."""
        pairs = {part: self.pairs(part) for part in PARTS}
        everyone = pd.concat(pairs.values())
        sizes = {part: len(found) for part, found in pairs.items()}
        return {"users": everyone["user"].nunique(), "items": everyone["item"].nunique(), **sizes}

    def load(self, options: Mapping | None = None):
        """RecBole's Config and training split, which knows the held-out ones."""
        config = make_config("LightGCN_RLMRec", self.name, {**(options or {}), **self.run_options()})
        return config, draw_split(config)[1][0]


def prepare(dataset: str, output: Path, options: Mapping, seed: int | None = None, model: str = "LightGCN_RLMRec") -> Data:
    """The dataset as its cells read it: where it lies if it comes split, else frozen into the results folder.

    Parameters
    ----------
    dataset : str
    output : Path
        Results folder.
    options : mapping
        RecBole's options of the experiment.
    seed : int, optional
        Draw the split of this seed; by default that of RecBole's default seed.
    model : str
        Whose protocol the split follows.

    Raises
    ------
    ConfigError
        The results folder holds another split.
    DataError
        Files are missing.
    """
    config = make_config(model, dataset, options)
    parts = config["benchmark_filename"] or found_parts(Path(config["data_path"]), dataset)
    if not parts:
        return _frozen(dataset, output / "data", options, seed, model)
    if seed is not None:
        raise ConfigError(f"{dataset} comes split, so --resplit cannot draw other splits; leave it out.")
    read = {"benchmark_filename": list(parts), **{key: None for key in FILTERS if key not in options}}
    config = make_config("LightGCN_RLMRec", dataset, {**options, **read})
    check_data(config)
    root = Path(config["data_path"]).resolve().parent
    semantic = Path(config["semantic_path"] or "dataset").resolve()
    columns = {key: config[key] for key in ("field_separator", "encoding", "USER_ID_FIELD", "ITEM_ID_FIELD")}
    return Data(dataset, root, semantic, {**read, **columns}, digest_files(root / dataset, dataset))


def found_parts(folder: Path, dataset: str) -> list[str] | None:
    """Names of the parts where a dataset has no ``NAME.inter`` but benchmark files of the usual names."""
    there = all((folder / f"{dataset}.{part}.inter").is_file() for part in PARTS)
    return list(PARTS) if there and not (folder / f"{dataset}.inter").is_file() else None


def _frozen(dataset: str, root: Path, options: Mapping, seed: int | None, model: str) -> Data:
    name = f"{dataset}-split" if seed is None else f"{dataset}-split-{seed}"
    options = dict(options) if seed is None else {**options, "seed": seed}
    folder = (root / name).resolve()
    wanted = make_config(model, dataset, options)
    if not folder.exists():
        freeze_split(dataset, name, folder.parent, options, model)
    about = read_json(folder / "split.json", StoreError, "delete that folder and call the experiment again")
    drawn = {key: wanted[key] for key in about["drawn"]}
    if drawn != about["drawn"] or about["source_digest"] != digest_files(Path(wanted["data_path"]), dataset):
        raise ConfigError(
            f"{folder} is a split of {dataset} with other filters, another way of splitting or other files; "
            "choose another --output."
        )
    data = frozen_data(folder)
    read = json.loads(json.dumps(frozen_options(wanted)))
    if other := [key for key in {**read, **data.options} if read.get(key) != data.options.get(key)]:
        raise ConfigError(f"{folder} is read with another {', '.join(sorted(other))}; choose another --output.")
    made_for = about["split_hash"]
    copy_semantic(semantic_root(wanted), folder / "semantic", name, (about.get("drawn_hash", made_for), made_for))
    return data


def frozen_data(folder: Path) -> Data:
    """A frozen split as cells read it."""
    name, root = folder.name, folder.parent
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[2]
    return Data(name, root, root, parse_json(text), digest_files(folder, name))


def changed(data: Data, root: Path, parts: Mapping[str, pd.DataFrame], own_profiles: bool = False) -> Data:
    """A copy of a split with other interactions, under the same name in another folder, so that its profiles fit.

    Parameters
    ----------
    data : Data
    root : Path
        Folder above the copy.
    parts : mapping of str to DataFrame
        Raw rows of the parts that differ.
    own_profiles : bool
        Whether profiles are kept beside the copy, not beside the original.

    Raises
    ------
    ConfigError
        The folder holds a copy that is not the same.
    """
    target = root.resolve() / data.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{data.name}-", dir=target.parent) as place:
        made = Path(place) / data.name
        made.mkdir()
        _write_copy(data, made, parts)
        digest = digest_files(made, data.name)
        if not target.exists():
            made.rename(target)
        elif digest_files(target, data.name) != digest:
            raise ConfigError(
                f"{target} is a copy of {data.name} with other interactions or texts than it has now; choose another --output."
            )
    options = {**data.options, "benchmark_filename": list(PARTS)}
    semantic_path = root.resolve() if own_profiles else data.semantic_path
    return Data(data.name, root.resolve(), semantic_path, options, digest)


def _write_copy(data: Data, folder: Path, parts: Mapping[str, pd.DataFrame]) -> None:
    for part in PARTS:
        file = data.read(part)
        write_atomic(folder / f"{data.name}.{part}.inter", file, parts.get(part, file.table), data.separator, data.encoding)
    for path in atomic_files(data.root / data.name, data.name):
        if path.suffix in (".item", ".user"):
            shutil.copyfile(path, folder / path.name)


def not_shown(rows: pd.DataFrame, before: pd.DataFrame, fields: tuple[str, str]) -> pd.DataFrame:
    """Rows of pairs that do not occur before: what the early part has shown is nothing to recommend later."""
    columns = list(fields)
    return rows[~pd.MultiIndex.from_frame(rows[columns]).isin(pd.MultiIndex.from_frame(before[columns]))]
