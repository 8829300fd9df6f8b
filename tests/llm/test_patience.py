"""Rate limits, waiting, giving up."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from recbole_rlmrec.llm.chat import Reply
from recbole_rlmrec.llm.endpoint import retry_after
from recbole_rlmrec.llm.faults import FatalError, RefusedError, RetryableError
from recbole_rlmrec.llm.patience import TRIES, Patience, PutBack, Tries
from recbole_rlmrec.llm.throttle import Bucket, Stopped, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def patience(seconds: float = 30.0, throttle: Throttle | None = None, **options) -> Patience:
    return Patience(throttle or Throttle(), threading.Event(), seconds, base=0.001, **options)


def failing(times: int, error: Exception):
    calls = []

    def send():
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error
        return "answer"

    return send, calls


AWAY = RetryableError("nobody there", away=True)
BROKEN = RetryableError("500")
LIMITED = RetryableError("429", 0.0, rate_limited=True)


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
    send, calls = failing(3, BROKEN)
    assert patience().call(send) == "answer"
    assert len(calls) == 4


@pytest.mark.parametrize("error", [AWAY, BROKEN, LIMITED])
def test_a_server_that_is_away_is_waited_for_as_long_as_patience_lasts(error):
    start = time.monotonic()
    with pytest.raises(FatalError, match="no answer for 0 seconds .--patience., .* requests failed.*0 were answered before"):
        patience(0.3).call(failing(10**6, error)[0])
    assert 0.25 < time.monotonic() - start < 3
    send, calls = failing(10, error)
    assert patience(60).call(send) == "answer" and len(calls) == 11


def test_patience_begins_anew_with_every_answer():
    shared = patience(0.4)
    for _ in range(4):
        end = time.monotonic() + 0.2
        assert shared.call(lambda end=end: _until(end)) == "answer"
    assert shared.answers == 4


def _until(end: float) -> str:
    if time.monotonic() < end:
        raise AWAY
    return "answer"


def test_a_question_is_put_back_until_it_is_known_whose_fault_it_is():
    shared, tries = patience(3.0), Tries()
    send, calls = failing(10**6, AWAY)
    for number in (1, 2):
        with pytest.raises(PutBack):
            shared.call(send, 0, tries)
        assert len(calls) == TRIES * number
    with pytest.raises(RetryableError):
        while True:
            assert shared.call(lambda: "another question", 0, Tries()) == "another question"
            with pytest.raises(PutBack):
                shared.call(send, 0, tries)
    assert tries.alone == 4 and len(calls) == 5 * TRIES + 1


def test_a_question_that_fails_alone_until_the_end_is_given_up_and_not_the_run():
    shared, tries = patience(0.3), Tries()
    send, _ = failing(10**6, AWAY)
    with pytest.raises(PutBack):
        shared.call(send, 0, tries)
    assert shared.call(lambda: "another question", 0, Tries()) == "another question"
    with pytest.raises(RetryableError, match="nobody there"):
        while True:
            with contextlib.suppress(PutBack):
                shared.call(send, 0, tries)
    with pytest.raises(FatalError):
        shared.call(failing(10**6, AWAY)[0])


def test_a_question_that_breaks_a_server_which_is_there_is_given_up():
    shared = patience()
    assert shared.call(lambda: "answer") == "answer"
    send, calls = failing(10**6, BROKEN)
    with pytest.raises(RetryableError):
        shared.call(send, 0, Tries())
    assert len(calls) == TRIES


def test_a_rate_limit_is_borne_longer():
    shared = patience()
    send, calls = failing(TRIES + 20, LIMITED)
    assert shared.call(send, 0, Tries()) == "answer" and len(calls) == TRIES + 21
    tries = Tries(limited=39, alone=3, answers=0)
    with pytest.raises(RetryableError):
        shared.call(failing(10**6, LIMITED)[0], 0, tries)
    assert tries.limited == 40


def test_what_the_server_refuses_is_not_sent_again():
    send, calls = failing(1, RefusedError("no"))
    with pytest.raises(RefusedError):
        patience().call(send)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("first", "second", "fatal"),
    [
        ("Bad thing 17 in request 8f3a-77", "Bad thing 4 in request 1c2b-09", True),
        ("Bad thing", "Another thing", False),
        ("This model's maximum context length is 400 tokens", "This model's maximum context length is 400 tokens", False),
        ("The response was filtered: content_filter", "The response was filtered: content_filter", False),
    ],
)
def test_equal_refusals_end_a_run_before_its_first_answer(first, second, fatal):
    shared = patience(about="the model m, the address a and the key in K")
    with pytest.raises(RefusedError):
        shared.call(failing(1, RefusedError(first))[0])
    kind, said = (FatalError, "the model m, the address a and the key in K") if fatal else (RefusedError, second[:8])
    with pytest.raises(kind, match=said):
        shared.call(failing(1, RefusedError(second))[0])
    shared = patience()
    shared.call(lambda: "answer")
    for said in (first, second, first):
        with pytest.raises(RefusedError):
            shared.call(failing(1, RefusedError(said))[0])


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("x", said="Invalid model name passed in model=y", param="model"),
        RefusedError("Authentication Error, Invalid proxy server token passed"),
        RefusedError("The API key is wrong"),
        RefusedError("model `gpt-9` does not exist: not found"),
    ],
)
def test_a_wrong_key_or_model_ends_a_run_at_the_first_refusal(error):
    with pytest.raises(FatalError, match="Nothing has been answered yet"):
        patience().call(failing(1, error)[0])


def test_useless_answers_in_a_row_end_a_run():
    shared = patience(in_a_row=3)
    for _ in range(2):
        shared.useless("a")
    shared.useful()
    for _ in range(2):
        shared.useless("b")
    with pytest.raises(FatalError, match="3 failures in a row. The last one: c"):
        shared.useless("c")


def test_a_server_that_is_set_up_wrongly_ends_a_run_at_its_first_answer():
    lost = Reply("", problem="all of it is reasoning", of_server=True)
    shared = patience()
    shared.call(lambda: lost)
    assert not shared.proven
    with pytest.raises(FatalError, match="all of it is reasoning"):
        shared.judge(lost)
    shared.call(lambda: Reply("", again=True))
    assert not shared.proven
    shared.call(lambda: Reply("fine"))
    assert shared.proven
    shared.judge(lost)


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
    thread = threading.Thread(target=lambda: shared.call(send))
    thread.start()
    assert paused.wait(30)
    throttle.wait(0, threading.Event())
    other.append(time.monotonic())
    thread.join()
    assert other[0] - calls[0] >= 0.19
    assert calls[1] - calls[0] >= 0.19


def test_a_wait_of_hours_ends_the_run():
    with pytest.raises(FatalError, match="2.0 hours.*rerun"):
        patience().call(failing(1, RetryableError("429", 7200.0, rate_limited=True))[0])


def test_waits_are_said_with_what_was_tried_and_how_long_yet(caplog):
    stopped = threading.Event()
    stopped.set()
    for base, said in ((0.001, 0), (1000, 1)):
        shared = Patience(Throttle(), stopped, 600.0, base=base)
        error = RetryableError("example.org answered 503.")
        for _ in range(3):
            tries = Tries()
            left = shared._failed(error, tries)
            with pytest.raises(Stopped):
                shared._wait(error, tries, left)
        assert len(caplog.messages) == said
    assert re.fullmatch(
        r"example.org answered 503\. 1 requests in a row have failed, 0 were answered before; asking again in .*, "
        r"for 10 minutes yet \(--patience\)\.",
        caplog.messages[0],
    )


def test_stopping_ends_every_wait():
    shared = Patience(Throttle(rpm=1), threading.Event(), base=1000)
    shared.throttle.wait(0, shared.stop)
    threading.Timer(0.05, shared.stop.set).start()
    with pytest.raises(Stopped):
        shared.throttle.wait(0, shared.stop)
    with pytest.raises(Stopped):
        shared.call(lambda: "never")


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
