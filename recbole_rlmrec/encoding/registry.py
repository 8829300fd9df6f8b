"""Text encoders by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from recbole_rlmrec.encoding.base import TextEncoder
from recbole_rlmrec.encoding.lsa import LSA
from recbole_rlmrec.encoding.openai_compatible import PREFIX, OpenAICompatibleEncoder
from recbole_rlmrec.encoding.sentence_transformer import SentenceTransformerEncoder
from recbole_rlmrec.errors import ConfigError

# What a manifest of embeddings says of its encoder, and the option that asks for it.
_TOLD = {
    "normalised": "normalize",
    "prompt": "prompt",
    "precision": "precision",
    "backend": "backend",
    "max_dim": "dim",
    "revision": "revision",
}

ENCODERS: dict[str, Callable[..., TextEncoder]] = {"lsa": LSA, "openai": OpenAICompatibleEncoder}


def register_encoder(prefix: str, factory: Callable[..., TextEncoder]) -> None:
    """Make an encoder of your own known.

    Parameters
    ----------
    prefix : str
        The encoder serves the names ``PREFIX`` and ``PREFIX:anything``.
    factory : callable
        Called with the whole name and the options that the user gave; a class will do.
    """
    ENCODERS[prefix] = factory


def get_encoder(name: str, **options) -> TextEncoder:
    """The text encoder of a name.

    Parameters
    ----------
    name : str
        ``lsa``; ``openai:MODEL`` for an OpenAI-compatible server; a name of :func:`register_encoder`; or a model of
        sentence-transformers: a name on the hub or a folder.
    **options
        Parameters of the encoder's class; those that are None are left to its defaults.

    Raises
    ------
    ConfigError
        The encoder does not know an option, or its value is out of range.
    EncoderError
        The encoder cannot be loaded.
    """
    factory = ENCODERS.get(name.partition(":")[0], SentenceTransformerEncoder)
    options = {key: value for key, value in options.items() if value is not None}
    known = [parameter for parameter in inspect.signature(factory).parameters if parameter != "name"]
    if unknown := [key for key in options if key not in known]:
        raise ConfigError(f"The encoder {name!r} does not know {', '.join(unknown)}; it knows {', '.join(known)}.")
    return factory(name, **options)


def same_encoder(manifest: dict) -> TextEncoder | None:
    """The encoder that made some embeddings, with the same settings.

    Parameters
    ----------
    manifest : dict
        ``manifest.json`` of the embeddings.

    Returns
    -------
    TextEncoder or None
        None where it cannot be made here again: it is behind a server, to which nothing is sent without being asked, or
        the embeddings were imported.

    Raises
    ------
    EncoderError
        The encoder cannot be loaded, or is another by now.
    """
    name = str(manifest.get("encoder"))
    if not manifest.get("fingerprint") or manifest.get("server") or name.startswith(PREFIX):
        return None
    factory = ENCODERS.get(name.partition(":")[0], SentenceTransformerEncoder)
    known = inspect.signature(factory).parameters
    return get_encoder(name, **{option: manifest.get(told) for told, option in _TOLD.items() if option in known})
