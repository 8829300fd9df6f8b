"""RecBole is repaired and extended in the moment in which it is imported, whoever imports it first.

Importing this package costs next to nothing: it leaves a finder that wraps the import of ``recbole`` itself, before any of
RecBole's modules. Where RecBole is loaded already, it is repaired and extended at once.

A thread that imports ``recbole`` while another one does so waits until it is extended; one that asks for a module of it that
is loaded by then does not, so a program whose threads use RecBole imports it before it starts them.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

RECBOLE = "recbole"
_EXTENSIONS = ("recbole_rlmrec.plugin", "recbole_rlmrec.model")


class RecBoleFinder(MetaPathFinder):
    """Finds ``recbole`` where the other finders do, and extends it as soon as it has been executed."""

    def find_spec(self, name: str, path=None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Spec of ``recbole``, its loader wrapped; None for every other module."""
        if name != RECBOLE:
            return None
        others = (finder for finder in sys.meta_path if type(finder).__name__ != type(self).__name__)
        found = (finder.find_spec(name, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            # An attribute of the instance hides the method: the loader stays what it is to inspect, pkgutil and others.
            spec.loader.exec_module = functools.partial(_execute, spec.loader)
        return spec


def _execute(loader, module: ModuleType) -> None:
    """Execute ``recbole``, then extend it, all of it under the import lock of ``recbole``."""
    del loader.exec_module
    loader.exec_module(module)
    try:
        extend()
    except BaseException:
        _forget()
        raise


def _forget() -> None:
    """Take away what an import that failed has left, or the next one would find modules that are repaired in part."""
    for name in list(sys.modules):
        if name.startswith((f"{RECBOLE}.", *_EXTENSIONS)):
            del sys.modules[name]


def extend() -> None:
    """Make the repairs, then put the seams in place; calling it again changes nothing."""
    from recbole_rlmrec.plugin import repairs

    repairs.apply()
    from recbole_rlmrec.plugin import seams

    seams.apply()


def install() -> None:
    """Extend RecBole now where it is loaded, else as soon as it is imported; calling it again changes nothing.

    Raises
    ------
    ImportError
        RecBole is not installed; the message is the command that installs it.
    """
    if not any(type(finder).__name__ == RecBoleFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, RecBoleFinder())
    if RECBOLE in sys.modules:
        extend()
    else:
        _require_recbole()


def _require_recbole() -> None:
    """RecBole is missing: from Python 3.12 on pip cannot install it with its dependencies (ray has no builds there)."""
    try:
        missing = importlib.util.find_spec(RECBOLE) is None
    except ImportError:
        missing = True
    if missing:
        package = "--no-deps recbole==1.2.1" if sys.version_info >= (3, 12) else "recbole==1.2.1"
        raise ImportError(f"recbole-rlmrec needs RecBole, which is not installed: pip install {package}")
