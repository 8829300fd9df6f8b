"""Chat models behind one small protocol: an OpenAI-compatible server, a local transformers model, offline templates.

A model of your own is any object with ``name``, ``parallel``, ``parameters()`` and ``ask(messages)``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.profiling.prompts import unwrap
from recbole_rlmrec.profiling.transport import OPENAI_KEY, OPENAI_URL, Endpoint, RefusedError, RetryableError

LOCAL_PREFIX = "transformers:"
TEMPLATE = "template"
_REASONS = re.compile(r"(openai/)?(o\d|gpt-5)(?!\d)")
"""Models of OpenAI that take neither a temperature nor ``max_tokens``."""


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
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish: str = "stop"


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
            What to do about a failure, see :mod:`recbole_rlmrec.profiling.transport`.
        """


class OpenAIChat:
    """A model behind ``/chat/completions``: OpenAI, vLLM, Ollama, llama.cpp, LM Studio, OpenRouter.

    Options that the server refuses (``response_format``, ``temperature``, ``max_tokens`` under that name) are left out
    from then on.

    Parameters
    ----------
    model : str
    endpoint : Endpoint
    temperature : float
    max_tokens : int
        Longest answer.
    """

    parallel = True

    def __init__(self, model: str, endpoint: Endpoint, temperature: float = 0.0, max_tokens: int = 700) -> None:
        self.name = model
        self.endpoint = endpoint
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._options = {"response_format": {"type": "json_object"}}
        if _REASONS.match(model):
            self._options["max_completion_tokens"] = max_tokens
        else:
            self._options |= {"max_tokens": max_tokens, "temperature": temperature}

    def parameters(self) -> dict:
        """See :class:`ChatModel`."""
        return {"temperature": self._temperature, "max_tokens": self._max_tokens}

    def payload(self, messages: Sequence[dict[str, str]]) -> dict:
        """Body of the request."""
        return {"model": self.name, "messages": list(messages), **self._options}

    def ask(self, messages: Sequence[dict[str, str]]) -> Reply:
        """See :class:`ChatModel`."""
        while True:
            options = self._options
            try:
                return read_completion(self.endpoint.post("chat/completions", self.payload(messages)))
            except RefusedError as error:
                if not self._adapt(str(error).lower(), options):
                    raise

    def _adapt(self, said: str, sent: dict) -> bool:
        """Leave out the option that the server complains about; False when it complains about something else."""
        if "max_completion_tokens" in said and "max_tokens" in sent:
            changed = {name: value for name, value in sent.items() if name != "max_tokens"}
            self._options = {"max_completion_tokens": self._max_tokens, **changed}
            return True
        for name in ("response_format", "temperature"):
            if name in said and name in sent:
                self._options = {key: value for key, value in sent.items() if key != name}
                return True
        return False


def read_completion(answer: dict) -> Reply:
    """Reply out of a ``chat.completion`` object.

    Raises
    ------
    RetryableError
        It has another shape.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if isinstance(text, list):
            text = "".join(part.get("text", "") for part in text)
        text = text if text is not None else message.get("refusal") or ""
        finish = choice.get("finish_reason") or "stop"
        usage = answer.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(text, str):
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError("The server's answer is no chat completion: no choices[0].message.content.") from None
    prompt, completion = (n if isinstance(n, int) and not isinstance(n, bool) and n >= 0 else None for n in counts)
    return Reply(text, prompt, completion, str(finish))


class TemplateChat:
    """Answers from the question's own data, offline and at once: for trying the commands without a model."""

    name = TEMPLATE
    parallel = False

    def parameters(self) -> dict:
        """See :class:`ChatModel`."""
        return {}

    def ask(self, messages: Sequence[dict[str, str]]) -> Reply:
        """See :class:`ChatModel`."""
        data = unwrap(next(message["content"] for message in messages if message["role"] == "user"))
        history = data.get("history")
        if history is None:
            texts = [value for name, value in data.items() if name != "reviews"] + data.get("reviews", [])
            summary = "For those who look for: " + "; ".join(texts)
        else:
            summary = "Chose: " + "; ".join(next(iter(entry.values())) for entry in history)
        words = summary.split()[:80]
        reasoning = "Put together from the data by a template; no language model wrote it."
        return Reply(json.dumps({"summarization": " ".join(words), "reasoning": reasoning}), 0, 0)


def get_chat_model(
    name: str,
    base_url: str | None = None,
    key_name: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 700,
    timeout: float = 120.0,
    connections: int = 8,
) -> ChatModel:
    """The model of that name.

    Parameters
    ----------
    name : str
        A model of the server; ``transformers:FOLDER_OR_NAME`` for a local model; ``template`` for none.
    base_url : str, optional
        OpenAI's by default.
    key_name : str, optional
        Environment variable with the key. By default OPENAI_API_KEY for OpenAI's own address and none for any other.
    temperature, max_tokens, timeout, connections
        See :class:`OpenAIChat` and :class:`Endpoint`.

    Raises
    ------
    ConfigError
        No name; an unusable address; the variable is not set.
    """
    if not name:
        raise ConfigError("--chat-model needs a name, for example gpt-4o-mini.")
    if name == TEMPLATE:
        return TemplateChat()
    if name.startswith(LOCAL_PREFIX):
        from recbole_rlmrec.profiling.local import TransformersChat

        return TransformersChat(name.removeprefix(LOCAL_PREFIX), temperature, max_tokens)
    endpoint = get_endpoint(base_url, key_name, timeout, connections)
    return OpenAIChat(name, endpoint, temperature, max_tokens)


def get_endpoint(base_url: str | None, key_name: str | None, timeout: float = 120.0, connections: int = 8) -> Endpoint:
    """The server at ``base_url``; OpenAI's, with the key in OPENAI_API_KEY, by default."""
    url = (base_url or OPENAI_URL).rstrip("/")
    if key_name is None:
        key_name = OPENAI_KEY if url == OPENAI_URL else ""
    return Endpoint(url, key_name, timeout, connections)
