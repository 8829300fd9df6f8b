"""What a model thinks aloud, removed from its answer."""

from __future__ import annotations

import json
import re

_NAMES = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad)"
_MARKERS = (
    (rf"<{_NAMES}>", rf"</{_NAMES}>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"\u25c1think\u25b7", r"\u25c1/think\u25b7"),
    (r"<\|(?:begin_of_thought|START_THINKING)\|>", r"<\|(?:end_of_thought|END_THINKING)\|>"),
    (r"<unused94>", r"<unused95>"),
    (r"<\|channel\|>\s*(?:analysis|commentary)\b", r"<\|channel\|>\s*final\b[^<{]*(?:<\|message\|>)?"),
    (r"\Aanalysis(?=[A-Z])", r"assistant\s?final(?=\s*[{`\[])"),
)
"""Where thinking begins and ends, by family: tags (DeepSeek-R1, Qwen, GLM, Seed), Mistral, Kimi, Command A and others,
MedGemma, the channels of gpt-oss with and without their special tokens."""
_OPEN = re.compile("|".join(opening for opening, _ in _MARKERS), re.IGNORECASE)
_CLOSE = re.compile("|".join(closing for _, closing in _MARKERS), re.IGNORECASE)
_LABEL = re.compile(
    r"(?:^|\n)[ \t#*_>]*(?:(?:my |the )?final (?:answer|response|output)|here is my response)[ \t]*[:*_]+[ \t*_]*",
    re.IGNORECASE,
)
_REST = re.compile(r"<\|[A-Za-z_]+\|>|</?(?:answer|final|response|output)>", re.IGNORECASE)


class Unfinished(ValueError):
    """The text ends while the model is still thinking."""


def final_text(text: str) -> str:
    """The answer without the thinking before it.

    What follows the last closing marker counts, whether or not the opening one is there (templates of reasoning models
    open it in the question); without markers, what follows the last "Final answer:". A text that is JSON as a whole is
    not touched: what looks like a marker in it is quoted.

    Raises
    ------
    Unfinished
        Thinking was opened and not closed, or nothing follows it.
    """
    if _is_json(text):
        return text
    closings = list(_CLOSE.finditer(text))
    rest = text[closings[-1].end() :] if closings else text
    opened = _OPEN.search(rest)
    if opened:
        if not rest[: opened.start()].rstrip().endswith(("}", "`")):
            raise Unfinished("The answer ends within the model's thinking.")
        rest = rest[: opened.start()]
    if closings and not rest.strip():
        raise Unfinished("Nothing follows the model's thinking.")
    labels = [label for label in _LABEL.finditer(rest) if "{" in rest[label.end() :]]
    rest = rest[labels[-1].end() :] if labels else rest
    return _REST.sub(" ", rest)


def _is_json(text: str) -> bool:
    text = text.strip()
    if not text.startswith(("{", "[", '"')):
        return False
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
