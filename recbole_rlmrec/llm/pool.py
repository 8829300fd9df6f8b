"""Questions asked by several threads at a time."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from recbole_rlmrec.llm.patience import Patience, PutBack, Tries
from recbole_rlmrec.llm.throttle import Stopped

LOOK = 0.05

Task = TypeVar("Task")
Done = TypeVar("Done")


class Pool(Generic[Task, Done]):
    """Works through tasks with some threads; until the first answer proves server and settings, with one.

    A task that fails for the time being (:class:`PutBack`) comes again after the others. What is done is handed over when
    something has been answered, or at the end: where the server refuses everything, nothing is.

    Parameters
    ----------
    tasks : iterable
        Drawn one by one, by one thread at a time.
    work : callable
        From a task and its :class:`Tries` to what is done; may raise whatever :meth:`Patience.call` raises.
    patience : Patience
        Its ``stop`` ends the work; so does an error, which is raised when all threads have ended.
    workers : int
    """

    def __init__(self, tasks: Iterable[Task], work: Callable[[Task, Tries], Done], patience: Patience, workers: int) -> None:
        self._tasks, self._work, self._patience = iter(tasks), work, patience
        self._later: deque[tuple[Task, Tries]] = deque()
        self._running = 0
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._done: queue.SimpleQueue[Done | None] = queue.SimpleQueue()
        self._held: list[Done] = []
        self._error: BaseException | None = None
        self._working = workers
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(workers)]

    def start(self) -> Pool[Task, Done]:
        """Begin; returns itself."""
        for thread in self._threads:
            thread.start()
        return self

    @property
    def working(self) -> bool:
        """Whether more may arrive."""
        return self._working > 0

    def arrived(self, seconds: float | None = None) -> list[Done]:
        """What was done since the last call, after waiting for something, at most so many seconds."""
        found: list[Done | None] = []
        try:
            found.append(self._done.get(timeout=None if seconds is None else max(seconds, 0.0)))
            while True:
                found.append(self._done.get_nowait())
        except queue.Empty:
            pass
        self._working -= found.count(None)
        self._held += [entry for entry in found if entry is not None]
        if self._patience.answers == 0 and (self._working or self._error is not None):
            return []
        released, self._held = self._held, []
        return released

    def raise_error(self) -> None:
        """Wait for the threads to end, and raise the error that ended the work, if one did."""
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def __iter__(self) -> Iterator[Done]:
        """All that is done, as it arrives; then the error, if there is one. Stops the work when it is left early."""
        self.start()
        try:
            while self.working:
                yield from self.arrived()
        finally:
            self._patience.stop.set()
            for thread in self._threads:
                thread.join()
        self.raise_error()

    def _run(self) -> None:
        try:
            while not self._patience.stop.is_set():
                if self._patience.proven:
                    more = self._next()
                else:
                    with self._alone:
                        more = self._next() if not self._patience.proven else True
                if not more:
                    break
        except Stopped:
            pass
        except BaseException as error:  # whatever it is, the other threads must end and the caller must see it
            with self._lock:
                self._error = self._error or error
            self._patience.stop.set()
        finally:
            self._done.put(None)

    def _next(self) -> bool:
        """Do one task; False when none is left."""
        drawn = self._draw()
        if drawn is None:
            return False
        task, tries = drawn
        again = False
        try:
            self._done.put(self._work(task, tries))
        except PutBack:
            again = True
        finally:
            with self._lock:
                self._running -= 1
                if again:
                    self._later.append((task, tries))
        return True

    def _draw(self) -> tuple[Task, Tries] | None:
        """A new task or one that was put back; waits while another thread may still put one back."""
        while not self._patience.stop.is_set():
            with self._lock:
                task = next(self._tasks, None)
                if task is not None or self._later:
                    self._running += 1
                    return self._later.popleft() if task is None else (task, Tries())
                if not self._running:
                    return None
            self._patience.stop.wait(LOOK)
        return None
