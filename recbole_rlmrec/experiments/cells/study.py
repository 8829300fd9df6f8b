"""What every experiment works with: data, models, seeds, profiles, and the runner of its cells."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from recbole_rlmrec.data.files import hash_file, read_json, write_json
from recbole_rlmrec.data.paths import encoder_slug
from recbole_rlmrec.data.store import SIDES, ProfileStore, now
from recbole_rlmrec.encoding.embeddings import list_encoders
from recbole_rlmrec.errors import ConfigError, ModelError, StoreError, quoted
from recbole_rlmrec.experiments.cells.cell import Cell, Outcome
from recbole_rlmrec.experiments.cells.data import Data, prepare
from recbole_rlmrec.experiments.cells.options import SEMANTIC
from recbole_rlmrec.experiments.cells.runner import Runner
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.model.adapters import get_adapter
from recbole_rlmrec.model.lookup import SUFFIX, find_model, is_sequential
from recbole_rlmrec.semantic.load import load_semantic

PLAN = "plan.json"


def command() -> str:
    """The command line of this process, as it can be typed again."""
    return " ".join(["recbole-rlmrec", *map(quoted, sys.argv[1:])])


@dataclass(frozen=True)
class Profiles:
    """Profiles and their embeddings, as cells name them.

    Attributes
    ----------
    tag, encoder : str
    path : Path
        Folder above the dataset's, ``semantic_path``.
    folder : Path
        The tag's folder.
    digest : str
        SHA-256 of the embeddings and what their manifest says, 16 digits.
    provenance : dict
        As in a result file.
    """

    tag: str
    encoder: str
    path: Path
    folder: Path
    digest: str
    provenance: dict

    def run_options(self) -> dict:
        """What a run needs to find them."""
        return {"semantic_path": str(self.path), "semantic_tag": self.tag, "semantic_encoder": self.encoder}


@dataclass
class Study:
    """One call of an experiment.

    Attributes
    ----------
    name : str
        Of the experiment.
    dataset : str
    runner : Runner
    models : list of str
        Backbones.
    seeds : list of int
    options : dict
        RecBole's options for every cell.
    given : frozenset of str
        Which of them the user gave.
    params : dict
        Options by model and variant over these, ``{"LightGCN": {"con": {"align_weight": 0.1}}}``.
    resplit : bool
        Whether each seed draws a split of its own.
    checkpoints : str
        Whose trained models are kept: ``first`` (seed), ``all`` or ``none``.
    """

    name: str
    dataset: str
    runner: Runner
    models: list[str]
    seeds: list[int]
    options: dict
    given: frozenset[str] = frozenset()
    params: dict = field(default_factory=dict)
    resplit: bool = False
    checkpoints: str = "first"

    def __post_init__(self):
        self._data: dict[int | None, Data] = {}
        self._profiles: dict[tuple, Profiles] = {}
        self._planned: dict[str, dict] = {}

    @property
    def output(self) -> Path:
        """The results folder."""
        return self.runner.folder

    @cached_property
    def data(self) -> Data:
        """The frozen split; the first seed's where each seed has one."""
        return self.data_of(self.seeds[0])

    def data_of(self, seed: int) -> Data:
        """The split that a seed's cells use."""
        drawn = seed if self.resplit else None
        if drawn not in self._data:
            self._data[drawn] = prepare(self.dataset, self.output, self.options, drawn, self._splits_for)
        return self._data[drawn]

    @property
    def _splits_for(self) -> str:
        """The model whose protocol the split follows: a sequential one where there is any."""
        return next((f"{model}{SUFFIX}" for model in self.models if is_sequential(model)), f"LightGCN{SUFFIX}")

    def claim(self) -> None:
        """Make the results folder this dataset's.

        Raises
        ------
        ConfigError
            It belongs to another one.
        """
        path = self.output / "folder.json"
        theirs = read_json(path, StoreError, "choose another --output") if path.is_file() else None
        if theirs and theirs.get("dataset") != self.dataset:
            raise ConfigError(f"{self.output} holds results of dataset {theirs.get('dataset')!r}; choose another --output.")
        digest = None if self.resplit else self.data.digest  # splits that are drawn check themselves
        if theirs is None:
            write_json(path, {"format": 1, "dataset": self.dataset, "digest": digest, "made": now()})
        elif None not in (digest, theirs.get("digest")) and theirs["digest"] != digest:
            raise ConfigError(
                f"{self.output} holds results of {self.dataset} with other files or another split; choose another --output."
            )

    def check_models(self, variants: Sequence[str]) -> None:
        """Refuse models that do not exist or cannot be trained as wanted, before any cell runs.

        Raises
        ------
        ModelError
            One sentence that names the model and the reason.
        """
        for model in self.models:
            if model.endswith(SUFFIX):
                raise ModelError(f"--models takes backbones: write {model.removesuffix(SUFFIX)}, not {model}.")
            for variant in {"base", *variants}:
                find_model(VARIANTS[variant].runs(model))
            adapter = get_adapter(model)
            if "softmax" in variants and adapter.softmax:
                raise ModelError(f"{model} has no variant softmax: {adapter.softmax}; leave it out.")
            masking = adapter.masking
            if "gen" in variants and masking:
                raise ModelError(f"{model} cannot be aligned with gen: {masking}; leave it out or say --variants base,con.")

    def profiles(self, data: Data | None = None, tag: str | None = None, encoder: str | None = None) -> Profiles:
        """Profiles for cells on some data, checked; the offline default is built where none are named.

        Parameters
        ----------
        data : Data, optional
            The study's by default.
        tag, encoder : str, optional
            Which; by default those of the options.
        """
        data = data or self.data
        tag = tag or self.options.get("semantic_tag")
        encoder = encoder or (self.options.get("semantic_encoder") if tag == self.options.get("semantic_tag") else None)
        key = (data.root, data.name, tag, encoder)
        if key not in self._profiles:
            self._profiles[key] = self._find_profiles(data, tag, encoder)
        return self._profiles[key]

    @property
    def used_profiles(self) -> list[Profiles]:
        """Profiles that were asked for so far."""
        return list(self._profiles.values())

    def _find_profiles(self, data: Data, tag: str | None, encoder: str | None) -> Profiles:
        wanted = {"semantic_tag": tag, "semantic_encoder": encoder, "gpu_id": ""}
        return find_profiles(data, {**self.options, **wanted})

    def cell(
        self,
        model: str,
        variant: str,
        seed: int,
        *,
        profiles: Profiles | None = None,
        data: Data | None = None,
        setting: dict | None = None,
        keep: bool | None = None,
        **options,
    ) -> Cell:
        """A cell of a backbone.

        Parameters
        ----------
        model : str
            Backbone.
        variant : str
            A name in `VARIANTS`.
        seed : int
        profiles : Profiles, optional
            For variants that use them; those of the study's options by default.
        data : Data, optional
            The study's by default.
        setting : dict, optional
            Further coordinates.
        keep : bool, optional
            Whether the trained model is kept; by default as ``checkpoints`` says.
        **options
            RecBole's options of this cell alone.
        """
        data = data or self.data_of(seed)
        kind = VARIANTS[variant]
        merged = {**self.options, **data.run_options(), **kind.options_for(model, self.given)}
        identity = {"data": data.digest, "split": data.split_hash, **data.features(merged)}
        own = {**self.params.get(model, {}).get(variant, {}), **options}
        if kind.text or {**merged, **own}.get("initial_embeddings") == SEMANTIC:
            profiles = profiles or self.profiles(data)
            merged |= profiles.run_options()
            identity["profiles"] = profiles.digest
        merged |= own
        if (initial := merged.get("initial_embeddings")) and initial != SEMANTIC:
            merged["initial_embeddings"] = str(Path(initial).resolve())
            identity["initial"] = digest_embeddings(Path(initial), "correct initial_embeddings")
        if kind.text and (learnt := merged.get("align_with")):
            merged["align_with"] = str(Path(str(learnt)).resolve())
            identity["learnt"] = digest_folder(Path(merged["align_with"]))
        keep = self.keeps(seed) if keep is None else keep
        return Cell(model, variant, seed, kind.runs(model), data.name, merged, identity, dict(setting or {}), keep)

    def keeps(self, seed: int) -> bool:
        """Whether the trained model of a seed is kept."""
        return self.checkpoints == "all" or (self.checkpoints == "first" and seed == self.seeds[0])

    def run(self, cells: Sequence[Cell]) -> list[Outcome]:
        """Run cells; those that fail are in ``runner.failed``.

        What is asked for is noted in ``OUTPUT/EXPERIMENT/plan.json``, so that a report can tell what a stopped experiment
        has finished; `finish` removes it.
        """
        named = ("key", "model", "variant", "seed", "setting")
        self._planned |= {cell.key: {name: getattr(cell, name) for name in named} for cell in cells}
        write_json(self.plan, {"format": 1, "command": command(), "cells": list(self._planned.values())})
        return self.runner.run(cells)

    @property
    def plan(self) -> Path:
        """The list of the cells of an experiment that has not ended."""
        return self.output / self.name / PLAN

    def finish(self) -> None:
        """Called when the experiment's results are written."""
        self.plan.unlink(missing_ok=True)


