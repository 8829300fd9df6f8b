"""Which models think before they answer, and the room that they get for it."""

from __future__ import annotations

import re

ROOM = 4096
"""Tokens that a model may think, beside those of its answer."""

_OPENAI = re.compile(r"(o\d|gpt-5)(?!\d)")
_THINKS = re.compile(
    r"deepseek-(r\d|reasoner)|(^|[-_.])r1(?![a-z0-9])|qwq|qwen3(?!.*(instruct|coder))|qwen.*thinking|thinking|magistral|gpt-oss|"
    r"glm-(4\.[5-9]|z1|[5-9])|kimi-k2-thinking|minimax-m\d|gemini-(2\.5|[3-9])|grok-(3-mini|[4-9])|nemotron|exaone-deep|"
    r"phi-4.*reasoning|reasoning|seed-oss|hunyuan-(a13b|t1)|sonar-reasoning|smollm3|skywork-or1|openthinker|marco-o1"
)
_PLAIN = re.compile(r"gpt-3\.5|gpt-4|qwen2|llama-?[23]|gemma-?[1-3]|mistral-(7b|small|large|nemo)|mixtral|phi-3")
_HERE = re.compile(r"transformers:|template$")


def takes_no_temperature(model: str) -> bool:
    """Whether it is one of OpenAI's models that know neither a temperature nor ``max_tokens``."""
    return bool(_OPENAI.match(_short(model)))


def thinks(model: str) -> bool | None:
    """Whether a model is known to think before it answers, known not to, or neither (None)."""
    name = _short(model)
    if takes_no_temperature(model) or _THINKS.search(name):
        return True
    return False if _PLAIN.match(name) or _HERE.match(model) else None


def efforts(model: str) -> tuple[str, ...]:
    """Values of ``reasoning_effort`` to try, the least first; none for a model that is not known to think."""
    if not thinks(model):
        return ()
    return ("minimal", "low") if _short(model).startswith("gpt-5") else ("low",)


def most_tokens(model: str, max_tokens: int, room: int) -> int:
    """The longest that one answer of a model may get, hidden thinking included."""
    return max_tokens if thinks(model) is False else max_tokens + room


def _short(model: str) -> str:
    """The name without the provider before it."""
    return model.lower().rpartition("/")[2]
