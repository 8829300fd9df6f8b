"""``recbole-rlmrec doctor``: what is installed, which data and profiles are there, what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import recbole
import torch

from recbole_rlmrec.commands.places import place
from recbole_rlmrec.data.atomic import atomic_files, read_atomic, read_header
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import check_embeddings
from recbole_rlmrec.errors import DataError, RLMRecError, quoted
from recbole_rlmrec.plugin import repairs
from recbole_rlmrec.plugin.record import versions

OPTIONAL = {
    "tiktoken": ("exact token counts for OpenAI's models", "pip install 'recbole-rlmrec[tokens]'"),
    "hyperopt": ("hyper-parameter search", "pip install 'recbole-rlmrec[tune]'"),
    "ray": ("Ray-based tuning, Python up to 3.11", "pip install 'recbole-rlmrec[ray]'"),
}


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Print the report; returns the exit status."""
    sections = {
        "Versions": _versions(),
        "RecBole on today's packages": _repairs(own=False),
        "Mistakes of RecBole mended": _repairs(own=True),
        "Device": _device(),
    }
    sections["Optional"] = _optional()
    for root in dict.fromkeys(place(args, key) or "dataset" for key in ("data_path", "semantic_path")):
        sections[f"Data sets under {root}"] = _datasets(Path(root))
    if args.models:
        sections["Models"] = _models()
    for title, lines in sections.items():
        print(title)
        for line in lines:
            print(f"  {line}")
    return 0


def _versions() -> Iterator[str]:
    for package, found in versions().items():
        yield f"{package:24} {found or 'missing: pip install ' + package}"


def _repairs(own: bool) -> Iterator[str]:
    for repair in repairs.active():
        if repair.own == own:
            yield f"{repair.name}: {repair.reason}"


def _device() -> Iterator[str]:
    if not torch.cuda.is_available():
        yield f"CPU, {torch.get_num_threads()} threads; no GPU that torch can use (runs need no option)"
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield f"GPU {index}: {torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _optional() -> Iterator[str]:
    for module, (purpose, command) in OPTIONAL.items():
        state = _state(module)
        yield f"{module:24} {state if state == 'installed' else f'{state}; {purpose}: {command}'}"
    key = "OPENAI_API_KEY"
    yield f"{key:24} {'set' if os.environ.get(key) else 'not set; needed for profiles from OpenAI alone'}"


def _state(module: str) -> str:
    if importlib.util.find_spec(module) is None:
        return "not installed"
    if module == "ray" and any(repair.name == "ray" for repair in repairs.active()):
        return "installed, but the processes that it starts would fail"
    return "installed"


def _datasets(root: Path) -> Iterator[str]:
    folders = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
    if not folders:
        yield "none; ml-100k comes with RecBole and needs no file: recbole-rlmrec run --dataset=ml-100k"
    for folder in folders:
        files = [path.name for path in atomic_files(folder, folder.name) if path.is_file()]
        absent = "comes with RecBole" if folder.name == "ml-100k" else "no atomic files here"
        yield f"{folder.name}: {', '.join(files) or absent}"
        yield from (f"  {line}" for line in _faults(folder, files))
        tags = sorted(path for path in (folder / "semantic").glob("[!.]*") if path.is_dir())
        ids = _ids(folder) if tags else {}
        for tag in tags:
            yield from (f"  {line}" for line in _tag(tag, folder.name, ids))


def _faults(folder: Path, files: list[str]) -> Iterator[str]:
    """What a run on atomic files would stop at."""
    name = folder.name
    inter = [file for file in files if file.endswith(".inter")]
    if files and not inter:
        yield f"MISSING {name}.inter, the interactions: dataset/README.md shows its form"
    for file in files:
        if file.endswith((".inter", ".item", ".user")):
            try:
                read_header(folder / file, "\t", "utf-8")
            except DataError as error:
                yield f"CHECK {error}"
    if inter and not {f"{name}.item", f"{name}.user"} & set(files):
        yield f"no text: add {name}.item with titles, or recbole-rlmrec import FILE.jsonl --dataset {quoted(name)} --tag TAG"


def _ids(folder: Path) -> dict[str, set[str]]:
    """Tokens of users and items in the interactions of a data set; empty where its files are not here or not readable."""
    name = folder.name
    if name == "ml-100k" and not atomic_files(folder, name):
        folder = Path(recbole.__file__).parent / "dataset_example" / name
    found: dict[str, set[str]] = {side: set() for side in SIDES}
    try:
        for path in (path for path in atomic_files(folder, name) if path.suffix == ".inter"):
            table = read_atomic(path).table
            for side in SIDES:
                found[side].update(table[f"{side}_id"])
    except (DataError, KeyError):
        return {}
    return {side: ids for side, ids in found.items() if ids}


def _fit(store: ProfileStore, ids: dict[str, set[str]]) -> str:
    """How many of a data set's users and items have a profile."""
    counts = [f"{len(ids[side].intersection(store.stored_texts(side).tokens))} of {len(ids[side])} {side}s" for side in ids]
    return f"covers {' and '.join(counts)} of the interactions" if counts else ""


def _tag(folder: Path, dataset: str, ids: dict[str, set[str]]) -> Iterator[str]:
    try:
        store = ProfileStore(folder)
        manifest = store.manifest
        fit = _fit(store, ids) if manifest.get("dataset") == dataset else ""
    except RLMRecError as error:
        yield f"{folder.name}: BROKEN, {error}"
        return
    counts = f"{manifest.get('users', 0)} users, {manifest.get('items', 0)} items"
    yield f"{folder.name}: {counts}, by {manifest.get('by')}, provenance {manifest.get('provenance')}"
    if manifest.get("dataset") != dataset:
        yield f"  NOT of this data set but of {manifest.get('dataset')}: move the folder there, or make profiles of {dataset}"
        return
    if fit:
        yield f"  {fit}"
    encoders = sorted(path for path in (folder / "embeddings").glob("[!.]*") if path.is_dir())
    if not encoders:
        yield f"  not encoded: recbole-rlmrec encode --dataset {quoted(dataset)} --tag {folder.name} --encoder lsa"
    for encoder in encoders:
        try:
            yield f"  {encoder.name}: {check_embeddings(folder, encoder)}"
        except RLMRecError as error:
            yield f"  {encoder.name}: BROKEN, {error}"


def _models() -> Iterator[str]:
    from recbole_rlmrec.model.adapters import ADAPTERS
    from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX, SUFFIX, backbone_name, model_names

    for name in model_names():
        if name.endswith(SUFFIX):
            masking = ADAPTERS[backbone_name(name)].masking
            yield f"{name:24} con{'' if masking else ', gen'}"
        elif name.endswith(SEMANTIC_SUFFIX) or name == "AlphaRec":
            yield f"{name:24} texts as input"
