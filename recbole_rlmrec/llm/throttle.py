"""How fast a server is asked: requests and tokens per minute, and pauses that a server asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from recbole_rlmrec.errors import ChatError

BURST_SECONDS = 1.0


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
