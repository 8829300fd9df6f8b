"""Models by name: RecBole's, this package's, registered ones, and ``NAME_RLMRec`` and ``NAME_Semantic`` made when asked for."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re

import recbole.utils.utils as recbole_utils
from recbole.utils import ModelType

from recbole_rlmrec.errors import ModelError

SUFFIX = "_RLMRec"

KAR_SUFFIX = "_KAR"

SEMANTIC_SUFFIX = "_Semantic"

SUFFIXES = (SUFFIX, KAR_SUFFIX, SEMANTIC_SUFFIX)

original_get_model = recbole_utils.get_model

_registered: dict[str, type] = {}


def register_model(cls: type) -> type:
    """Make a recommender of your own known to RecBole by its class name; usable as a decorator.

    Returns
    -------
    type
        The class itself.
    """
    _registered[cls.__name__] = cls
    return cls


def backbone_name(model: str) -> str:
    """Name of the recommender that ``MODEL_RLMRec`` or another with a suffix is built on; other names stay as they are."""
    return model.removesuffix(suffix_of(model))


def suffix_of(model: str) -> str:
    """``_RLMRec``, ``_KAR`` or ``_Semantic`` where a model's name ends in it, else an empty text."""
    return next((suffix for suffix in SUFFIXES if model.endswith(suffix)), "")


def is_sequential(model: str) -> bool:
    """Whether a model ranks by the sequence of a user's items.

    Raises
    ------
    ModelError
        There is no such model.
    """
    return getattr(find_model(model), "type", None) == ModelType.SEQUENTIAL


def find_model(model_name: str) -> type:
    """RecBole's ``get_model``, extended by this package's models, registered ones, ``NAME_RLMRec`` and ``NAME_Semantic``.

    Raises
    ------
    ModelError
        There is no such model, or it cannot be aligned; the message lists near matches.
    """
    model = _registered.get(model_name) or _own_model(model_name)
    if model is not None:
        return model
    if model_name.endswith(SUFFIX):
        return aligned_model(backbone_name(model_name))
    if model_name.endswith(SEMANTIC_SUFFIX):
        return semantic_model(backbone_name(model_name))
    try:
        return original_get_model(model_name)
    except ModuleNotFoundError as error:  # RecBole's last place to look needs lightgbm and xgboost to be imported
        if error.name not in ("lightgbm", "xgboost") or model_name.lower() == error.name:
            raise
    except (ValueError, AttributeError):
        pass
    raise ModelError(_unknown_model(model_name))


def _own_model(name: str) -> type | None:
    if not re.fullmatch(r"[a-z0-9_]+", name.lower()):
        return None
    for kind in ("general", "sequential"):
        module = f"recbole_rlmrec.model.{kind}_recommender.{name.lower()}"
        if importlib.util.find_spec(module) is not None:
            return getattr(importlib.import_module(module), name, None)
    return None


@functools.cache
def aligned_model(backbone: str) -> type:
    """The class ``BACKBONE_RLMRec`` of a recommender that has an adapter and no file of its own here.

    Raises
    ------
    ModelError
        There is no such recommender, or no adapter reaches its representations.
    """
    from recbole_rlmrec.model.adapters import get_adapter
    from recbole_rlmrec.model.rlmrec import RLMRecMixin

    base = find_model(backbone)
    get_adapter(backbone)
    return type(
        backbone + SUFFIX,
        (RLMRecMixin, base),
        {
            "__module__": __name__,
            "__doc__": f"{backbone} aligned with the profiles of users and items.",
            "backbone": backbone,
        },
    )


@functools.cache
def semantic_model(backbone: str) -> type:
    """The class ``BACKBONE_Semantic``: ``BACKBONE_RLMRec`` whose initial embeddings hold the texts too.

    Raises
    ------
    ModelError
        There is no such recommender, no adapter reaches its representations, or it has no initial embeddings.
    """
    from recbole_rlmrec.model.semantic_input import SemanticMixin

    return type(
        backbone + SEMANTIC_SUFFIX,
        (SemanticMixin, find_model(backbone + SUFFIX)),
        {
            "__module__": __name__,
            "__doc__": f"{backbone} on embeddings of ids and of the texts of users and items.",
            "backbone": backbone,
        },
    )


def __getattr__(name: str) -> type:
    """Serve ``NAME_RLMRec`` and ``NAME_Semantic`` to pickles, which look a class up where it says it is from."""
    if not name.endswith((SUFFIX, SEMANTIC_SUFFIX)):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return find_model(name)
    except ValueError as error:
        raise AttributeError(str(error)) from None


def model_names() -> list[str]:
    """Names of every general and sequential recommender that can be run, RecBole's and this package's."""
    import recbole.model.general_recommender as general
    import recbole.model.sequential_recommender as sequential
    from recbole.model.abstract_recommender import GeneralRecommender, SequentialRecommender

    import recbole_rlmrec.model.general_recommender as ours
    from recbole_rlmrec.model.adapters import ADAPTERS

    kinds = ((general, GeneralRecommender), (sequential, SequentialRecommender))
    names = {name for module, kind in kinds for name, value in vars(module).items() if _is_model(value, kind)}
    for module in pkgutil.iter_modules(ours.__path__):
        found = vars(importlib.import_module(f"{ours.__name__}.{module.name}"))
        names |= {name for name in found if name.lower() == module.name}
    semantic = {name + SEMANTIC_SUFFIX for name, adapter in ADAPTERS.items() if adapter.text_input}
    return sorted(names | set(_registered) | {backbone + SUFFIX for backbone in ADAPTERS} | semantic)


def _is_model(value, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value is not base


def _unknown_model(name: str) -> str:
    by_lower = {known.lower(): known for known in model_names()}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=4, cutoff=0.6)]
    hint = f"Did you mean {', '.join(near)}?" if near else "`recbole-rlmrec doctor --models` lists all of them."
    return f"There is no model named {name!r}. {hint}"
