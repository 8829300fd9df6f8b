"""Ways to start the process of a cell: on this machine, or on a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import recbole_rlmrec
from recbole_rlmrec.errors import ConfigError

WORKER = "recbole_rlmrec.experiments.cells.worker"
LOG = "output.log"
RETRIES = 3
"""How often a cell begins anew whose machine was lost."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def count_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    """Environment of a cell's process: it finds this package from any folder and uses so many threads."""
    found = dict(os.environ)
    package = str(Path(recbole_rlmrec.__file__).parents[1])
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (package, found.get("PYTHONPATH"))))
    if "OMP_NUM_THREADS" not in found:
        found |= dict.fromkeys(_THREADS, str(threads))
    return found


class LocalLauncher:
    """Processes on this machine.

    Parameters
    ----------
    jobs : int
        Cells that run side by side; they share the processors.
    """

    def __init__(self, jobs: int = 1):
        self.jobs = jobs
        self._environment = environment(max(count_cpus() // jobs, 1))
        self._running: set[subprocess.Popen] = set()

    def __call__(self, folder: Path, argv: Sequence[str]) -> int:
        """Run a cell in its folder; returns the exit status. What it prints is in ``output.log``."""
        with open(folder / LOG, "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER, *argv],
                cwd=folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._running.add(process)
        try:
            return process.wait()
        finally:
            process.stdin.close()
            self._running.discard(process)

    def stop(self) -> None:
        """End the cells that are running."""
        for process in list(self._running):
            process.kill()


class RayLauncher:
    """Processes on a Ray cluster; files go there and back with the task, the data must be at the same path everywhere.

    A cell whose machine is lost begins again on another one.

    Parameters
    ----------
    address : str
        Of the cluster; ``local`` starts one on this machine.
    cpus, gpus : int, float
        What each cell gets; half a GPU lets two cells share one.

    Raises
    ------
    ConfigError
        There is no Ray, no such cluster, or no machine in it with that many.
    """

    def __init__(self, address: str, cpus: int = 1, gpus: float = 0):
        try:
            import ray
        except ImportError:
            raise ConfigError("--ray needs Ray, which is not installed: pip install 'recbole-rlmrec[ray]'.") from None
        variables = {name: value for name, value in environment(cpus).items() if name in ("PYTHONPATH", *_THREADS)}
        try:
            ray.init(
                address=None if address == "local" else address,
                runtime_env={"env_vars": variables},
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
            )
        except ImportError as reason:
            raise ConfigError(f"Ray cannot start: {reason}.") from None
        except (ConnectionError, ValueError) as reason:
            raise ConfigError(f"There is no Ray cluster at {address!r} ({reason}); `ray start --head` makes one.") from None
        there = ray.cluster_resources()
        fit = [int(there.get(name, 0) / each) for name, each in (("CPU", cpus), ("GPU", gpus)) if each]
        self.jobs = min(fit, default=1)
        if not self.jobs:
            found = f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
            ray.shutdown()
            raise ConfigError(f"A cell needs {cpus} CPUs and {gpus:g} GPUs, and the cluster has {found}; ask for fewer.")
        self._ray = ray
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(run_in_temporary_folder)

    def __call__(self, folder: Path, argv: Sequence[str]) -> int:
        """Run a cell on the cluster and bring its files into its folder; returns the exit status."""
        inputs = _files(folder)
        status, outputs = self._ray.get(self._task.remote(list(argv), inputs))
        for name, content in outputs.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return status

    def stop(self) -> None:
        """Leave the cluster; its tasks end with it."""
        self._ray.shutdown()


def run_in_temporary_folder(argv: list[str], inputs: dict[str, bytes]) -> tuple[int, dict[str, bytes]]:
    """Run a cell in a folder that does not last.

    Returns
    -------
    status : int
    outputs : dict of str to bytes
        Every file it left but RecBole's own logs, by path relative to the folder.
    """
    with tempfile.TemporaryDirectory(prefix="recbole-rlmrec-") as name:
        folder = Path(name)
        for file, content in inputs.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        if own := os.environ.get("CUDA_VISIBLE_DEVICES"):  # the GPU that Ray gave; RecBole sets the variable to gpu_id
            argv = [*argv, f"--gpu_id={own}"]
        status = LocalLauncher()(folder, argv)
        return status, _files(folder)


def _files(folder: Path) -> dict[str, bytes]:
    """Files of a cell but RecBole's own logs, by path relative to its folder."""
    paths = [*folder.glob("*"), *folder.glob("saved/**/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}
