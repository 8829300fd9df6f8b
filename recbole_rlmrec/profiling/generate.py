"""Profiles from a chat model: many questions in flight, every answer on disk before it counts."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from logging import getLogger

from tqdm import tqdm

from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.chat import ChatModel, Reply
from recbole_rlmrec.llm.cost import BudgetReached, Meter, Usage
from recbole_rlmrec.llm.endpoint import FatalError, RefusedError, RetryableError
from recbole_rlmrec.llm.patience import Circuit, Patience, Stopped, Throttle
from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.profiling.answers import BadAnswer, read_answer, tidy
from recbole_rlmrec.profiling.questions import QUOTED_ANSWER, SIDES, Question, Questions, correction
from recbole_rlmrec.profiling.stored import Failure

GROUP_SECONDS = 0.25
SECONDS_BETWEEN_LINES = 30
FEWEST_IN_A_ROW = 20

logger = getLogger()


@dataclass(frozen=True)
class Pace:
    """How fast and how stubbornly a model is asked.

    Attributes
    ----------
    concurrency : int
        Requests in flight.
    rpm, tpm : float, optional
        Most requests and tokens per minute.
    max_attempts : int
        Answers to one question that may be unusable before it is listed as failed.
    first_wait : float
        Seconds of the first wait after a failed request; doubled each time.
    """

    concurrency: int = 8
    rpm: float | None = None
    tpm: float | None = None
    max_attempts: int = 3
    first_wait: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 2000:
            raise ConfigError("--concurrency is a number from 1 to 2000.")
        if self.max_attempts < 1:
            raise ConfigError("--max-attempts is 1 or more.")
        if any(limit is not None and not 0 < limit < float("inf") for limit in (self.rpm, self.tpm)):
            raise ConfigError("--rpm and --tpm are numbers greater than 0.")


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
        self._stop = threading.Event()
        self._workers = pace.concurrency if chat.parallel else 1
        in_a_row = max(FEWEST_IN_A_ROW, 4 * self._workers)
        self._patience = Patience(Throttle(pace.rpm, pace.tpm), Circuit(in_a_row), self._stop, pace.first_wait)
        self._unusable = Circuit(in_a_row)
        self._fatal: BaseException | None = None
        self._counted = dict.fromkeys(SIDES, 0)
        self._failed = 0
        self.ended = ""
        self._open_usage: Usage = open_usage

    def side(self, side: str) -> None:
        """Ask all pending questions of one side."""
        stored = self._questions.stored(side)
        items = self._questions.stored("item") if side == "user" else None
        pending = self._questions.pending(side, stored, items.text if items else None)
        done: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        lock = threading.Lock()
        threads = [threading.Thread(target=self._work, args=(pending, lock, done), daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        try:
            self._write_all(side, done, len(threads))
        except BaseException:
            self._stop.set()
            raise
        finally:
            if items is not None:
                items.close()
        if self._fatal is not None:
            raise self._fatal

    def _work(self, pending: Iterator[Question], lock: threading.Lock, done: queue.SimpleQueue) -> None:
        try:
            while not self._stop.is_set():
                with lock:
                    question = next(pending, None)
                if question is None:
                    break
                outcome = Outcome(question)
                try:
                    self._ask(outcome)
                finally:
                    done.put(outcome)
        except Stopped:
            pass
        except BudgetReached as reason:
            self._end(f"The budget ends the run: {reason}.")
        except BaseException as error:  # whatever it is, the other threads must end and the caller must see it
            self._fatal = self._fatal or error
            self._stop.set()
        finally:
            done.put(None)

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason
        self._stop.set()

    def _ask(self, outcome: Outcome) -> None:
        prompt = outcome.question.prompt
        messages, estimate = outcome.question.messages(), outcome.question.tokens
        kind = "answer"
        while outcome.attempts < self._pace.max_attempts:
            try:
                reply = self._request(messages, estimate, outcome)
                outcome.summary, outcome.reasoning = self._read(reply, prompt)
                self._unusable.success()
                return
            except (RetryableError, RefusedError) as error:
                outcome.failure, kind = str(error), "refused" if isinstance(error, RefusedError) else "server"
                break
            except BadAnswer as reason:
                outcome.attempts += 1
                outcome.failure, outcome.answer = str(reason), tidy(reply.text)[:QUOTED_ANSWER]
                added = correction(reply.text, outcome.failure)
                messages = prompt.messages() + added
                estimate = prompt.tokens + sum(len(message["content"]) for message in added) // 3
        outcome.kind = kind
        try:
            self._unusable.failure(outcome.failure)
        except FatalError as error:
            raise FatalError(f"{error} Look at failures.jsonl and at --show-prompts before you rerun.") from None

    def _read(self, reply: Reply, prompt: Prompt) -> tuple[str, str]:
        if reply.finish == "length":
            raise BadAnswer(f"The answer was cut off after {self._max_tokens} tokens.")
        return read_answer(reply.text, prompt)

    def _request(self, messages: list[dict[str, str]], estimate: int, outcome: Outcome) -> Reply:
        reserved = self._meter.reserve(estimate, self._max_tokens, wait=True)
        usage = None
        try:
            reply = self._patience.call(lambda: self._chat.ask(messages), estimate + self._max_tokens)
            counts = _known(reply.prompt_tokens, estimate), _known(reply.completion_tokens, len(reply.text) // 4)
            usage = Usage(1, *counts)
            self._patience.throttle.settle(sum(counts) - estimate - self._max_tokens)
            outcome.usage.add(usage)
            return reply
        finally:
            self._meter.settle(reserved, estimate, usage)

    def _write_all(self, side: str, done: queue.SimpleQueue, working: int) -> None:
        """Write each outcome as it arrives, sync in groups, and count what is synced."""
        failures, total = self._questions.failures, len(self._questions.tokens(side))
        seconds = 0.5 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
        bar = tqdm(total=total, desc=f"{side} profiles", ncols=110, mininterval=seconds)
        written: list[Outcome] = []
        due = 0.0
        with self._store.appender(side) as appender, bar:
            while working or written:
                arrived = self._arrived(done, due - time.monotonic() if written else None) if working else []
                outcomes = [outcome for outcome in arrived if outcome is not None]
                working -= len(arrived) - len(outcomes)
                for outcome in outcomes:
                    self._keep(side, outcome, appender)
                appender.flush(fsync=False)
                due = due if written else time.monotonic() + GROUP_SECONDS
                written += outcomes
                if written and (not working or time.monotonic() >= due):
                    appender.flush()
                    failures.flush()
                    self._count(bar, side, written)
                    written = []
            self._count(bar, side, [])

    def _count(self, bar: tqdm, side: str, outcomes: list[Outcome]) -> None:
        self._counted[side] += sum(bool(outcome.summary or outcome.kind) for outcome in outcomes)
        self._failed += sum(bool(outcome.kind) for outcome in outcomes)
        used, usd = self._meter.used, self._meter.usd
        money = "" if usd is None else f", ${usd:.4f}"
        tokens = used.prompt_tokens + used.completion_tokens
        bar.set_postfix_str(f"{self._failed} failed, {tokens / 1000:,.0f}k tokens{money}", refresh=False)
        bar.update(self._counted[side] + self._questions.tally[side].passed - bar.n)

    def _keep(self, side: str, outcome: Outcome, appender) -> None:
        prompt, key, model = outcome.question.prompt, outcome.question.key, self._chat.name
        usage = outcome.usage.as_dict()
        if outcome.summary:
            extra = {"key": key, "model": model, "usage": usage}
            appender.append(Profile(prompt.token, outcome.summary, outcome.reasoning, list(prompt.pairs), extra))
            self._questions.failures.discard(side, prompt.token)
        elif outcome.kind:
            what = outcome.kind, outcome.failure, outcome.attempts
            self._questions.failures.add(Failure(side, prompt.token, *what, key, model, usage, outcome.answer))
        else:
            self._open_usage.add(outcome.usage)

    def _arrived(self, done: queue.SimpleQueue, patience: float | None) -> list[Outcome | None]:
        """All that is there, after waiting for the first; one Ctrl-C lets requests in flight finish."""
        arrived: list[Outcome | None] = []
        try:
            arrived.append(done.get(timeout=None if patience is None else max(patience, 0.0)))
            while True:
                arrived.append(done.get_nowait())
        except queue.Empty:
            pass
        except KeyboardInterrupt:
            if self._stop.is_set():
                raise
            self._end("Interrupted.")
            logger.warning("Waiting for the requests in flight; Ctrl-C again drops them.")
        return arrived


def _known(count: int | None, estimate: int) -> int:
    return estimate if count is None else count
