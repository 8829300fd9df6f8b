"""Chat models behind one small protocol: an OpenAI-compatible server, a local transformers model, offline templates.

A model of your own is any object with ``name``, ``parallel``, ``parameters()`` and ``ask(messages)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LOCAL_PREFIX = "transformers:"
TEMPLATE = "template"


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes
    ----------
    text : str
    prompt_tokens, completion_tokens : int or None
        As the server counted them; None where it does not say.
    finish : str
        Why it ended: "stop", "length", "content_filter", ...
    problem : str
        Why it is no answer, where asking again would not help: a refusal, a filter, thinking without an end.
    of_server : bool
        The problem is how the server is set up, so that every question would meet it.
    again : bool
        The model has changed its own settings because of this reply: ask once more. It was paid for nevertheless.
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish: str = "stop"
    problem: str = ""
    of_server: bool = False
    again: bool = False


class ChatModel(Protocol):
    """What profiling needs of a model.

    Attributes
    ----------
    name : str
        Part of the key of every answer.
    parallel : bool
        Whether several threads may ask at a time.
    """

    name: str
    parallel: bool

    def parameters(self) -> dict:
        """JSON-able settings that change the answers; part of the key of every answer."""

    def ask(self, messages: Sequence[dict[str, str]]) -> Reply:
        """Answer one conversation.

        Raises
        ------
        RetryableError, RefusedError, FatalError
            What to do about a failure, see :mod:`recbole_rlmrec.llm.faults`.
        """


def longest_answer(chat: ChatModel, otherwise: int) -> int:
    """Tokens that an answer may have at this moment; a model of one's own need not say."""
    return getattr(chat, "answer_limit", otherwise)
