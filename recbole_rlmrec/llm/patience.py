"""How fast a server is asked and when to give up: rate limits, waiting after failures, the circuit that ends a run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from logging import getLogger
from typing import TypeVar

from recbole_rlmrec.errors import ChatError
from recbole_rlmrec.llm.endpoint import FatalError, RetryableError

TRIES = 8
RATE_LIMITED_TRIES = 40
RATE_PATIENCE = 10
LONGEST_BACKOFF = 60.0
LONGEST_WAIT = 900.0
BURST_SECONDS = 1.0
WORTH_SAYING = 2.0  # seconds of a wait
BETWEEN_SAYINGS = 30.0

Result = TypeVar("Result")
logger = getLogger()


class Stopped(ChatError):
    """The run was asked to end while this request was waiting."""


class Bucket:
    """A token bucket: ``take`` reserves and says how long to wait for it.

    Parameters
    ----------
    per_minute : float
        What flows in; a second's worth (and at least 1) may be taken at once.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60.0
        self._most = max(self._rate * BURST_SECONDS, 1.0)
        self._level = self._most
        self._clock = clock
        self._then = clock()

    def take(self, amount: float) -> float:
        """Reserve ``amount``; returns the seconds until it may be used."""
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._then) * self._rate)
        self._then = now
        wait = max(0.0, (min(amount, self._most) - self._level) / self._rate)
        self._level -= amount
        return wait

    def give(self, amount: float) -> None:
        """Return what was reserved and not used; a negative amount takes more."""
        self._level = min(self._most, self._level + amount)


class Throttle:
    """Keeps requests within requests per minute and tokens per minute, and lets a server pause all of them."""

    def __init__(self, rpm: float | None = None, tpm: float | None = None) -> None:
        self._requests = Bucket(rpm) if rpm else None
        self._tokens = Bucket(tpm) if tpm else None
        self._pause_until = 0.0
        self._lock = threading.Lock()

    def wait(self, tokens: int, stop: threading.Event) -> None:
        """Block until a request of so many tokens may be sent.

        Raises
        ------
        Stopped
            ``stop`` was set meanwhile.
        """
        with self._lock:
            delay = self._pause_until - time.monotonic()
            if self._requests:
                delay = max(delay, self._requests.take(1))
            if self._tokens:
                delay = max(delay, self._tokens.take(tokens))
        while delay > 0:
            if stop.wait(delay):
                raise Stopped("The run is stopping.")
            delay = self._pause_until - time.monotonic()
        if stop.is_set():
            raise Stopped("The run is stopping.")

    def settle(self, difference: int) -> None:
        """Correct the token limit by what a request used more (or less) than was reserved."""
        if self._tokens:
            with self._lock:
                self._tokens.give(-difference)

    def pause(self, seconds: float) -> None:
        """Let no request go for so many seconds."""
        with self._lock:
            self._pause_until = max(self._pause_until, time.monotonic() + seconds)


class Circuit:
    """Ends a run in which nothing succeeds any more.

    Parameters
    ----------
    most : int
        Failures in a row, over all requests, after which :meth:`failure` raises.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._in_a_row = 0
        self._lock = threading.Lock()

    def success(self) -> None:
        """A request succeeded: count anew."""
        with self._lock:
            self._in_a_row = 0

    def failure(self, reason: str) -> None:
        """A request failed.

        Raises
        ------
        FatalError
            It was one too many.
        """
        with self._lock:
            self._in_a_row += 1
            count = self._in_a_row
        if count >= self.most:
            raise FatalError(f"Gave up after {count} failures in a row. The last one: {reason}")


class Patience:
    """Sends requests until they succeed, waiting as long as the server asks or exponentially longer with jitter.

    Parameters
    ----------
    throttle : Throttle
    circuit : Circuit
        For refusals of the rate alone, ten times as many in a row are borne.
    stop : threading.Event
        Ends every wait.
    base : float
        Seconds of the first wait, doubled each time up to a minute.
    """

    def __init__(self, throttle: Throttle, circuit: Circuit, stop: threading.Event, base: float = 1.0) -> None:
        self.throttle = throttle
        self.circuit = circuit
        self.stop = stop
        self._rate_circuit = Circuit(RATE_PATIENCE * circuit.most)
        self._base = base
        self._random = random.Random()
        self._said = -BETWEEN_SAYINGS

    def call(self, send: Callable[[], Result], tokens: int) -> Result:
        """Result of ``send``, tried again while it raises :class:`RetryableError`.

        Raises
        ------
        RetryableError
            It failed 8 times (40 times when only the rate was at fault).
        RefusedError, FatalError, Stopped
        """
        failures = limited = 0
        while True:
            self.throttle.wait(tokens, self.stop)
            try:
                result = send()
            except RetryableError as error:
                (self._rate_circuit if error.rate_limited else self.circuit).failure(str(error))
                failures, limited = failures + (not error.rate_limited), limited + error.rate_limited
                if failures >= TRIES or limited >= RATE_LIMITED_TRIES:
                    raise
                self._wait(error, failures + limited)
            else:
                self.circuit.success()
                self._rate_circuit.success()
                return result

    def _wait(self, error: RetryableError, count: int) -> None:
        backoff = min(LONGEST_BACKOFF, self._base * 2 ** (count - 1)) * self._random.uniform(0.5, 1.0)
        if error.retry_after is None:
            delay = backoff
        elif error.retry_after > LONGEST_WAIT:
            raise FatalError(f"{error} It asks to wait {error.retry_after:,.0f} s: rerun the same command then.")
        else:
            self.throttle.pause(error.retry_after)
            delay = error.retry_after + self._base * self._random.uniform(0.0, 0.5)
        self._say(error, delay)
        if self.stop.wait(delay):
            raise Stopped("The run is stopping.")

    def _say(self, error: RetryableError, delay: float) -> None:
        """Log why nothing seems to happen: waits of some seconds, not each of them."""
        if delay >= WORTH_SAYING and time.monotonic() - self._said >= BETWEEN_SAYINGS:
            self._said = time.monotonic()
            logger.warning(f"{error} Asking again in {delay:.0f} s.")
