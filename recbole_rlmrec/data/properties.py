"""Files of defaults, RecBole's and this package's, and the names of all options, read without importing RecBole."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterable, Mapping
from logging import getLogger
from pathlib import Path

import yaml

from recbole_rlmrec.errors import ConfigError

_PLACES = Path(__file__).parents[1] / "properties", Path(__file__).parents[2] / "properties"

PROPERTIES = next((path for path in _PLACES if path.is_dir()), _PLACES[0])

# Options that RecBole reads from the command line of its own scripts alone.
_OF_SCRIPTS = set("model dataset config_files nproc world_size ip port group_offset offset meeting_seconds".split())


@functools.cache
def recbole_folder() -> Path:
    """Folder of RecBole's package."""
    return Path(importlib.util.find_spec("recbole").origin).parent


@functools.cache
def options_with_default() -> frozenset[str]:
    """Every option that a file of defaults names, whatever model or data set it is of."""
    folders = (recbole_folder() / "properties", PROPERTIES)
    files = (path for folder in folders for path in folder.rglob("*.yaml") if not path.stem.endswith("url"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    return frozenset(re.findall(r"^(\w+)[ \t]*:", "\n".join(texts), flags=re.MULTILINE))


@functools.cache
def options_in_source() -> frozenset[str]:
    """Every option that the source of RecBole reads, whether or not it has a default, and every option of an alignment."""
    pattern = re.compile(r"""(?:config|config_dict|final_config_dict)(?:\.get)?[\[(]\s*["'](\w+)["']""")
    text = "\n".join(path.read_text(encoding="utf-8") for path in recbole_folder().rglob("*.py"))
    listed = (recbole_folder() / "utils" / "argument_list.py").read_text(encoding="utf-8")
    ours = "\n".join(path.read_text(encoding="utf-8") for path in (Path(__file__).parents[1] / "model").rglob("*.py"))
    found = (pattern.findall(text), re.findall(r"""["'](\w+)["']""", listed), re.findall(r'\bOption\(\s*"(\w+)"', ours))
    return frozenset(_OF_SCRIPTS).union(*found)


def is_option(key: str) -> bool:
    """Whether RecBole, one of its models or this package knows an option."""
    return key in options_with_default() or key in options_in_source()


def check_names(keys: Iterable[str], where: str) -> None:
    """Refuse a misspelt option, which a run would not read; one that looks like no other may be that of your own model.

    Raises
    ------
    ConfigError
        An option that nobody knows is spelt nearly as another.
    """
    for key in (key for key in map(str, keys) if not is_option(key)):
        near = difflib.get_close_matches(key, options_with_default() | options_in_source(), n=2, cutoff=0.85)
        if near:
            raise ConfigError(f"{where} has the option {key}, which nobody reads; did you mean {' or '.join(near)}?")
        getLogger().warning(f"{where} has the option {key}, which neither RecBole nor recbole-rlmrec knows.")


def reading_options(dataset: str, given: Mapping) -> dict:
    """Options with which the files of a data set are read: RecBole's defaults, those of the data set, then the given ones."""
    folders = (recbole_folder() / "properties" / "dataset", PROPERTIES / "dataset")
    files = [folder / f"{name}.yaml" for name in ("sample", dataset) for folder in folders]
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files if path.is_file()]
    return {key: value for options in (*found, given) for key, value in options.items()}
