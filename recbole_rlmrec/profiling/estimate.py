"""What the command says: prompts before money is spent, estimates, summaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from logging import getLogger
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_rlmrec.data.columns import Columns, left_out
from recbole_rlmrec.llm.cost import SAFETY, Price, Usage, expected_completion
from recbole_rlmrec.profiling.prompts import Domain
from recbole_rlmrec.profiling.questions import QUOTED_ANSWER, SIDES, Question, Questions, Tally
from recbole_rlmrec.profiling.stored import Stored
from recbole_rlmrec.profiling.tag import SideSummary

MANY_DUPLICATES = 0.05
CORRECTION_TOKENS = round(0.8 * QUOTED_ANSWER) + 100
"""What an unusable answer and the request for a better one add to a question, at most."""
USUAL_THINKING = 400
"""Tokens that a model thinks with little effort; an assumption."""
SAMPLE = 2000
"""Questions of a kind that are made to estimate how long all of them are."""
_TWO_SIDED_95 = 1.96

logger = getLogger()


def describe_columns(columns: Columns, dated: bool = False) -> str:
    """Which column was taken for what, and the options that change it; the times only where questions have dates."""
    roles = {
        "--title-field": columns.title,
        "--description-field": columns.description,
        "--attribute-fields": ",".join([*columns.attributes, *filter(None, [columns.year])]),
        "--review-fields": ",".join(columns.reviews),
        "--rating-field": columns.rating,
    }
    if columns.timestamp and dated:
        roles["--date-field"] = columns.timestamp
    said = ", ".join(f"{option}={column or '(none)'}" for option, column in roles.items())
    return said if not columns.aggregates else f"{said}; {left_out(columns.aggregates)}"


def show_prompts(questions: Questions, domain: Domain, number: int) -> str:
    """The first questions of both sides as they would be sent."""
    parts = []
    for side in SIDES:
        parts.append(f"=== {side}: system prompt ({domain.name}, {domain.language}) ===\n{questions.builder.system[side]}")
        shown = islice(_all_questions(questions, side, domain), number)
        parts += [
            f"=== {side} {question.prompt.token}: {question.prompt.tokens} tokens ===\n{question.prompt.user}"
            for question in shown
        ]
    return "\n\n".join(parts)


def _all_questions(questions: Questions, side: str, domain: Domain) -> Iterator[Question]:
    profile_of = stand_in(questions, domain, "(the profile of this item, which is written first)")
    for position in range(len(questions.tokens(side))):
        question = questions.question(side, position, profile_of)
        if question is not None:
            yield question


def stand_in(questions: Questions, domain: Domain, text: str | None = None, stored: Stored | None = None):
    """Profiles of items as far as they are stored, and a text of the usual length for those that will get one."""
    stored = stored or questions.stored("item")
    filler = text or " ".join(["word"] * round(0.7 * domain.item.max_words))
    asked = cache(questions.builder.has_text)
    return lambda position: stored.text(position) or (filler if asked(position) else None)


@dataclass(frozen=True)
class Estimate:
    """What the open questions of one side would take.

    Attributes
    ----------
    side : str
    usage, most : Usage
        Usually, and at most.
    error : Usage
        Half of the interval in which ``usage`` lies with a probability of 95%; nothing where every question was made.
    """

    side: str
    usage: Usage
    most: Usage
    error: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class Limits:
    """How far a run may go beyond what is usual.

    Attributes
    ----------
    answer, longest : int
        Tokens of an answer, and with hidden thinking.
    attempts : int
        Answers that are bought for one question where they cannot be used.
    prompt : int
        Tokens of the longest question.
    exact : bool
        Whether tokens are counted and not estimated.
    thinks : bool
        Whether the model is known to think unseen.
    """

    answer: int
    longest: int
    attempts: int = 1
    prompt: int = 0
    exact: bool = True
    thinks: bool = False

    def __str__(self) -> str:
        """What "at most" takes into account, one sentence."""
        room = " with hidden thinking (--max-reasoning-tokens)" if self.longest > self.answer else ""
        return f"At most means {self.attempts} answers to each question (--max-attempts) of {self.longest:,} tokens{room}."


def estimate(
    questions: Questions, domain: Domain, limits: Limits, sample: int | None = None, show_progress: bool = False
) -> list[Estimate]:
    """Requests and tokens that are still to come, items and then users.

    Usual: an answer for each question, of typical length (:func:`expected_completion`), and item profiles that do not exist
    yet of 0.7 of the longest. Most: every question is asked as often as it may be, with the longest answers and item
    profiles, estimated tokens a quarter off, and one answer wasted in which the model shows that it thinks.

    Parameters
    ----------
    questions : Questions
        Afterwards with the tally of each side.
    domain : Domain
    limits : Limits
    sample : int, optional
        How many questions of a kind (never asked before; stored or failed) to make, where there are more: the others are
        taken to be like them. All by default.
    show_progress : bool
        Whether to show a progress bar.
    """
    estimates, described = [], None
    about_items = questions.stored("item")
    for side in SIDES:
        stored = about_items if side == "item" else questions.stored(side)
        groups, tally = questions.groups(side, stored, described)
        profile_of = stand_in(questions, domain, stored=about_items) if side == "user" else None
        picked = [_picked(group, sample) for group in groups]
        usual, most, variance = np.zeros(3), np.zeros(3), np.zeros(3)
        with tqdm(total=sum(map(len, picked)), desc=f"Estimate {side}s", ncols=100, disable=not show_progress) as bar:
            for group, positions in zip(groups, picked):
                if not len(positions):
                    continue
                pending = questions.pending(side, stored, profile_of, _told(positions, bar))
                each = np.array([_costs(question, side, domain, limits) for question in pending]).reshape(-1, 2, 3)
                scale = len(group) / len(positions)
                usual, most = usual + scale * each[:, 0].sum(axis=0), most + scale * each[:, 1].sum(axis=0)
                variance = variance + _variance(each[:, 0], len(positions), len(group))
                _add(tally, questions.tally[side], scale)
        questions.tally[side] = tally
        if side == "item":
            described = questions.builder.may_ask("item") | stored.all_covered()
        if usual[0] and limits.longest > limits.answer and not limits.thinks:
            most = most + np.array([1, round(limits.prompt * SAFETY), limits.answer])
        estimates.append(Estimate(side, _usage(usual), _usage(most), _usage(_TWO_SIDED_95 * np.sqrt(variance))))
    return estimates


def _picked(group: np.ndarray, sample: int | None) -> np.ndarray:
    if sample is None or len(group) <= sample:
        return group
    return group[np.sort(np.random.default_rng(0).choice(len(group), sample, replace=False))]


def _told(positions: np.ndarray, bar) -> Iterator[int]:
    for position in positions.tolist():
        yield position
        bar.update()


def _costs(question: Question, side: str, domain: Domain, limits: Limits) -> tuple[tuple, tuple]:
    """Requests, prompt and completion tokens of a question, usually and at most."""
    typical = expected_completion(getattr(domain, side).max_words) + (USUAL_THINKING if limits.thinks else 0)
    completion = min(limits.longest if limits.thinks else limits.answer, typical)
    longer = question.tokens + (len(question.prompt.pairs) * limits.answer if side == "user" else 0)
    first = max(question.tokens, min(longer, limits.prompt))
    again = (limits.attempts - 1) * (first + CORRECTION_TOKENS)
    prompts = round((first + again) * (1 if limits.exact else SAFETY))
    return (1, question.tokens, completion), (limits.attempts, prompts, limits.attempts * limits.longest)


def _variance(each: np.ndarray, drawn: int, size: int) -> np.ndarray:
    """Variance of the estimated sums [3] over ``size`` of which ``drawn`` were drawn, those without a question being zeros."""
    if drawn == size:
        return np.zeros(3)
    mean = each.sum(axis=0) / drawn
    squares = ((each - mean) ** 2).sum(axis=0) + (drawn - len(each)) * mean**2
    return size * (size - drawn) * squares / (drawn - 1) / drawn


def _usage(numbers: np.ndarray) -> Usage:
    return Usage(*(round(float(number)) for number in numbers))


def _add(tally: Tally, found: Tally, scale: float) -> None:
    for name, count in vars(found).items():
        setattr(tally, name, getattr(tally, name) + round(scale * count))


def describe_estimate(estimates: list[Estimate], price: Price | None, model: str, counted: str, batch: bool) -> str:
    """The estimate as a few lines."""
    lines = [f"Estimate for {model}{' through the Batch API' if batch else ''}; prompt tokens are {counted}."]
    usual, most, error = Usage(), Usage(), Usage()
    for entry in estimates:
        usual.add(entry.usage)
        most.add(entry.most)
    for name in vars(error):
        setattr(error, name, round(sum(getattr(entry.error, name) ** 2 for entry in estimates) ** 0.5))
    lines += [
        f"{entry.side:>6}: {_about(entry, 'requests')} requests, {_about(entry, 'prompt_tokens')} prompt tokens, "
        f"about {entry.usage.completion_tokens:,} completion tokens{_money(entry, price)}"
        for entry in [*estimates, Estimate("total", usual, most, error)]
    ]
    if error.prompt_tokens:
        lines.append(f"+/- is the 95% interval of a sample of {SAMPLE:,} questions of each kind; --exact counts all of them.")
    if price is None:
        lines.append(f"The price table has no {model}: give --price-in and --price-out (US dollars per million tokens).")
    elif usual.requests:
        usd = price.usd(usual.prompt_tokens, usual.completion_tokens) / usual.requests
        lines.append(f"That is ${1000 * usd:.3f} per 1,000 profiles. Prices change: check them (--help says where).")
    return "\n".join(lines)


def _about(entry: Estimate, name: str) -> str:
    number, error = getattr(entry.usage, name), getattr(entry.error, name)
    return f"{number:,} +/- {error:,}" if error else f"{number:,}"


def _money(entry: Estimate, price: Price | None) -> str:
    if price is None:
        return ""
    usual = price.usd(entry.usage.prompt_tokens, entry.usage.completion_tokens)
    return f", ${usual:,.4f} (at most ${price.usd(entry.most.prompt_tokens, entry.most.completion_tokens):,.4f})"


def describe_result(summaries: list[SideSummary], used: Usage, usd: float | None, retry: str, listed: Path) -> str:
    """What a run has come to, as a few lines; ``retry`` is the option that asks again for what ``listed`` holds."""
    lines = []
    for summary in summaries:
        lines.append(
            f"{summary.side} profiles: {summary.covered:,} of {summary.total:,}, {summary.failed:,} failed, "
            f"{summary.mean_words:.0f} words on average, {summary.duplicates:,} with the same text as another"
        )
        if summary.covered and summary.duplicates > MANY_DUPLICATES * summary.covered:
            lines.append(f"  Many identical {summary.side} profiles are a sign of a bad prompt: look at --show-prompts 3.")
        if summary.several:
            lines.append(
                f"  {summary.several:,} answers held several such objects, as where a model thinks aloud; the last one is the "
                "profile: read some (recbole-rlmrec show)."
            )
    money = "" if usd is None else f", ${usd:.4f}"
    lines.append(
        f"This run: {used.requests:,} answers, {used.prompt_tokens:,} prompt and {used.completion_tokens:,} completion "
        f"tokens{money}."
    )
    failed = sum(summary.failed for summary in summaries)
    if failed:
        lines.append(f"{failed:,} failures are listed in {listed}; ask for just those again with {retry}.")
    return "\n".join(lines)
