"""Options of a request, changed by what a server refuses or demands, for the rest of the run."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.faults import Fault, RefusedError

LEAST_POSITIVE = 0.01
FEWEST_TOKENS = 16
RESERVED = ("model", "messages", "max_tokens", "max_completion_tokens")
_NUMBER = re.compile(r"(?<![\w.-])\d{2,7}(?![\w-]|\.\d)")

logger = getLogger()


@dataclass
class Topic:
    """One thing that servers differ in.

    Attributes
    ----------
    forms : list of dict
        Fields of the request, in the order in which they are tried.
    names : set of str
        What an error names that is about it, beside the fields of the present form.
    at : int
        The form in use.
    """

    forms: list[dict]
    names: set[str] = field(default_factory=set)
    at: int = 0

    @property
    def fields(self) -> dict:
        """Fields of the form in use."""
        return self.forms[self.at]

    def concerned(self, names: set[str]) -> bool:
        """Whether an error that names these is about it."""
        return bool(names & (self.names | set(self.fields)))


class Options:
    """What a request holds beside model and messages.

    A refusal is answered by the next form of what it names: not by its wording, of which every server has its own.

    Parameters
    ----------
    topics : mapping of str to Topic
        The first that an error is about is changed. "system" has no fields: its second form means that the server knows no
        system role.
    fixed : mapping
        Fields that the user asked for; they are never changed, and null ones are left out of requests.
    limit, most : int
        Tokens of an answer at first, and at most where a model turns out to think unseen.
    """

    def __init__(self, topics: Mapping[str, Topic], fixed: Mapping, limit: int, most: int) -> None:
        self._topics = {
            name: topic for name, topic in topics.items() if not any(set(form) & set(fixed) for form in topic.forms)
        }
        self._fixed = dict(fixed)
        self.least, self.limit, self.most = min(limit, most), limit, most
        self._lock = threading.Lock()

    @property
    def takes_system(self) -> bool:
        """Whether the server knows the system role, as far as is known."""
        return not self._topics["system"].at

    def fields(self, without: Iterable[str] = ()) -> dict:
        """Fields of a request, those of some topics left out."""
        found: dict = {}
        for name, topic in self._topics.items():
            if name not in without:
                found |= {key: self.limit if value is LIMIT else value for key, value in topic.fields.items()}
        return {name: value for name, value in {**found, **self._fixed}.items() if value is not None}

    def state(self) -> tuple:
        """Which forms are in use; to be handed to :meth:`adapt` with the error that came of it."""
        return (self.limit, *(topic.at for topic in self._topics.values()))

    def adapt(self, error: Fault, sent: tuple) -> bool:
        """Change what a server complains about; False when it complains about something else.

        Parameters
        ----------
        error : Fault
        sent : tuple
            :meth:`state` of when the request was sent; where it has changed since, the request is worth another try.
        """
        with self._lock:
            if self.state() != sent:
                return True
            asked = {_last(error.param)} - {""} or error.names
            return self._change(error, asked) or (asked != error.names and self._change(error, error.names))

    def raise_limit(self, sent: tuple) -> bool:
        """Give a model that thinks unseen the room for it; False when it had that already."""
        with self._lock:
            if sent[0] >= self.most:
                return False
            if self.limit < self.most:
                self.limit = self.most
                logger.warning(
                    f"The model thinks before it answers and used up its {sent[0]:,} tokens: from now on an answer may take "
                    f"{self.most:,} (--max-reasoning-tokens)."
                )
            return True

    def be_plain(self, plain: bool) -> None:
        """Leave out structured output, effort and system role, or take them in again."""
        with self._lock:
            for name in ("system", "format", "effort"):
                if name in self._topics:
                    topic = self._topics[name]
                    topic.at = len(topic.forms) - 1 if plain else 0
        if plain:
            logger.warning(
                "The server breaks and does not say at what: the request is changed to a plain one, with the instructions in "
                "the user message."
            )

    def explain(self, error: RefusedError) -> RefusedError:
        """The error, with the name of the ``--request-field`` that it is about."""
        asked = [name for name in self._fixed if name.lower() in error.names]
        if not asked:
            return error
        words = f"{error} --request-field {asked[0]} asks for that."
        return RefusedError(words, error.status, error.said, error.param)

    def _change(self, error: Fault, names: set[str]) -> bool:
        for name, topic in self._topics.items():
            if not topic.concerned(names) or (name == "system" and not _about_roles(error)):
                continue
            if name == "limit" and (lower := self._lower(error)):
                self.limit = lower
                self.most = max(self.most // 2, lower) if lower == self.least else lower
                logger.warning(f"{error} An answer may take {lower:,} tokens from now on.")
                return True
            if topic.at + 1 < len(topic.forms):
                topic.at += 1
                logger.warning(f"{error} The request is changed from now on: {_told(name, topic.fields)}.")
                return True
        return False

    def _lower(self, error: Fault) -> int | None:
        """The limit that a server would take; None where the name and not the number is at fault."""
        numbers = sorted(int(number) for number in _NUMBER.findall(error.said))
        smaller = [number for number in numbers if FEWEST_TOKENS <= number < self.limit]
        if self.limit not in numbers and not smaller:
            return None
        if self.limit > self.least:
            return self.least
        return None if isinstance(error, RefusedError) and error.concerns_question else max(smaller, default=None)


LIMIT = object()
"""Stands in a form for the longest answer."""


def usual_topics(
    temperature: float, temperature_taken: bool, efforts: Sequence[str], schema: dict | None, new_limit: bool
) -> dict[str, Topic]:
    """The topics of ``/chat/completions``.

    Parameters
    ----------
    temperature : float
    temperature_taken : bool
        Whether the model is known to take one.
    efforts : sequence of str
        Values of ``reasoning_effort``.
    schema : dict, optional
        JSON schema of the answer.
    new_limit : bool
        Whether ``max_completion_tokens`` is tried first.
    """
    limits = [{"max_completion_tokens": LIMIT}, {"max_tokens": LIMIT}]
    forms = [{"temperature": temperature}] + ([{"temperature": LEAST_POSITIVE}] if temperature == 0 else []) + [{}]
    structured = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    formats = [{"response_format": structured}] if schema else []
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    off = {"enable_thinking": False}
    return {
        "thinking": Topic([{}, off, {"chat_template_kwargs": off}, {}], {"enable_thinking"}),
        "limit": Topic(limits if new_limit else limits[::-1], {"max_tokens", "max_completion_tokens"}),
        "effort": Topic([*({"reasoning_effort": value} for value in efforts), {}], {"reasoning"}),
        "format": Topic(
            [*formats, {"response_format": {"type": "json_object"}}, {}],
            {"json_schema", "json_object", "grammar", "xgrammar", "guided_json", "structured_outputs"},
        ),
        "stream": Topic([{}, stream, {"stream": True}], {"stream", "streaming", "stream_options"}),
        "temperature": Topic(forms if temperature_taken else [{}]),
        "system": Topic([{}, {}], {"system", "developer", "role", "roles"}),
    }


def read_fields(given: Sequence[str]) -> dict:
    """Fields of requests out of ``KEY=JSON`` options.

    Raises
    ------
    ConfigError
        One is not of that form, or is not the user's to choose.
    """
    import json

    fields = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ConfigError(f"--request-field takes KEY=JSON, for example top_p=0.9, not {entry!r}.")
        if name in RESERVED:
            raise ConfigError(f"--request-field cannot set {name}: --chat-model and --max-answer-tokens do.")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            raise ConfigError(
                f"--request-field {name}: {value!r} is not JSON; texts need double quotes, --request-field '{name}=\"...\"'."
            ) from None
    return fields


def merged(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation for a model that knows no system role: the instructions begin the first user message."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if system and rest:
        rest[0]["content"] = "\n\n".join([*system, rest[0]["content"]])
    return rest


def _about_roles(error: Fault) -> bool:
    """Whether an error of the server's own making is about roles; a "system error" is not."""
    return isinstance(error, RefusedError) or bool({"role", "roles"} & error.names)


def _last(param: str) -> str:
    """``role`` of ``messages[0].role``, ``response_format`` of ``response_format.type``."""
    parts = [part for part in re.split(r"[.\[\]\d]+", param) if part]
    return (parts[0] if parts and parts[0] != "messages" else parts[-1] if parts else "").lower()


def _told(name: str, fields: dict) -> str:
    if name == "system":
        return "the instructions go into the user message"
    if not fields:
        return f"{name} is left out"
    kinds = {key: value.get("type", "set") if isinstance(value, dict) else value for key, value in fields.items()}
    return ", ".join(key if value is LIMIT else f"{key} is {value}" for key, value in kinds.items())
