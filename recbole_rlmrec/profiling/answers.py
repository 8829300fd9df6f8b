"""From what a chat model answered to a profile: lenient about form, strict about content."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from recbole_rlmrec.llm.prompt import CLOSE, OPEN, Prompt, unwrap
from recbole_rlmrec.llm.secrets import scrub
from recbole_rlmrec.llm.thinking import Unfinished, final_text
from recbole_rlmrec.llm.tokens import UNSPACED
from recbole_rlmrec.profiling.objects import Ambiguous, any_object, find_objects

SUMMARY_KEYS = ("summarization", "summarisation", "summary")
SCHEMA = {
    "type": "object",
    "properties": {"summarization": {"type": "string"}, "reasoning": {"type": "string"}},
    "required": ["summarization", "reasoning"],
    "additionalProperties": False,
}
"""Of an answer, for servers that make a model keep to one."""
TOLERANCE = 1.25
NOTHING = {"", "none", "null", "n/a", "na", "unknown", "not available", "cannot summarize", "..."}
ECHO_WORDS = 12
FEWEST_ECHO_WORDS = 6
_FORM = re.compile(  # what shows the form of an answer in place of one
    r"[\s.\u2026]*|\W*(string|str|text|summary|summarization)\W*|[<\u2039\[{][^<>]*[>\u203a\]}]|"
    r"(your|the|a) (summary|summarization|profile|text|answer)( goes)?( here)?\W*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")


class BadAnswer(Exception):
    """The answer cannot be used; the message is the reason, in words that can be sent back to the model."""


@dataclass(frozen=True)
class Answer:
    """A summary and the reasoning behind it.

    Attributes
    ----------
    several : bool
        The model wrote other such answers before this one.
    """

    summary: str
    reasoning: str
    several: bool = False


def read_answer(text: str, prompt: Prompt) -> Answer:
    """Summary and reasoning of an answer: of several, the last.

    Parameters
    ----------
    text : str
        What the model wrote: a JSON object, perhaps after its thinking, in a code fence or in another object, with text
        around it or trailing commas, or in Python's notation.
    prompt : Prompt
        What was asked.

    Raises
    ------
    BadAnswer
        There is no such object, a key is missing, or the summary is empty, "None", too long or a copy of the prompt.
    """
    found = _candidates(_without_thinking(text))
    summary, reasoning = found[-1]
    _check(summary, prompt)
    if _says_nothing(reasoning):
        raise BadAnswer('"reasoning" is empty.')
    return Answer(summary, reasoning, any(other != summary for other, _ in found[:-1]))


def _without_thinking(text: str) -> str:
    try:
        return final_text(text)
    except Unfinished as reason:
        raise BadAnswer(str(reason)) from None


def _candidates(text: str) -> list[tuple[str, str]]:
    """Summaries and reasonings in the order of the text; those that only show the form are left out."""
    try:
        objects = find_objects(text, _has_summary)
    except Ambiguous as reason:
        raise BadAnswer(str(reason)) from None
    if not objects:
        raise BadAnswer(
            "The answer holds no JSON object."
            if not any_object(text)
            else 'The JSON object has no key "summarization" with a string.'
        )
    found, reason = [], None
    for entry in objects:
        try:
            found.append(_read_object(entry))
        except BadAnswer as said:
            reason = said
    shown = [entry for entry in found if not _FORM.fullmatch(entry[0])]
    if not found and reason is not None:
        raise reason
    return shown or found


def _has_summary(entry: dict) -> bool:
    return any(str(key).strip().lower() in SUMMARY_KEYS for key in entry)


def _read_object(entry: dict) -> tuple[str, str]:
    found = {str(key).strip().lower(): value for key, value in entry.items()}
    summary = next((found[key] for key in SUMMARY_KEYS if key in found), None)
    reasoning = found.get("reasoning", found.get("reason"))
    if summary is None:
        raise BadAnswer('"summarization" is null.')
    if not isinstance(summary, str):
        raise BadAnswer('The JSON object has no key "summarization" with a string.')
    if isinstance(reasoning, list) and reasoning and all(isinstance(part, str) for part in reasoning):
        reasoning = " ".join(reasoning)
    if not isinstance(reasoning, str):
        raise BadAnswer('The JSON object has no key "reasoning" with a string.')
    return tidy(summary), tidy(reasoning)


def find_object(text: str, key: str) -> dict:
    """The last object with a key in what a model wrote.

    Raises
    ------
    BadAnswer
        There is none.
    """
    text = _without_thinking(text)
    try:
        objects = find_objects(text, lambda entry: any(str(name).strip().lower() == key for name in entry))
    except Ambiguous as reason:
        raise BadAnswer(str(reason)) from None
    if not objects:
        raise BadAnswer("The answer holds no JSON object." if not any_object(text) else f'There is no key "{key}".')
    return {str(name).strip().lower(): value for name, value in objects[-1].items()}


def tidy(text: str) -> str:
    """One line without keys, control characters and halves of surrogate pairs."""
    text = scrub(text).encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def count_words(text: str) -> int:
    """Words; in scripts without spaces, two characters are taken for a word."""
    unspaced = len(UNSPACED.findall(text))
    return len(_WORD.findall(UNSPACED.sub(" ", text))) + (unspaced + 1) // 2


def _check(summary: str, prompt: Prompt) -> None:
    if _says_nothing(summary):
        raise BadAnswer(f'"summarization" is {summary or "empty"!r}.')
    words = count_words(summary)
    if words > prompt.max_words * TOLERANCE:
        raise BadAnswer(f'"summarization" has {words} words; at most {prompt.max_words} are allowed.')
    if OPEN in summary or CLOSE in summary or _echoes(summary, prompt):
        raise BadAnswer('"summarization" repeats the question.')


def _without_profiles(prompt: Prompt) -> str:
    try:
        data = unwrap(prompt.user)
        for entry in data.get("history", []):
            entry.pop("profile", None)
        return json.dumps(data, ensure_ascii=False)
    except (ValueError, AttributeError):
        return prompt.user


def _says_nothing(text: str) -> bool:
    return text.strip(" .\"'").lower() in NOTHING or _FORM.fullmatch(text) is not None


def _echoes(summary: str, prompt: Prompt) -> bool:
    """Whether all of it stands in the question, or a long run of its words in the instructions.

    Profiles of items in a user's question are answers, not the question: a model that gives one answer to everything has
    a bad prompt, which is told of all profiles together.
    """
    instructions, data = (" ".join(part.lower().split()) for part in (prompt.system, _without_profiles(prompt)))
    words = summary.lower().split()
    whole = " ".join(words)
    if len(words) >= FEWEST_ECHO_WORDS and (whole in instructions or whole in data):
        return True
    runs = range(len(words) - ECHO_WORDS + 1)
    return any(" ".join(words[start : start + ECHO_WORDS]) in instructions for start in runs)
