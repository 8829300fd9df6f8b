"""RLMRec for RecBole: importing this package repairs RecBole for today's packages and registers its models.

It does so before RecBole's own import of itself ends, or at once where RecBole is loaded; until then neither RecBole nor torch
is imported. The public names are loaded when they are asked for.
"""

import importlib
from typing import TYPE_CHECKING

from recbole_rlmrec import importing

if TYPE_CHECKING:
    from recbole_rlmrec.encoding.base import TextEncoder
    from recbole_rlmrec.encoding.registry import register_encoder
    from recbole_rlmrec.model.adapters import Adapter, EmbeddingAdapter, GraphAdapter, SequenceAdapter, register_adapter
    from recbole_rlmrec.model.alignment import Alignment, register_alignment
    from recbole_rlmrec.model.lookup import register_model
    from recbole_rlmrec.model.options import Option
    from recbole_rlmrec.model.rlmrec import RLMRecMixin

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Alignment",
    "EmbeddingAdapter",
    "GraphAdapter",
    "Option",
    "RLMRecMixin",
    "SequenceAdapter",
    "TextEncoder",
    "register_adapter",
    "register_alignment",
    "register_encoder",
    "register_model",
]

_HOMES = {
    "Adapter": "model.adapters",
    "Alignment": "model.alignment",
    "EmbeddingAdapter": "model.adapters",
    "GraphAdapter": "model.adapters",
    "Option": "model.options",
    "RLMRecMixin": "model.rlmrec",
    "SequenceAdapter": "model.adapters",
    "TextEncoder": "encoding.base",
    "register_adapter": "model.adapters",
    "register_alignment": "model.alignment",
    "register_encoder": "encoding.registry",
    "register_model": "model.lookup",
}

importing.install()


def __getattr__(name: str):
    """A public name from its module, or a module of this package."""
    if name in _HOMES:
        if _HOMES[name].startswith("model."):
            importlib.import_module("recbole")  # first, so that no thread waits for RecBole with a part of what it waits for
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        module = f"{__name__}.{name}"
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
