"""Profiles from a chat model: many questions in flight, every answer on disk before it counts."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from logging import getLogger

from tqdm import tqdm

from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.llm.chat import ChatModel, Reply, longest_answer
from recbole_rlmrec.llm.cost import BudgetReached, Meter, Usage
from recbole_rlmrec.llm.faults import RefusedError, RetryableError
from recbole_rlmrec.llm.models import described
from recbole_rlmrec.llm.patience import Pace, Tries
from recbole_rlmrec.llm.pool import Pool
from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.profiling.answers import Answer, BadAnswer, read_answer, tidy
from recbole_rlmrec.profiling.questions import QUOTED_ANSWER, SIDES, Question, Questions, correction
from recbole_rlmrec.profiling.stored import SEVERAL, Failure

GROUP_SECONDS = 0.25
SECONDS_BETWEEN_LINES = 30

logger = getLogger()


@dataclass
class Outcome:
    """What became of a question: a profile, or the reason why there is none; ``kind`` is empty while it is open."""

    question: Question
    usage: Usage = field(default_factory=Usage)
    summary: str = ""
    reasoning: str = ""
    failure: str = ""
    kind: str = ""
    attempts: int = 0
    answer: str = ""
    several: bool = False

    @property
    def open(self) -> bool:
        """Whether neither a profile nor a failure has come of it."""
        return not (self.summary or self.kind)

    def messages(self) -> tuple[list[dict[str, str]], int]:
        """The conversation as it stands, with the last unusable answer and what is wrong with it, and its tokens."""
        prompt = self.question.prompt
        if not self.failure:
            return self.question.messages(), self.question.tokens
        added = correction(self.answer, self.failure)
        return prompt.messages() + added, prompt.tokens + sum(len(message["content"]) for message in added) // 3


def generate_profiles(
    questions: Questions,
    store: ProfileStore,
    chat: ChatModel,
    pace: Pace,
    meter: Meter,
    max_tokens: int,
    open_usage: Usage | None = None,
) -> str:
    """Ask all pending questions of a tag, items first, and append the answers to its store.

    Parameters
    ----------
    questions : Questions
    store : ProfileStore
        Held by the caller (:meth:`ProfileStore.locked`).
    chat : ChatModel
    pace : Pace
    meter : Meter
        Counts what is used; ends the run before the budget is passed.
    max_tokens : int
        Longest answer, for the meter.
    open_usage : Usage, optional
        Gets what questions cost that are still open at the end, also when an error ends the run.

    Returns
    -------
    str
        Why the run ended before the last question; empty when it did not.

    Raises
    ------
    FatalError
        The server will answer nothing more (key, model, credit, many failures in a row). What was answered is stored.
    """
    run = _Run(questions, store, chat, pace, meter, max_tokens, Usage() if open_usage is None else open_usage)
    try:
        for side in SIDES:
            run.side(side)
            if run.ended:
                break
    finally:
        questions.failures.flush()
    return run.ended


class _Run:
    def __init__(self, questions, store, chat, pace, meter, max_tokens, open_usage) -> None:
        self._questions: Questions = questions
        self._store: ProfileStore = store
        self._chat: ChatModel = chat
        self._pace: Pace = pace
        self._meter: Meter = meter
        self._max_tokens: int = max_tokens
        self._workers = pace.concurrency if chat.parallel else 1
        self._stop = threading.Event()
        self._patience = pace.begin(self._stop, described(chat))
        self._open: dict[int, Outcome] = {}
        self._counted = dict.fromkeys(SIDES, 0)
        self._failed = 0
        self.ended = ""
        self._open_usage: Usage = open_usage

    def side(self, side: str) -> None:
        """Ask all pending questions of one side."""
        stored = self._questions.stored(side)
        items = self._questions.stored("item") if side == "user" else None
        pending = self._questions.pending(side, stored, items.text if items else None)
        pool = Pool(map(self._begun, pending), self._ask, self._patience, self._workers)
        try:
            self._write_all(side, pool.start())
        except BaseException:
            self._stop.set()
            raise
        finally:
            if items is not None:
                items.close()
            for outcome in self._open.values():
                self._open_usage.add(outcome.usage)
            self._open.clear()
        try:
            pool.raise_error()
        except BudgetReached as reason:
            self._end(f"The budget ends the run: {reason}.")

    def _begun(self, question: Question) -> Outcome:
        outcome = Outcome(question)
        self._open[id(outcome)] = outcome
        return outcome

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason
        self._stop.set()

    def _ask(self, outcome: Outcome, tries: Tries) -> Outcome:
        """Ask until there is a profile or a reason why there is none."""
        try:
            while outcome.open:
                self._attempt(outcome, tries)
        except (RetryableError, RefusedError) as error:
            outcome.failure, outcome.kind = str(error), "refused" if isinstance(error, RefusedError) else "server"
        if outcome.summary:
            self._patience.useful()
        elif outcome.kind != "server":
            self._patience.useless(f"{outcome.failure} Look at failures.jsonl and at --show-prompts before you rerun.")
        return outcome

    def _attempt(self, outcome: Outcome, tries: Tries) -> None:
        reply = self._request(outcome, tries)
        if reply.again:
            return
        outcome.attempts += 1
        try:
            answer = self._read(reply, outcome.question.prompt)
        except BadAnswer as reason:
            outcome.failure, outcome.answer = str(reason), tidy(reply.text)[:QUOTED_ANSWER]
            outcome.attempts = max(outcome.attempts, self._pace.max_attempts) if reply.problem else outcome.attempts
            outcome.kind = "answer" if outcome.attempts >= self._pace.max_attempts else ""
        else:
            outcome.summary, outcome.reasoning, outcome.several = answer.summary, answer.reasoning, answer.several

    def _read(self, reply: Reply, prompt: Prompt) -> Answer:
        if reply.problem:
            raise BadAnswer(reply.problem)
        if reply.finish == "length":
            raise BadAnswer(f"The answer was cut off after {longest_answer(self._chat, self._max_tokens):,} tokens.")
        return read_answer(reply.text, prompt)

    def _request(self, outcome: Outcome, tries: Tries) -> Reply:
        messages, estimate = outcome.messages()
        longest = longest_answer(self._chat, self._max_tokens)
        reserved = self._meter.reserve(estimate, longest, wait=True)
        usage = None
        try:
            reply = self._patience.call(lambda: self._chat.ask(messages), estimate + longest, tries)
            counts = _known(reply.prompt_tokens, estimate), _known(reply.completion_tokens, len(reply.text) // 4)
            usage = Usage(1, *counts)
            self._patience.throttle.settle(sum(counts) - estimate - longest)
            outcome.usage.add(usage)
        finally:
            self._meter.settle(reserved, estimate, usage)
        self._patience.judge(reply)
        return reply

    def _write_all(self, side: str, pool: Pool) -> None:
        """Write each outcome as it arrives, sync in groups, and count what is synced."""
        failures, total = self._questions.failures, len(self._questions.tokens(side))
        seconds = 0.5 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
        bar = tqdm(total=total, desc=f"{side} profiles", ncols=110, mininterval=seconds)
        written: list[Outcome] = []
        due = 0.0
        with self._store.appender(side) as appender, bar:
            while pool.working or written:
                outcomes = self._arrived(pool, due - time.monotonic() if written else None) if pool.working else []
                for outcome in outcomes:
                    self._keep(side, outcome, appender)
                appender.flush(fsync=False)
                due = due if written else time.monotonic() + GROUP_SECONDS
                written += outcomes
                if written and (not pool.working or time.monotonic() >= due):
                    appender.flush()
                    failures.flush()
                    self._count(bar, side, written)
                    written = []
            self._count(bar, side, [])

    def _count(self, bar: tqdm, side: str, outcomes: list[Outcome]) -> None:
        self._counted[side] += len(outcomes)
        self._failed += sum(bool(outcome.kind) for outcome in outcomes)
        used, usd = self._meter.used, self._meter.usd
        money = "" if usd is None else f", ${usd:.4f}"
        tokens = used.prompt_tokens + used.completion_tokens
        bar.set_postfix_str(f"{self._failed} failed, {tokens / 1000:,.0f}k tokens{money}", refresh=False)
        bar.update(self._counted[side] + self._questions.tally[side].passed - bar.n)

    def _keep(self, side: str, outcome: Outcome, appender) -> None:
        prompt, key, model = outcome.question.prompt, outcome.question.key, self._chat.name
        usage = outcome.usage.as_dict()
        self._open.pop(id(outcome), None)
        if outcome.summary:
            extra = {"key": key, "model": model, "usage": usage, **({SEVERAL: True} if outcome.several else {})}
            pairs, times = list(prompt.pairs), list(prompt.times) or None
            appender.append(Profile(prompt.token, outcome.summary, outcome.reasoning, pairs, extra, times))
            self._questions.failures.discard(side, prompt.token)
        else:
            what = outcome.kind, outcome.failure, outcome.attempts
            self._questions.failures.add(Failure(side, prompt.token, *what, key, model, usage, outcome.answer))

    def _arrived(self, pool: Pool, patience: float | None) -> list[Outcome]:
        """All that is there, after waiting for the first; one Ctrl-C lets requests in flight finish."""
        try:
            return pool.arrived(patience)
        except KeyboardInterrupt:
            if self._stop.is_set():
                raise
            self._end("Interrupted.")
            logger.warning("Waiting for the requests in flight; Ctrl-C again drops them.")
            return []


def _known(count: int | None, estimate: int) -> int:
    return estimate if count is None else count
