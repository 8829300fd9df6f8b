"""Modules that stand in for others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def stand_in(modules: dict[str, Any]) -> Iterator[None]:
    """Show modules that are not installed to the imports inside the block, and to nobody after it."""
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def module_like(name: str, **members) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module
