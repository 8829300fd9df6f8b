"""Run cells once each, side by side, and keep what they leave."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from threading import Lock, Semaphore

from tqdm import tqdm

from recbole_rlmrec.data.files import held, read_json, write_json
from recbole_rlmrec.data.store import now
from recbole_rlmrec.errors import ConfigError, StoreError, duration
from recbole_rlmrec.experiments.cells.cell import FORMAT, RECORD_SHAPE, Cell, Outcome, headline, package_versions
from recbole_rlmrec.experiments.cells.launch import LOG
from recbole_rlmrec.plugin import resume

ARGV = ("--config_files=cell.yaml", "--result_file=result.json", "--per_user_file=users.json", "--resume")
KEPT_FILES = ("result.json", "users.json", "users.values.npy", "users.top.npy", "users.rows.npy", LOG)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORDS = {"source": "source code"}


class Runner:
    """Cells of a results folder.

    Parameters
    ----------
    folder : Path
        Results folder; ``cells/KEY`` holds a finished cell, ``failed/KEY`` what is left of one that failed.
    launch : callable
        ``launch(folder, argv) -> status`` runs a cell's process; ``launch.jobs`` of them at a time, ``launch.stop()`` ends all.
    trust_cells : bool
        Whether cells may be used that other code or other versions of RecBole and torch have computed.
    say : callable
        Takes a line for the person who waits.

    Attributes
    ----------
    failed : dict
        What is known of each cell that failed, by key.
    """

    def __init__(self, folder: Path, launch, trust_cells: bool = False, say: Callable[[str], None] = tqdm.write):
        self.folder, self.failed = folder, {}
        self._launch, self._trust_cells, self.say = launch, trust_cells, say
        self._seconds: dict[tuple[str, str], list[float]] = {}
        self._stopping, self._slots = False, Semaphore(launch.jobs)
        self._running: dict[str, Lock] = {}

    @property
    def jobs(self) -> int:
        """Cells that run side by side."""
        return self._launch.jobs

    @contextmanager
    def locked(self):
        """Hold the results folder for this process and clear away what a killed one left but half-trained cells.

        Raises
        ------
        StoreError
            Another experiment runs in it.
        """
        with held(self.folder, f"Another experiment runs in {self.folder}; wait for it or choose another --output."):
            for work in self.folder.glob("work/*"):
                if not half_trained(work):
                    shutil.rmtree(work, ignore_errors=True)
            yield

    def run(self, cells: Sequence[Cell]) -> list[Outcome]:
        """Run the cells that are not there yet.

        Parameters
        ----------
        cells : sequence of Cell
            Those of one key are run once.

        Returns
        -------
        list of Outcome
            One for each cell that is finished, in the order of ``cells``; ``self.failed`` has the others' reasons by key.

        Raises
        ------
        ConfigError
            A stored cell was computed by other code, or by another version of RecBole or torch.
        StoreError
            A stored cell is damaged.
        """
        todo = {}
        for cell in cells:
            if self._is_stored(cell):
                self._check_version(cell)
            else:
                kept = todo.get(cell.key)
                todo[cell.key] = cell if kept is None or cell.keep else kept
        stored = len({cell.key for cell in cells}) - len(todo)
        if stored:
            self.say(f"{stored} of {stored + len(todo)} cells are there from before.")
        self._run_all(list(todo.values()))
        outcomes = [Outcome(cell, self._place(cell)) for cell in cells if self._is_stored(cell)]
        for outcome in outcomes:
            if outcome.metrics.keys() != outcomes[0].metrics.keys():
                raise StoreError(
                    f"{outcome.folder} has other metrics than {outcomes[0].folder}; delete the one that was changed and call "
                    "the experiment again."
                )
        return outcomes

    def _place(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.key

    def _is_stored(self, cell: Cell) -> bool:
        place = self._place(cell)
        return (place / "cell.json").is_file() and (not cell.keep or (place / "model.pth").is_file())

    def _check_version(self, cell: Cell) -> None:
        path = self._place(cell) / "cell.json"
        record = read_json(path, StoreError, "delete the cell's folder and call the experiment again", RECORD_SHAPE)
        mine, theirs = package_versions(), record.get("versions") or {}
        other = [
            f"{_WORDS.get(name, name)} {theirs.get(name) or 'that is not recorded'} (here {mine[name]})"
            for name in mine
            if mine[name] != theirs.get(name)
        ]
        if other and not self._trust_cells:
            raise ConfigError(
                f"{self.folder} holds cells made with {', '.join(other)}; choose another --output, "
                "or add --trust-cells to put them into one table."
            )

    def _run_all(self, cells: list[Cell]) -> None:
        if not cells:
            return
        pool = ThreadPoolExecutor(max_workers=self._launch.jobs)
        waiting = {pool.submit(self._run_once, cell): cell for cell in cells}
        try:
            self._watch(waiting)
        except BaseException:
            for future in waiting:
                future.cancel()
            self.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def stop(self) -> None:
        """End the cells that are running and start no more."""
        self._stopping = True
        self._launch.stop()

    def _watch(self, waiting: dict[Future, Cell]) -> None:
        left = list(waiting.values())
        with tqdm(total=len(left), desc="cells", unit="cell", ncols=100, disable=None) as bar:
            for future in as_completed(waiting):
                cell = waiting[future]
                text = future.result()
                left.remove(cell)
                bar.update()
                self.say(f"[{len(waiting) - len(left)}/{len(waiting)}] {cell.label}: {text}{self._time_left(left)}")

    def _time_left(self, left: list[Cell]) -> str:
        if not left or not self._seconds:
            return ""
        usual = mean(value for values in self._seconds.values() for value in values)
        each = [mean(self._seconds.get((cell.runs, cell.variant), [usual])) for cell in left]
        return f"; {duration(sum(each) / min(self._launch.jobs, len(left)))} left"

    def _run_once(self, cell: Cell) -> str:
        """Run a cell, unless another search has it by now: AlphaRec's are the same for all backbones."""
        with self._running.setdefault(cell.key, Lock()):
            return "there by now" if self._is_stored(cell) else self._run_one(cell)

    def _run_one(self, cell: Cell) -> str:
        """Run a cell in a folder of its own, on from where it was interrupted; only a finished one comes under its key."""
        with self._slots:
            if self._stopping:
                return "stopped"
            work = self._work(cell)
            (work / "cell.yaml").write_text(json.dumps(cell.settings(), ensure_ascii=False, indent=1), encoding="utf-8")
            status = self._launch(work, [f"--model={cell.runs}", f"--dataset={cell.dataset}", *ARGV])
        if status != 0 or not (work / "usage.json").is_file():
            return self._note_failure(cell, work, reason(status, work / LOG))
        if read_json(work / "result.json", StoreError, "call the experiment again")["test_result"] is None:
            return self._note_failure(cell, work, "there is no test result, because the test split is empty")
        return self._note_success(cell, work)

    def _work(self, cell: Cell) -> Path:
        """The cell's folder while it runs: with its last checkpoint where it was interrupted before, else empty."""
        work, failed = self.folder / "work" / cell.key, self.folder / "failed" / cell.key
        if not half_trained(work):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            if half_trained(failed):
                shutil.move(failed / "saved", work / "saved")
        return work

    def _note_success(self, cell: Cell, work: Path) -> str:
        usage = read_json(work / "usage.json", StoreError, "call the experiment again")
        record = {"format": FORMAT, **cell.about(), "usage": usage, "jobs": self._launch.jobs, "made": now()}
        write_json(work / "cell.json", {**record, "versions": package_versions()})
        trained = read_json(work / "result.json", StoreError, "call the experiment again")["run"]["checkpoint"]
        if cell.keep and trained and (work / trained).is_file():
            (work / trained).rename(work / "model.pth")
        for path in work.iterdir():
            if path.name not in (*KEPT_FILES, "cell.json", "cell.yaml", "model.pth"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        _put(work, self._place(cell))
        shutil.rmtree(self.folder / "failed" / cell.key, ignore_errors=True)
        self.failed.pop(cell.key, None)
        self._seconds.setdefault((cell.runs, cell.variant), []).append(usage["seconds"])
        metric, value = headline(Outcome(cell, self._place(cell)))
        return f"{metric} {value:.4f}, {duration(usage['seconds'])}"

    def _note_failure(self, cell: Cell, work: Path, line: str) -> str:
        if self._stopping:
            return "stopped"
        write_json(work / "cell.json", {**cell.about(), "reason": line, "made": now()})
        place = self.folder / "failed" / cell.key
        _put(work, place)
        self.failed[cell.key] = {**cell.about(), "reason": line, "log": str(place / LOG)}
        return f"FAILED, {line}"


def half_trained(folder: Path) -> bool:
    """Whether a cell was interrupted there and left what it takes to go on."""
    return any(folder.glob(f"saved/{resume.FOLDER}/*/*.last"))


def _put(work: Path, place: Path) -> None:
    """Rename a folder to its place, away with what is there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(work.with_name(f"{work.name}.old"))
    work.rename(place)
    shutil.rmtree(work.with_name(f"{work.name}.old"), ignore_errors=True)


def reason(status: int, log: Path) -> str:
    """Why a cell failed: the last line of its log, or the signal that ended its process."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return f"its process was ended by signal {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
    return last_line(log) or f"its process ended with status {status}"


def last_line(log: Path) -> str:
    """Last line of a log that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    said = (_COLOUR.sub("", line).strip() for line in reversed(lines))
    return next(filter(None, said), "").removeprefix("recbole-rlmrec: ")
