"""From what a chat model answered to a profile: lenient about form, strict about content."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from recbole_rlmrec.llm.prompt import CLOSE, OPEN, Prompt
from recbole_rlmrec.llm.secrets import scrub
from recbole_rlmrec.llm.tokens import UNSPACED

SUMMARY_KEYS = ("summarization", "summarisation", "summary")
TOLERANCE = 1.25
NOTHING = {"", "none", "null", "n/a", "na", "unknown", "not available", "cannot summarize", "..."}
ECHO_WORDS = 12
FEWEST_ECHO_WORDS = 6
LONGEST_ANSWER = 65536
MOST_CANDIDATES = 50
_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_DECODER = json.JSONDecoder(strict=False)


class BadAnswer(Exception):
    """The answer cannot be used; the message is the reason, in words that can be sent back to the model."""


def read_answer(text: str, prompt: Prompt) -> tuple[str, str]:
    """Summary and reasoning of an answer.

    Parameters
    ----------
    text : str
        What the model wrote: a JSON object, perhaps in a code fence, with text around it or trailing commas.
    prompt : Prompt
        What was asked.

    Raises
    ------
    BadAnswer
        There is no such object, a key is missing, or the summary is empty, "None", too long or a copy of the prompt.
    """
    found = {key.strip().lower(): value for key, value in find_object(text).items()}
    summary = next((found[key] for key in SUMMARY_KEYS if key in found), None)
    reasoning = found.get("reasoning", found.get("reason"))
    if summary is None and any(key in found for key in SUMMARY_KEYS):
        raise BadAnswer('"summarization" is null.')
    if not isinstance(summary, str):
        raise BadAnswer('The JSON object has no key "summarization" with a string.')
    if not isinstance(reasoning, str):
        raise BadAnswer('The JSON object has no key "reasoning" with a string.')
    summary, reasoning = tidy(summary), tidy(reasoning)
    _check(summary, prompt)
    if reasoning.strip(" .\"'").lower() in NOTHING:
        raise BadAnswer('"reasoning" is empty.')
    return summary, reasoning


def find_object(text: str) -> dict:
    """The first JSON object in ``text`` that has a summary, else the first one at all.

    Raises
    ------
    BadAnswer
        There is none.
    """
    text = _THINKING.sub("", text[:LONGEST_ANSWER])
    first = None
    for candidate in (text, _TRAILING_COMMA.sub(lambda match: match.group(1) or "", text)):
        for value in _objects(candidate):
            if any(key.strip().lower() in SUMMARY_KEYS for key in value):
                return value
            first = value if first is None else first
    if first is None:
        raise BadAnswer("The answer holds no JSON object.")
    return first


def _objects(text: str) -> Iterator[dict]:
    start = text.find("{")
    for _ in range(MOST_CANDIDATES):
        if start < 0:
            return
        try:
            value, end = _DECODER.raw_decode(text, start)
            yield value
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)


def tidy(text: str) -> str:
    """One line without keys, control characters and halves of surrogate pairs."""
    text = scrub(text).encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def count_words(text: str) -> int:
    """Words; in scripts without spaces, two characters are taken for a word."""
    unspaced = len(UNSPACED.findall(text))
    return len(_WORD.findall(UNSPACED.sub(" ", text))) + (unspaced + 1) // 2


def _check(summary: str, prompt: Prompt) -> None:
    if summary.strip(" .\"'").lower() in NOTHING:
        raise BadAnswer(f'"summarization" is {summary or "empty"!r}.')
    words = count_words(summary)
    if words > prompt.max_words * TOLERANCE:
        raise BadAnswer(f'"summarization" has {words} words; at most {prompt.max_words} are allowed.')
    if OPEN in summary or CLOSE in summary or _echoes(summary, prompt):
        raise BadAnswer('"summarization" repeats the question.')


def _echoes(summary: str, prompt: Prompt) -> bool:
    """Whether all of it stands in the question, or a long run of its words in the instructions."""
    instructions, data = (" ".join(part.lower().split()) for part in (prompt.system, prompt.user))
    words = summary.lower().split()
    whole = " ".join(words)
    if len(words) >= FEWEST_ECHO_WORDS and (whole in instructions or whole in data):
        return True
    runs = range(len(words) - ECHO_WORDS + 1)
    return any(" ".join(words[start : start + ECHO_WORDS]) in instructions for start in runs)
