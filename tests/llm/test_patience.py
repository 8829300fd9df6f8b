"""Rate limits, waiting, giving up."""

from __future__ import annotations

import re
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from recbole_rlmrec.llm.endpoint import FatalError, RefusedError, RetryableError, retry_after
from recbole_rlmrec.llm.patience import TRIES, Bucket, Circuit, Patience, Stopped, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def patience(most: int = 100, throttle: Throttle | None = None) -> Patience:
    return Patience(throttle or Throttle(), Circuit(most), threading.Event(), base=0.001)


def failing(times: int, error: Exception):
    calls = []

    def send():
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error
        return "answer"

    return send, calls


def test_bucket_lets_a_second_of_requests_through_and_spaces_the_rest():
    clock = Clock()
    bucket = Bucket(120, clock)
    assert [bucket.take(1) for _ in range(4)] == [0, 0, 0.5, 1.0]
    clock.now = 1.5
    assert bucket.take(1) == 0
    clock.now = 100
    assert [bucket.take(1) for _ in range(3)] == [0, 0, 0.5]


def test_bucket_never_passes_the_limit_over_a_minute():
    clock = Clock()
    bucket = Bucket(60, clock)
    sent = []
    while clock.now < 120:
        clock.now += bucket.take(1)
        sent.append(clock.now)
    assert max(sum(start <= moment < start + 60 for moment in sent) for start in sent) <= 61


def test_a_request_larger_than_a_second_of_tokens_still_goes():
    clock = Clock()
    bucket = Bucket(600, clock)
    assert bucket.take(100) == 0
    assert bucket.take(1) == pytest.approx(9.1)
    bucket.give(50)
    assert bucket.take(1) == pytest.approx(4.2)


def test_retries_until_it_succeeds():
    send, calls = failing(3, RetryableError("503"))
    assert patience().call(send, 0) == "answer"
    assert len(calls) == 4


def test_gives_up_after_some_tries_of_a_server_and_many_of_a_rate_limit():
    send, calls = failing(99, RetryableError("503"))
    with pytest.raises(RetryableError):
        patience().call(send, 0)
    assert len(calls) == TRIES
    send, calls = failing(TRIES + 2, RetryableError("429", 0.0, rate_limited=True))
    assert patience().call(send, 0) == "answer"


def test_what_the_server_refuses_is_not_sent_again():
    send, calls = failing(1, RefusedError("400"))
    with pytest.raises(RefusedError):
        patience().call(send, 0)
    assert len(calls) == 1


def test_circuit_counts_over_all_requests_and_anew_after_a_success():
    shared = patience(most=6)
    for _ in range(3):
        shared.call(failing(5, RetryableError("503"))[0], 0)
    with pytest.raises(FatalError, match="6 failures in a row. The last one: 503"):
        shared.call(failing(6, RetryableError("503"))[0], 0)


def test_rate_limits_are_borne_longer():
    limited = RetryableError("429", 0.0, rate_limited=True)
    shared = patience(most=2)
    assert shared.call(failing(18, limited)[0], 0) == "answer"
    with pytest.raises(FatalError, match="20 failures in a row"):
        shared.call(failing(20, limited)[0], 0)


def test_retry_after_pauses_everybody():
    paused = threading.Event()

    class Watched(Throttle):
        def pause(self, seconds: float) -> None:
            super().pause(seconds)
            paused.set()

    throttle = Watched()
    shared = patience(throttle=throttle)
    send, calls = failing(1, RetryableError("429", 0.2, rate_limited=True))
    other: list[float] = []
    thread = threading.Thread(target=lambda: shared.call(send, 0))
    thread.start()
    assert paused.wait(30)
    throttle.wait(0, threading.Event())
    other.append(time.monotonic())
    thread.join()
    assert other[0] - calls[0] >= 0.19
    assert calls[1] - calls[0] >= 0.19


def test_a_wait_of_hours_ends_the_run():
    with pytest.raises(FatalError, match="7,200 s: rerun"):
        patience().call(failing(1, RetryableError("429", 7200.0, rate_limited=True))[0], 0)


def test_long_waits_are_said_but_not_each(caplog):
    stopped = threading.Event()
    stopped.set()
    for base, said in ((0.001, 0), (1000, 1)):
        shared = Patience(Throttle(), Circuit(9), stopped, base=base)
        for _ in range(3):
            with pytest.raises(Stopped):
                shared._wait(RetryableError("example.org answered 503."), 1)
        assert len(caplog.messages) == said
    assert re.fullmatch(r"example.org answered 503\. Asking again in \d+ s\.", caplog.messages[0])


def test_stopping_ends_every_wait():
    shared = Patience(Throttle(rpm=1), Circuit(9), threading.Event(), base=1000)
    shared.throttle.wait(0, shared.stop)
    threading.Timer(0.05, shared.stop.set).start()
    with pytest.raises(Stopped):
        shared.throttle.wait(0, shared.stop)
    with pytest.raises(Stopped):
        shared.call(lambda: "never", 0)


def test_retry_after_is_read_as_seconds_date_or_milliseconds():
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "2.5"}) == 2.5
    assert retry_after({"Retry-After": "7", "retry-after-ms": "150"}) == 0.15
    soon = datetime.now(timezone.utc) + timedelta(seconds=30)
    assert 25 < retry_after({"Retry-After": format_datetime(soon, usegmt=True)}) <= 30
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for nonsense in ("soon", "", "1e999", "-3", "nan", "99999999999999999999999999"):
        value = retry_after({"Retry-After": nonsense})
        assert value is None or value >= 0
