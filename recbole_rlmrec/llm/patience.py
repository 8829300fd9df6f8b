"""When to ask again and when to give up: waits after failures, the patience of a run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from typing import TypeVar

from recbole_rlmrec.errors import ChatError, ConfigError, duration
from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.faults import FatalError, RefusedError, RetryableError
from recbole_rlmrec.llm.throttle import Stopped, Throttle

TRIES = 8
TRIES_ALONE = 4
RATE_LIMITED_TRIES = 40
PATIENCE = 600.0
IN_A_ROW = 20
LONGEST_BACKOFF = 60.0
LEAST_TOLERATED = 5.0  # seconds that a server may ask to wait at the end of all patience
WORTH_SAYING = 2.0  # seconds of a wait
BETWEEN_SAYINGS = 30.0

Result = TypeVar("Result")
logger = getLogger()


@dataclass(frozen=True)
class Pace:
    """How fast and how stubbornly a server is asked.

    Attributes
    ----------
    concurrency : int
        Requests in flight.
    rpm, tpm : float, optional
        Most requests and tokens per minute.
    max_attempts : int
        Answers to one question that may be unusable before it is listed as failed.
    first_wait : float
        Seconds of the first wait after a failed request; longer each time.
    patience : float
        Seconds without one answer after which a run ends.
    """

    concurrency: int = 8
    rpm: float | None = None
    tpm: float | None = None
    max_attempts: int = 3
    first_wait: float = 1.0
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 2000:
            raise ConfigError("--concurrency is a number from 1 to 2000.")
        if self.max_attempts < 1:
            raise ConfigError("--max-attempts is 1 or more.")
        if any(limit is not None and not 0 < limit < float("inf") for limit in (self.rpm, self.tpm)):
            raise ConfigError("--rpm and --tpm are numbers greater than 0.")
        if not 0 < self.patience < float("inf"):
            raise ConfigError("--patience is a number of minutes greater than 0.")

    def begin(self, stop: threading.Event, about: str = "") -> Patience:
        """The patience of one run; see :class:`Patience`."""
        in_a_row = max(IN_A_ROW, 4 * self.concurrency)
        return Patience(Throttle(self.rpm, self.tpm), stop, self.patience, self.first_wait, about, in_a_row)


@dataclass
class Tries:
    """What became of one question so far; kept by its owner while it is put back."""

    failures: int = 0
    limited: int = 0
    alone: int = 0
    """Failures between which others were answered."""
    answers: int | None = None
    """Answers to other questions when this one last failed."""


class PutBack(ChatError):
    """This question has failed often enough for now: ask another one first, to see whose fault it is."""


class Patience:
    """Sends requests until they succeed: the one rule by which anything here gives up.

    Between tries it waits as long as the server asks, or longer each time with jitter. A run ends when nothing at all was
    answered for ``seconds``, whatever the reason; or at once when the server refuses before anything has succeeded: the
    key or the model is wrong, or two questions are refused alike. One question is given up for good where it failed
    8 times (40 times when the rate was at fault) and others were answered between its failures, or where the server is
    there and fails with this question alone; or where patience ends, others were answered since its first failure, and the
    rate is not at fault.

    Parameters
    ----------
    throttle : Throttle
    stop : threading.Event
        Ends every wait.
    seconds : float
        How long a run goes on without one answer.
    base : float
        Seconds of the first wait, doubled each time up to a minute, but never more than a tenth of ``seconds``.
    about : str
        Model, address and key, for the sentence that ends a run.
    in_a_row : int
        Questions in a row without an answer of use, after which a run ends.

    Attributes
    ----------
    answers : int
        Requests that succeeded.
    proven : bool
        Whether one of them showed that server and settings go together; until then one request goes at a time.
    """

    def __init__(
        self,
        throttle: Throttle,
        stop: threading.Event,
        seconds: float = PATIENCE,
        base: float = 1.0,
        about: str = "",
        in_a_row: int = IN_A_ROW,
    ) -> None:
        self.throttle, self.stop, self.seconds = throttle, stop, seconds
        self.answers, self.proven = 0, False
        self._base, self._about = base, about
        self._longest = min(LONGEST_BACKOFF, max(seconds / 10, base))
        self._random = random.Random()
        self._lock = threading.Lock()
        self._failing_since: float | None = None
        self._tried = 0
        self._useless, self._most_useless = 0, in_a_row
        self._refusals: dict[str, int] = {}
        self._said = -BETWEEN_SAYINGS

    def call(self, send: Callable[[], Result], tokens: int = 0, tries: Tries | None = None) -> Result:
        """Result of ``send``, tried again while it raises :class:`RetryableError`.

        Parameters
        ----------
        send : callable
        tokens : int
            What the request may take of the limit per minute.
        tries : Tries, optional
            Of the question, where another one can be asked instead.

        Raises
        ------
        RetryableError
            This question is given up.
        PutBack
            Another question should be asked first; not raised without ``tries``.
        RefusedError, FatalError, Stopped
        """
        mine = Tries() if tries is None else tries
        while True:
            self.throttle.wait(tokens, self.stop)
            try:
                result = send()
            except RetryableError as error:
                left = self._failed(error, mine)
                if self._is_its_own_fault(error, mine):
                    raise
                if tries is not None and not error.rate_limited and mine.failures % TRIES == 0:
                    raise PutBack(str(error)) from None
                self._wait(error, mine, left)
            except RefusedError as error:
                self._refused(error)
                raise
            else:
                self._answered(result)
                return result

    def judge(self, reply: Reply) -> None:
        """Look at a reply that has been counted.

        Raises
        ------
        FatalError
            It shows that the server is set up wrongly, and no other answer was of use before.
        """
        if reply.of_server and not self.proven:
            raise FatalError(f"{reply.problem} ({self._about})" if self._about else reply.problem)

    def useful(self) -> None:
        """A question got an answer of use."""
        with self._lock:
            self._useless = 0

    def useless(self, reason: str) -> None:
        """A question was refused, or got no answer of use however often it was asked.

        Raises
        ------
        FatalError
            So did too many before it, one after the other.
        """
        with self._lock:
            self._useless += 1
            count = self._useless
        if count >= self._most_useless:
            raise FatalError(f"Gave up after {count} failures in a row. The last one: {reason}")

    def _answered(self, result) -> None:
        with self._lock:
            self.answers += 1
            self.proven = self.proven or not (isinstance(result, Reply) and (result.again or result.of_server))
            self._failing_since, self._tried = None, 0
            self._refusals.clear()

    def _failed(self, error: RetryableError, mine: Tries) -> float:
        """Count a failure; returns the seconds of patience that are left."""
        with self._lock:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            self._tried += 1
            mine.alone += mine.answers is not None and self.answers > mine.answers
            mine.answers = self.answers
            mine.failures += not error.rate_limited
            mine.limited += error.rate_limited
            left = self._failing_since + self.seconds - now
            answers, tried = self.answers, self._tried
        if left <= 0 and mine.alone and not error.rate_limited:
            raise error
        if left <= 0:
            raise FatalError(
                f"Gave up: no answer for {duration(self.seconds)} (--patience), {tried:,} requests failed since the last one, "
                f"{answers:,} were answered before. The last failure: {error}"
            )
        return left

    def _is_its_own_fault(self, error: RetryableError, mine: Tries) -> bool:
        if mine.failures < TRIES and mine.limited < RATE_LIMITED_TRIES:
            return False
        server_is_there = self.answers > 0 and not error.away and not error.rate_limited
        return server_is_there or mine.alone >= TRIES_ALONE

    def _refused(self, error: RefusedError) -> None:
        if error.concerns_question:
            return
        with self._lock:
            if self.answers:
                return
            alike = self._refusals[error.kind] = self._refusals.get(error.kind, 0) + 1
        if error.concerns_all or alike > 1:
            about = f"Check {self._about}" if self._about else "Check the model, its address and the key"
            said = str(error) if str(error).endswith((".", "!", "?")) else f"{error}."
            raise FatalError(f"{said} Nothing has been answered yet. {about}.", error.status, error.said, error.param)

    def _wait(self, error: RetryableError, mine: Tries, left: float) -> None:
        outage = self.seconds - left
        count = mine.failures + mine.limited
        backoff = min(self._longest, max(self._base * 2 ** min(count - 1, 30), outage / 10)) * self._random.uniform(0.5, 1.0)
        if error.retry_after is None:
            delay = min(backoff, left + 0.001)
        elif error.retry_after > max(left, LEAST_TOLERATED):
            raise FatalError(
                f"{error} It asks to wait {duration(error.retry_after)}, longer than --patience allows: rerun the same "
                "command then."
            )
        else:
            self.throttle.pause(error.retry_after)
            delay = error.retry_after + self._base * self._random.uniform(0.0, 0.5)
        self._say(error, delay, left)
        if self.stop.wait(delay):
            raise Stopped("The run is stopping.")

    def _say(self, error: RetryableError, delay: float, left: float) -> None:
        """Log why nothing seems to happen: waits of some seconds, not each of them."""
        if delay >= WORTH_SAYING and time.monotonic() - self._said >= BETWEEN_SAYINGS:
            self._said = time.monotonic()
            logger.warning(
                f"{error} {self._tried:,} requests in a row have failed, {self.answers:,} were answered before; asking "
                f"again in {duration(delay)}, for {duration(left)} yet (--patience)."
            )
