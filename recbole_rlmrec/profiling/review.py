"""Profiles beside what they quote, to be read, and figures over all of them."""

from __future__ import annotations

import textwrap
from itertools import zip_longest

from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.llm.prompt import unwrap
from recbole_rlmrec.profiling.prompts import Domain
from recbole_rlmrec.profiling.quality import Checks, check, describe_quality, spaced
from recbole_rlmrec.profiling.questions import SIDES, Questions

COLUMN = 58
MOST_QUOTED = 700

_FIGURES = {
    "mean_words": "words on average",
    "shortest": "words of the shortest",
    "longest": "words of the longest",
    "over_limit": "longer than asked for",
    "with_invented_names": "with names that stand nowhere in the question",
    "taken_over": "of the words stand in the data",
    "other_language": "in another language than asked for",
    "near_duplicates": "nearly the same as another one",
}


def review(questions: Questions, store: ProfileStore, domain: Domain, number: int) -> str:
    """So many stored profiles of each side beside the data of their questions, then figures over all.

    Parameters
    ----------
    questions : Questions
    store : ProfileStore
    domain : Domain
    number : int
        Profiles of each side, evenly spaced over the file.
    """
    parts = []
    for side in SIDES:
        place = {token: position for position, token in enumerate(questions.tokens(side))}
        texts = {profile.token: profile.profile for profile in store.iter(side) if profile.token in place}
        items = questions.stored("item")
        for token in spaced(list(texts), number) if number else []:
            question = questions.question(side, place[token], items.text)
            prompt = question.prompt if question else None
            name = f" ({questions.builder.title(place[token])})" if side == "item" else ""
            found = check(texts[token], prompt, domain.language)
            quoted = _quoted(unwrap(prompt.user)) if prompt else "Nothing is known of it any more."
            parts.append(f"=== {side} {token}{name} ===\n{beside(texts[token], quoted)}\n{describe(found)}")
        items.close()
    for side in SIDES:
        figures = describe_quality(questions, store, domain, side)
        parts.append(describe_figures(side, figures) if figures else f"{side}s: no profiles are stored.")
    return "\n\n".join(parts)


def beside(left: str, right: str) -> str:
    """Two texts in two columns."""
    columns = [[line for part in text.splitlines() for line in textwrap.wrap(part, COLUMN)] for text in (left, right)]
    return "\n".join(f"{first:<{COLUMN}} | {second}".rstrip() for first, second in zip_longest(*columns, fillvalue=""))


def describe(found: Checks) -> str:
    """The checks of one profile, one line."""
    parts = [f"{found.words} words"]
    if found.taken_over is not None:
        parts.append(f"{found.taken_over:.0%} of its words stand in the data")
    if found.invented:
        parts.append(f"names that stand nowhere in the question: {', '.join(found.invented)}")
    if found.in_language is False:
        parts.append("in another language than asked for")
    return f"-> {'; '.join(parts)}"


def describe_figures(side: str, figures: dict) -> str:
    """The figures of one side, a line each; shares are of the profiles that were checked."""
    counts = f"{figures['profiles']:,} profiles, {figures['checked']:,} checked against their questions"
    lines = [f"{side}s, {figures['domain']}: {counts}"]
    for name, words in _FIGURES.items():
        value = figures[name]
        if value is not None:
            lines.append(f"  {value:.1%} {words}" if name in _SHARES else f"  {value:g} {words}")
    return "\n".join(lines)


_SHARES = ("over_limit", "with_invented_names", "taken_over", "other_language", "near_duplicates")


def _quoted(data: dict) -> str:
    """The data of a question as lines."""
    lines = []
    for name, value in data.items():
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            text = "; ".join(f"{key}: {part}" for key, part in entry.items()) if isinstance(entry, dict) else str(entry)
            text = " ".join(text.split())
            lines.append(f"{name}: {text if len(text) <= MOST_QUOTED else text[:MOST_QUOTED] + '...'}")
    return "\n".join(lines)
