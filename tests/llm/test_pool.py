"""Several threads, one first, and what happens to tasks that fail for the time being."""

from __future__ import annotations

import threading
import time

import pytest

from recbole_rlmrec.llm.faults import FatalError, RefusedError, RetryableError
from recbole_rlmrec.llm.patience import Patience
from recbole_rlmrec.llm.pool import Pool
from recbole_rlmrec.llm.throttle import Throttle


def patience(seconds: float = 20.0) -> Patience:
    return Patience(Throttle(), threading.Event(), seconds, base=0.001)


def test_the_first_goes_alone_and_then_all_at_once():
    shared, running, most, together = patience(), [0], [0, 0], threading.Event()
    lock = threading.Lock()

    def send():
        with lock:
            running[0] += 1
            proven = shared.proven
            most[proven] = max(most[proven], running[0])
            if running[0] == 4:
                together.set()
        if proven:
            together.wait(20)
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return "answer"

    found = list(Pool(range(30), lambda task, tries: (task, shared.call(send, 0, tries)), shared, 4))
    assert sorted(task for task, _ in found) == list(range(30))
    assert most == [1, 4]


def test_a_task_that_fails_comes_again_after_the_others():
    shared, order = patience(), []

    def send(task):
        order.append(task)
        if task == 0 and len(set(order)) < 3:
            raise RetryableError("away", away=True)
        return task

    found = list(Pool(range(3), lambda task, tries: shared.call(lambda: send(task), 0, tries), shared, 1))
    assert found == [1, 2, 0] and order.count(0) == 9


def test_all_tasks_survive_an_outage():
    shared, calls = patience(), [0]

    def send(task):
        calls[0] += 1
        if 20 < calls[0] < 150:
            raise RetryableError("away", away=True)
        return task

    found = list(Pool(range(40), lambda task, tries: shared.call(lambda: send(task), 0, tries), shared, 5))
    assert sorted(found) == list(range(40))


def test_nothing_is_handed_over_where_all_is_refused():
    shared, asked = patience(), []

    def work(task, tries):
        asked.append(task)
        try:
            return shared.call(lambda: (_ for _ in ()).throw(RefusedError(f"no such deployment, request {task}")), 0, tries)
        except RefusedError as error:
            return str(error)

    found = []
    with pytest.raises(FatalError, match="no such deployment"):
        found.extend(Pool(range(50), work, shared, 8))
    assert found == [] and asked == [0, 1]


def test_refusals_before_the_first_answer_are_handed_over_with_it():
    shared = patience()

    def send(task):
        if task < 2:
            raise RefusedError(f"{'ab'[task]} is refused")
        return "answer"

    def work(task, tries):
        try:
            return task, shared.call(lambda: send(task), 0, tries)
        except RefusedError as error:
            return task, str(error)

    assert sorted(Pool(range(4), work, shared, 2)) == [(0, "a is refused"), (1, "b is refused"), (2, "answer"), (3, "answer")]


def test_an_error_ends_all_threads_and_what_was_done_is_handed_over():
    shared, found, before = patience(), [], threading.active_count()

    def send(task):
        if task == 5:
            raise ZeroDivisionError
        return task

    with pytest.raises(ZeroDivisionError):
        for task in Pool(range(10**6), lambda task, tries: shared.call(lambda: send(task), 0, tries), shared, 1):
            found.append(task)
    assert found == [0, 1, 2, 3, 4] and threading.active_count() <= before


def test_leaving_early_ends_the_work():
    shared, before = patience(), threading.active_count()
    results = iter(Pool(range(10**6), lambda task, tries: shared.call(lambda: task, 0, tries), shared, 3))
    next(results)
    results.close()
    assert threading.active_count() <= before and shared.stop.is_set()


def test_no_tasks():
    assert list(Pool([], lambda task, tries: task, patience(), 4)) == []
