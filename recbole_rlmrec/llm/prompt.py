"""A prompt, and the data inside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

OPEN, CLOSE = "<data>", "</data>"


@dataclass(frozen=True)
class Prompt:
    """One question.

    Attributes
    ----------
    side : str
        "item" or "user".
    token : str
        Whose profile is asked for; it is not in the question.
    system, user : str
        The two messages.
    pairs : tuple of (str, str)
        The training interactions (user token, item token) that the question quotes.
    max_words : int
        Longest summary.
    tokens : int
        Tokens of the question.
    times : tuple of float or None
        When each of the pairs took place, in the numbers of the data; empty where the data have no times.
    """

    side: str
    token: str
    system: str
    user: str
    pairs: tuple[tuple[str, str], ...]
    max_words: int
    tokens: int
    times: tuple[float | None, ...] = ()

    def messages(self) -> list[dict[str, str]]:
        """The conversation in the form that chat models take."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]

    def key(self, model: str, parameters: dict) -> str:
        """Identifies the answer: a hash of model, parameters and question, 32 hexadecimal digits."""
        asked = json.dumps([model, parameters, self.system, self.user], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:32]


def unwrap(message: str) -> dict:
    """The data in a user message made by :func:`wrap`."""
    return json.loads(message[message.index(OPEN) + len(OPEN) : message.rindex(CLOSE)])
