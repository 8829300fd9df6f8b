"""SIGKILL at random moments: nothing is lost that was delivered a second before, and nothing of it is paid twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from films import Setup, make_corpus
from killable import job
from loopback import Loopback

N = 450
KILLS = 20


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_twenty_times(tmp_path, monkeypatch):
    tests = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tests / "support"), str(tests.parent)]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "killable"])
    numbers = random.Random(4)
    lives = [numbers.uniform(0.0, 0.3) for _ in range(KILLS - 4)] + [numbers.uniform(1.0, 1.5) for _ in range(4)]
    numbers.shuffle(lives)
    kills = []
    with stalls() as stalled, Loopback(delay=0.03) as server:
        server.keep_payloads = False
        folder = tmp_path / "killed"
        for life in lives:
            process = context.Process(target=job, args=(str(folder), server.url, N, 3))
            process.start()
            asked = server.requests
            while server.requests == asked and process.is_alive():
                time.sleep(0.002)
            process.join(life)
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills.append(time.time())
            process.join()
        assert len(kills) == KILLS, "the job must be longer than its lives"
        run(context, folder, server.url)
        answered = list(server.delivered)
        run(context, tmp_path / "whole", server.url)
    paid: dict[str, list[float]] = {}
    for question, moment in answered:
        paid.setdefault(question, []).append(moment)
    assert len(paid) == 2 * N
    again = [moments for moments in paid.values() if len(moments) > 1]
    for moments in again:
        for moment in moments[:-1]:
            nearest = min((kill - moment for kill in kills if kill > moment - 0.5), default=None)
            assert nearest is not None and nearest < 1.0 + 2 * stalled[0], "it was on disk and was asked for again"
    assert len(answered) < 2 * N + KILLS * 10
    killed, whole = (Setup(path, make_corpus(N, N)) for path in (folder, tmp_path / "whole"))
    for side in ("item", "user"):
        files = [sorted(setup.store.path(side).read_bytes().splitlines(keepends=True)) for setup in (killed, whole)]
        assert files[0] == files[1]
        assert len(files[0]) == N
    assert killed.store.manifest["usage"] == whole.store.manifest["usage"]


@contextmanager
def stalls():
    """A list whose one entry is the longest time for which this busy machine let a sleeping thread wait, in seconds."""
    longest, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            start = time.monotonic()
            time.sleep(0.01)
            longest[0] = max(longest[0], time.monotonic() - start - 0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield longest
    finally:
        ended.set()
        thread.join()


def run(context, folder, url: str) -> None:
    """Run the job to its end."""
    process = context.Process(target=job, args=(str(folder), url, N, 24))
    process.start()
    process.join()
    assert process.exitcode == 0
