"""What the command says: prompts before money is spent, estimates, summaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from logging import getLogger
from pathlib import Path

from recbole_rlmrec.data.columns import Columns, left_out
from recbole_rlmrec.llm.cost import SAFETY, Price, Usage, expected_completion
from recbole_rlmrec.profiling.prompts import Domain
from recbole_rlmrec.profiling.questions import QUOTED_ANSWER, SIDES, Question, Questions
from recbole_rlmrec.profiling.tag import SideSummary

MANY_DUPLICATES = 0.05
CORRECTION_TOKENS = round(0.8 * QUOTED_ANSWER) + 100
"""What an unusable answer and the request for a better one add to a question, at most."""
USUAL_THINKING = 400
"""Tokens that a model thinks with little effort; an assumption."""

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


def stand_in(questions: Questions, domain: Domain, text: str | None = None):
    """Profiles of items as far as they are stored, and a text of the usual length for those that will get one."""
    stored = questions.stored("item")
    filler = text or " ".join(["word"] * round(0.7 * domain.item.max_words))
    asked = cache(lambda position: questions.question("item", position) is not None)
    return lambda position: stored.text(position) or (filler if asked(position) else None)


@dataclass(frozen=True)
class Estimate:
    """What the open questions of one side would take."""

    side: str
    usage: Usage
    most: Usage


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


def estimate(questions: Questions, domain: Domain, limits: Limits) -> list[Estimate]:
    """Requests and tokens that are still to come, items and then users.

    Usual: an answer for each question, of typical length (:func:`expected_completion`), and item profiles that do not exist
    yet of 0.7 of the longest. Most: every question is asked as often as it may be, with the longest answers and item
    profiles, estimated tokens a quarter off, and one answer wasted in which the model shows that it thinks.
    """
    estimates = []
    for side in SIDES:
        profile_of = stand_in(questions, domain) if side == "user" else None
        words = getattr(domain, side).max_words
        typical = expected_completion(words) + (USUAL_THINKING if limits.thinks else 0)
        completion = min(limits.longest if limits.thinks else limits.answer, typical)
        usual, most = Usage(), Usage()
        for question in questions.pending(side, questions.stored(side), profile_of):
            usual.add(Usage(1, question.tokens, completion))
            longer = question.tokens + (len(question.prompt.pairs) * limits.answer if side == "user" else 0)
            first = max(question.tokens, min(longer, limits.prompt))
            again = (limits.attempts - 1) * (first + CORRECTION_TOKENS)
            prompts = round((first + again) * (1 if limits.exact else SAFETY))
            most.add(Usage(limits.attempts, prompts, limits.attempts * limits.longest))
        if usual.requests and limits.longest > limits.answer and not limits.thinks:
            most.add(Usage(1, round(limits.prompt * SAFETY), limits.answer))
        estimates.append(Estimate(side, usual, most))
    return estimates


def describe_estimate(estimates: list[Estimate], price: Price | None, model: str, counted: str, batch: bool) -> str:
    """The estimate as a few lines."""
    lines = [f"Estimate for {model}{' through the Batch API' if batch else ''}; prompt tokens are {counted}."]
    lines += [
        f"{entry.side:>6}: {entry.usage.requests:,} requests, {entry.usage.prompt_tokens:,} prompt tokens, "
        f"about {entry.usage.completion_tokens:,} completion tokens{_money(entry, price)}"
        for entry in estimates
    ]
    usual, most = Usage(), Usage()
    for entry in estimates:
        usual.add(entry.usage)
        most.add(entry.most)
    total = Estimate("total", usual, most)
    lines.append(
        f" total: {usual.requests:,} requests, {usual.prompt_tokens:,} prompt tokens, "
        f"about {usual.completion_tokens:,} completion tokens{_money(total, price)}"
    )
    if price is None:
        lines.append(f"The price table has no {model}: give --price-in and --price-out (US dollars per million tokens).")
    elif usual.requests:
        usd = price.usd(usual.prompt_tokens, usual.completion_tokens) / usual.requests
        lines.append(f"That is ${1000 * usd:.3f} per 1,000 profiles. Prices change: check them (--help says where).")
    return "\n".join(lines)


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