def find_profiles(data: Data, options: dict, path: Path | None = None, report: bool = True) -> Profiles:
    """Check the profiles and embeddings that runs with these options use.

    Parameters
    ----------
    data : Data
    options : dict
        RecBole's options.
    path : Path, optional
        Folder above the dataset's own, where the profiles are; that of the data by default.
    report : bool
        Whether the log says what was found.

    Raises
    ------
    SemanticError, LeakageError, StoreError, DataError
        As a run would.
    """
    data = replace(data, semantic_path=path or data.semantic_path)
    config, train = data.load(options)
    found = load_semantic(config, train, report)
    folder = data.semantic_path / data.name / "semantic" / found.tag
    wanted = options.get("semantic_encoder")
    slug = encoder_slug(str(wanted), folder / "embeddings") if wanted else list_encoders(folder)[0]
    digest = digest_embeddings(folder / "embeddings" / slug)
    return Profiles(found.tag, slug, data.semantic_path, folder, digest, found.provenance)


def digest_embeddings(folder: Path, remedy: str = "encode the profiles again") -> str:
    """SHA-256 over the matrices of a folder and what is known of them but the date, 16 digits."""
    manifest = read_json(folder / "manifest.json", StoreError, remedy)
    manifest.pop("made", None)
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    for path in (folder / f"{side}s.npy" for side in SIDES if manifest.get(f"{side}s")):  # not what semantic_dim keeps there
        digest.update(path.name.encode() + b"\0")
        hash_file(digest, path)
    return digest.hexdigest()[:16]


def digest_folder(folder: Path) -> str:
    """SHA-256 over the files of a folder, 16 digits."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        digest.update(path.name.encode() + b"\0")
        hash_file(digest, path)
    return digest.hexdigest()[:16]


def places(study: Study, profiles: Profiles | None = None) -> dict[str, str]:
    """Where the files of the study's cells lie now."""
    options = {**study.data.run_options(), **(profiles.run_options() if profiles else {})}
    return {name: options[name] for name in ("data_path", "semantic_path")}


def read_profiles(profiles: Profiles, side: str, tokens: set[str]) -> dict[str, str]:
    """Texts of some profiles by token."""
    return {found.token: found.profile for found in ProfileStore(profiles.folder).iter(side) if found.token in tokens}
