"""Keys of hosted models: read from the environment when they are used, kept nowhere, removed from what comes back."""

from __future__ import annotations

import os
import re

from requests.auth import AuthBase

from recbole_rlmrec.errors import ConfigError

SHORTEST_SECRET = 8
LONGEST_NAME = 64
HIDDEN = "[key]"
_names: set[str] = set()


def register(name: str) -> None:
    """Declare that the environment variable ``name`` holds a key.

    Raises
    ------
    ConfigError
        The variable is not set, or holds characters that no HTTP header may hold; or ``name`` is no name, but perhaps
        the key itself, which is not repeated.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > LONGEST_NAME:
        raise ConfigError("--api-key-env takes the name of an environment variable, such as OPENAI_API_KEY, not the key.")
    value = os.environ.get(name, "")
    if not value.strip():
        raise ConfigError(f"The environment variable {name} is not set; put the key of the model's server into it.")
    if not value.isascii() or any(character.isspace() for character in value.strip()):
        raise ConfigError(f"The environment variable {name} holds no key: it has spaces or non-ASCII characters.")
    _names.add(name)


def scrub(text: str) -> str:
    """``text`` without any registered key.

    Values of fewer than 8 characters are placeholders such as ``none`` and stay.
    """
    for name in _names:
        value = os.environ.get(name, "").strip()
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, HIDDEN)
    return text


class BearerKey(AuthBase):
    """Adds the key to a request. Holds the variable's name only; also keeps requests from looking into ``.netrc``.

    Parameters
    ----------
    name : str
        Of the environment variable; empty for no key.
    header : str
        Where the bare key goes in place of ``Authorization: Bearer``, such as Azure's ``api-key``.
    """

    def __init__(self, name: str = "", header: str = "") -> None:
        if name:
            register(name)
        self.name, self._header = name, header

    def __call__(self, request):
        if self.name:
            key = os.environ[self.name].strip()
            request.headers[self._header or "Authorization"] = key if self._header else f"Bearer {key}"
        return request
