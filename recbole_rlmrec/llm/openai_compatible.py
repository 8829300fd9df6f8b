"""A chat model behind an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recbole_rlmrec.llm.adapting import Options, merged, usual_topics
from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.completion import only_thought, read_completion
from recbole_rlmrec.llm.endpoint import Endpoint
from recbole_rlmrec.llm.faults import RefusedError, RetryableError, UnusableError
from recbole_rlmrec.llm.reasoning import ROOM, efforts, most_tokens, takes_no_temperature, thinks

_NOT_IMPLEMENTED = (500, 501)
_CRASHES = 3
"""Errors 500 that say nothing, before the first answer, after which the request is made as plain as can be."""


class OpenAIChat:
    """A model behind ``/chat/completions``: OpenAI, Azure, vLLM, Ollama, llama.cpp, LM Studio, OpenRouter, LiteLLM.

    What the server refuses is left out or said otherwise from then on; a model that thinks unseen gets room for it.

    Parameters
    ----------
    model : str
    endpoint : Endpoint
    temperature : float
    max_tokens : int
        Longest answer.
    room : int
        Tokens of thinking beside it, for a model that thinks or turns out to.
    fields : mapping, optional
        Further fields of every request.
    schema : dict, optional
        JSON schema of the answers, for servers that keep to one.

    Attributes
    ----------
    most_tokens : int
        The longest that an answer can get in this run.
    """

    parallel = True

    def __init__(
        self,
        model: str,
        endpoint: Endpoint,
        temperature: float = 0.0,
        max_tokens: int = 700,
        room: int = ROOM,
        fields: Mapping | None = None,
        schema: dict | None = None,
    ) -> None:
        self.name = model
        self.endpoint = endpoint
        self._temperature, self._max_tokens, self._fields = temperature, max_tokens, dict(fields or {})
        self.most_tokens = most_tokens(model, max_tokens, room)
        openai = takes_no_temperature(model)
        topics = usual_topics(temperature, not openai, efforts(model), schema, openai)
        first = self.most_tokens if thinks(model) else max_tokens
        self._options = Options(topics, self._fields, first, self.most_tokens)
        self._answered, self._crashes = False, 0

    @property
    def answer_limit(self) -> int:
        """Tokens that an answer may have at this moment."""
        return self._options.limit

    def parameters(self) -> dict:
        """See :class:`ChatModel`."""
        settings = {"temperature": self._temperature, "max_tokens": self._max_tokens}
        return {**settings, "request": self._fields} if self._fields else settings

    def payload(self, messages: Sequence[dict[str, str]], with_schema: bool = True) -> dict:
        """Body of the request; without a schema where no refusal can be answered, as in a batch."""
        options = self._options.fields(() if with_schema else ("format",))
        if not with_schema and "response_format" not in self._fields:
            options["response_format"] = {"type": "json_object"}
        known = list(messages) if self._options.takes_system else merged(messages)
        return {"model": self.name, "messages": known, **options}

    def ask(self, messages: Sequence[dict[str, str]]) -> Reply:
        """See :class:`ChatModel`."""
        while True:
            sent = self._options.state()
            try:
                reply = read_completion(self.endpoint.post("chat/completions", self.payload(messages)))
            except UnusableError as error:
                return Reply(error.written)
            except RefusedError as error:
                if error.param == "model" or not self._options.adapt(error, sent):
                    raise self._options.explain(error) from None
            except RetryableError as error:
                if error.status not in _NOT_IMPLEMENTED:
                    raise
                if not self._options.adapt(error, sent):
                    self._crashed()
                    raise
            else:
                self._answered = True
                return self._with_room(reply, sent) if only_thought(reply) else reply

    def _crashed(self) -> None:
        """Find out whether a server that has answered nothing yet breaks at a part of the request that it does not name."""
        self._crashes += not self._answered
        if not self._answered and self._crashes in (_CRASHES, 2 * _CRASHES):
            self._options.be_plain(self._crashes == _CRASHES)

    def _with_room(self, reply: Reply, sent: tuple) -> Reply:
        if self._options.raise_limit(sent):
            return replace(reply, again=True)
        words = (
            f"The model thought for {sent[0]:,} tokens and came to no answer: give it more room (--max-reasoning-tokens, "
            "--max-answer-tokens) or let it think less, for example --request-field 'reasoning_effort=\"low\"'."
        )
        return replace(reply, problem=words, of_server=True)
