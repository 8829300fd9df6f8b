"""Answers that come as server-sent events, put together into the one object that they would have been otherwise."""

from __future__ import annotations

import json

MOST_EVENT_BYTES = 16 * 1024 * 1024
"""Longest stream: a token takes some hundred bytes of it."""


class BrokenStream(ValueError):
    """The events end before the answer does."""


def is_stream(content_type: str, body: bytes) -> bool:
    """Whether a response holds server-sent events, whatever its header says."""
    return "text/event-stream" in content_type or body.lstrip()[:6].startswith((b"data:", b"event:"))


def read_events(body: str) -> dict:
    """The chat completion that events spell out.

    Parameters
    ----------
    body : str
        The whole stream.

    Returns
    -------
    dict
        As a server answers that does not stream; an ``error`` event alone is returned as it is.

    Raises
    ------
    BrokenStream
        An event is no JSON, or none says how the answer ended.
    """
    message: dict = {"role": "assistant", "content": None}
    arguments: dict[int, str] = {}
    whole: dict = {}
    finish, done = None, False
    for data in _data(body):
        if data == "[DONE]":
            done = True
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise BrokenStream("an event is not JSON") from None
        if not isinstance(event, dict):
            continue
        if event.get("error"):
            return event
        whole |= {name: event[name] for name in ("id", "model", "usage") if event.get(name)}
        for choice in event.get("choices") or []:
            if isinstance(choice, dict) and not choice.get("index"):
                finish = choice.get("finish_reason") or finish
                _add(message, arguments, choice.get("delta") or choice.get("message") or {})
    if finish is None and not done:
        raise BrokenStream("it broke off")
    if arguments:
        message["tool_calls"] = [{"function": {"arguments": text}} for _, text in sorted(arguments.items())]
    return {**whole, "choices": [{"index": 0, "message": message, "finish_reason": finish or "stop"}]}


def _data(body: str):
    """Data of each event."""
    lines: list[str] = []
    for line in [*body.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines).strip()
            lines = []


def _add(message: dict, arguments: dict[int, str], delta: dict) -> None:
    """Append what one event brings."""
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        part = delta.get(name)
        if isinstance(part, list):
            message[name] = [*(message.get(name) or []), *part]
        elif isinstance(part, str):
            message[name] = (message.get(name) or "") + part
    for call in delta.get("tool_calls") or []:
        if isinstance(call, dict):
            number, function = call.get("index") or 0, call.get("function") or {}
            arguments[number] = arguments.get(number, "") + str(function.get("arguments") or "")
