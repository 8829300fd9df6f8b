"""A reply out of what a server answered."""

from __future__ import annotations

import json
from typing import Any

from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.faults import RetryableError, clean
from recbole_rlmrec.llm.thinking import Unfinished, final_text

_TEXT_PARTS = (None, "text", "output_text")
LOST = (
    "The server calls the whole answer reasoning and leaves the answer itself empty: start it without its reasoning parser, or "
    "switch the thinking off, for example --request-field 'chat_template_kwargs={\"enable_thinking\": false}'."
)


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
        text = _text(message.get("content"))
        finish = str(choice.get("finish_reason") or "stop")
        usage = answer.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        thought = _text(message.get("reasoning_content") or message.get("reasoning"))
        text = text if text.strip() else _arguments(message) or text
        refusal = message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError("The server's answer is no chat completion: no choices[0].message.content.") from None
    prompt, completion = (n if isinstance(n, int) and not isinstance(n, bool) and n >= 0 else None for n in counts)
    problem, of_server = "", False
    if finish == "content_filter":
        problem = "The server's content filter withheld the answer."
    elif refusal and not text.strip():
        problem = f"The model refuses: {clean(str(refusal), 200)}"
    elif thought.strip() and not text.strip() and finish != "length":
        text, problem = (thought, "") if _is_object(thought) else ("", LOST)
        of_server = bool(problem)
    return Reply(text, prompt, completion, finish, problem, of_server)


def only_thought(reply: Reply) -> bool:
    """Whether an answer was cut off before its thinking had ended, seen or unseen."""
    if reply.finish != "length":
        return False
    try:
        return not final_text(reply.text).strip()
    except Unfinished:
        return True


def _text(content: Any) -> str:
    """Text of a message's content: a string, a part, or a list of them; parts of thinking are left out."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _text(content.get("text")) if content.get("type") in _TEXT_PARTS else ""
    if isinstance(content, list):
        return "".join(map(_text, content))
    raise TypeError


def _arguments(message: dict) -> str:
    """What a model put into a function call in place of an answer."""
    calls = message.get("tool_calls") or [{"function": message.get("function_call")}]
    found = [call["function"].get("arguments") for call in calls if isinstance(call.get("function"), dict)]
    return "\n".join(text if isinstance(text, str) else json.dumps(text) for text in found if text)


def _is_object(text: str) -> bool:
    """Whether a text is one JSON object and nothing else, so that no draft can be meant."""
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False
