"""A chat model behind an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.endpoint import Endpoint, RefusedError, RetryableError

_REASONS = re.compile(r"(openai/)?(o\d|gpt-5)(?!\d)")
"""Models of OpenAI that take neither a temperature nor ``max_tokens``."""


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
