"""How good profiles are, as far as that can be told without another model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.llm.prompt import Prompt, unwrap
from recbole_rlmrec.profiling.answers import count_words
from recbole_rlmrec.profiling.duplicates import count_near_duplicates, signature
from recbole_rlmrec.profiling.languages import is_in, known_language, language_of
from recbole_rlmrec.profiling.prompts import Domain
from recbole_rlmrec.profiling.questions import Questions

MOST_CHECKED = 1000
MOST_COMPARED = 20_000
SHORTEST_WORD = 4
MANY_CAPITALS = 0.4
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_ENDS = '.!?:;\n"\u201c\u201e\u00ab('


@dataclass(frozen=True)
class Checks:
    """What can be told of one profile.

    Attributes
    ----------
    words : int
    invented : list of str or None
        Names that stand nowhere in its question; None in languages that capitalise every noun, or none.
    taken_over : float or None
        Share of its words that stand in the data of its question.
    in_language : bool or None
        Whether it is in the language that was asked for.
    """

    words: int
    invented: list[str] | None
    taken_over: float | None
    in_language: bool | None


def check(text: str, prompt: Prompt | None, language: str) -> Checks:
    """Look at one profile.

    Parameters
    ----------
    text : str
    prompt : Prompt or None
        Its question; None where there is none any more.
    language : str
        As the domain names it.
    """
    wanted = known_language(language)
    asked = None if prompt is None else _known_words(prompt)
    words = [word for word in _plain_words(text) if len(word) >= SHORTEST_WORD]
    taken = sum(word in asked for word in words) / len(words) if asked is not None and words else None
    names = None if asked is None else [name for name in names_in(text) or [] if not _stem(name) & asked]
    names = None if names_in(text) is None else names
    return Checks(count_words(text), names, taken, is_in(text, wanted) if wanted else None)


def names_in(text: str) -> list[str] | None:
    """Words with a capital letter that do not begin a sentence; None where that says nothing, as in German."""
    found, capitals, letters = [], 0, 0
    for match in _WORD.finditer(text):
        word, before = match.group(), text[: match.start()].rstrip()
        letters += 1
        if word[0].isupper() and before and before[-1] not in _ENDS:
            capitals += 1
            found.append(word)
    if capitals > MANY_CAPITALS * letters or language_of(text) == "german":
        return None
    lower = {word for word in _WORD.findall(text) if word[0].islower()}
    return list(dict.fromkeys(word for word in found if word.lower() not in lower and len(word) > 1))


def _known_words(prompt: Prompt) -> set[str]:
    """Words of the data and of the instructions, which name the language and the form."""
    try:
        data = str(unwrap(prompt.user))
    except ValueError:
        data = prompt.user
    return {stem for word in _WORD.findall(data) for stem in _stem(word)}


def _stem(word: str) -> set[str]:
    """A word in lower case, with and without a possessive or plural ending."""
    plain = re.sub(r"['\u2019].*$", "", word.lower())
    return {plain, plain.removesuffix("s")} - {""}


def _plain_words(text: str) -> list[str]:
    return [re.sub(r"['\u2019].*$", "", word.lower()) for word in _WORD.findall(text)]


def describe_quality(questions: Questions, store: ProfileStore, domain: Domain, side: str) -> dict:
    """Figures over the stored profiles of one side, for the manifest.

    Names, words and language are checked for at most 1,000 profiles, near-duplicates for at most 20,000, evenly spaced.
    """
    place = {token: position for position, token in enumerate(questions.tokens(side))}
    texts = {profile.token: profile.profile for profile in store.iter(side) if profile.token in place}
    tokens = list(texts)
    if not tokens:
        return {}
    stored = questions.stored("item")
    checks = []
    for token in spaced(tokens, MOST_CHECKED):
        question = questions.question(side, place[token], stored.text)
        checks.append(check(texts[token], question.prompt if question else None, domain.language))
    stored.close()
    lengths = np.array([count_words(text) for text in texts.values()])
    near = [signature(texts[token]) for token in spaced(tokens, MOST_COMPARED)]
    limit = getattr(domain, side).max_words
    return {
        "domain": domain.name,
        "profiles": len(tokens),
        "checked": len(checks),
        "mean_words": round(float(lengths.mean()), 1),
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "over_limit": round(float((lengths > limit).mean()), 4),
        "with_invented_names": _share(bool(one.invented) for one in checks if one.invented is not None),
        "taken_over": _mean(one.taken_over for one in checks),
        "other_language": _share(not one.in_language for one in checks if one.in_language is not None),
        "near_duplicates": round(count_near_duplicates(near) / len(near), 4),
    }


def spaced(tokens: list[str], most: int) -> list[str]:
    """At most so many of the tokens, evenly spaced."""
    return tokens if len(tokens) <= most else [tokens[number * len(tokens) // most] for number in range(most)]


def _share(values: Iterable[bool]) -> float | None:
    return _mean(float(value) for value in values)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
