"""Servers as people meet them: plans for the loopback server, one family of behaviour each."""

from __future__ import annotations

import json
from collections.abc import Callable

from loopback import completion, profile_of

Plan = Callable[[int, dict], tuple | None]
DRAFT = json.dumps({"summarization": "A draft that nobody should ever see stored.", "reasoning": "I am still thinking."})


def good(payload: dict) -> str:
    """The answer that the question deserves, as text."""
    return completion(payload)["choices"][0]["message"]["content"]


def saying(text: str | None, payload: dict, finish: str = "stop", tokens: int | None = None, **message) -> tuple[int, dict]:
    """An answer of that text, with other parts of the message."""
    whole = completion(payload)
    whole["choices"] = [{"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]
    if tokens is not None:
        whole["usage"]["completion_tokens"] = tokens
    return 200, whole


def refusal(message: str, status: int = 400, **more) -> tuple[int, dict]:
    """An error in OpenAI's form."""
    return status, {"error": {"message": message, "type": "invalid_request_error", **more}}


def wrapping(shape: Callable[[str], str]) -> Plan:
    """Every answer is put into a shape."""
    return lambda number, payload: saying(shape(good(payload)), payload)


def thinking_unseen(needs: int, shown: str = "") -> Plan:
    """A model that spends ``needs`` tokens on thinking before it answers, within ``max_tokens``."""

    def plan(number: int, payload: dict) -> tuple[int, dict]:
        most = payload.get("max_tokens") or payload.get("max_completion_tokens")
        if most < needs:
            return saying(shown, payload, "length", most)
        return saying(f"{shown}</think>{good(payload)}" if shown else good(payload), payload, tokens=needs)

    return plan


def events(payload: dict, pieces: int = 7, usage: bool = True, done: bool = True, head: str = "") -> tuple[int, bytes, dict]:
    """The good answer as server-sent events."""
    text, whole = good(payload), completion(payload)
    size = max(len(text) // pieces, 1)
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    chunks = [{"id": "x", "choices": [{"index": 0, "delta": {"content": part}}]} for part in ["", *parts]]
    chunks.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        chunks.append({"id": "x", "choices": [], "usage": whole["usage"]})
    lines = [head, *(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in chunks), "data: [DONE]\n\n" if done else ""]
    return 200, "".join(lines).encode(), {"Content-Type": "text/event-stream; charset=utf-8"}


def stored(setup) -> dict[str, str]:
    """All profiles by side and token."""
    return {f"{side} {found.token}": found.profile for side in ("item", "user") for found in setup.store.iter(side)}


def everyone(setup, server) -> bool:
    """Whether all have the profile that their question deserves."""
    found = list(stored(setup).values())
    expected = {profile_of(payload["messages"]) for payload in server.payloads if len(payload["messages"]) == 2}
    return len(found) == 14 and set(found) <= expected
