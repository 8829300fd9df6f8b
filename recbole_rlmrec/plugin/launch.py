"""How a run gets several processes: its own ones on this machine, those of several machines, or those that torchrun started.

All of them run the same function. The parent of its own ones holds the store at which they meet, ends them all when one
fails, and reads the result from a file; they end when the parent does.
"""

from __future__ import annotations

import atexit
import importlib
import json
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path

from recbole_rlmrec.errors import ConfigError, ProcessError, RLMRecError, told
from recbole_rlmrec.model import parallel
from recbole_rlmrec.plugin.meeting import AGAIN, GRACE, by_torchrun, end_with_parent, lost, meeting, short, torchrun_meeting
from recbole_rlmrec.plugin.plan import OPTIONS, Plan

_LOST = 75


def gpus_of(config) -> list[str]:
    """Ids of the GPUs that a configuration names; none where it trains on the CPU."""
    import torch

    named = [part.strip() for part in str(config["gpu_id"]).split(",") if part.strip()]
    return named if torch.cuda.is_available() else []


def check_trainer(config) -> None:
    """Refuse models whose trainer knows no steps that processes could share.

    Raises
    ------
    ConfigError
    """
    from recbole.trainer import Trainer
    from recbole.utils import get_trainer

    if not issubclass(get_trainer(config["MODEL_TYPE"], config["model"]), Trainer):
        raise ConfigError(f"{config['model']} trains in one process; leave --nproc out.")


def check_gpus(gpus: list[str], here: int) -> None:
    """Refuse more processes than GPUs: NCCL does not let two processes have one.

    Raises
    ------
    ConfigError
    """
    if gpus and len(set(gpus)) < here:
        raise ConfigError(
            f"--nproc={here} needs {here} GPUs, one for each process, and gpu_id names {len(set(gpus))} ({','.join(gpus)}); "
            f"give --gpu_id={','.join(map(str, range(here)))}, fewer processes, or --gpu_id= for the CPU."
        )


def in_processes(
    action: Callable, arguments: dict, options: Mapping[str, object], gpus: Callable[[], list[str]], again: str = AGAIN
):
    """Run a function of a module in one process, or in as many as the options or torchrun say.

    Parameters
    ----------
    action : callable
        Found by its name in other processes; what it returns in the first can be pickled.
    arguments : dict
    options : mapping of str to object
        What is given of `plan.OPTIONS`.
    gpus : callable
        Gives the ids of the GPUs, see `gpus_of`, where there are several processes.
    again : str
        What to do when a process was lost: a sentence.

    Returns
    -------
    object
        What the function returned; None where another process has it.

    Raises
    ------
    ConfigError
        The options contradict each other.
    ProcessError
        One of several processes failed.
    """
    if by_torchrun():
        if given := [f"--{key}" for key in OPTIONS if key in options]:
            raise ConfigError(f"torchrun says how many processes there are and where they meet; leave {', '.join(given)} out.")
        ids = gpus()
        check_gpus(ids, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        with torchrun_meeting(ids, again=again):
            return action(**arguments)
        return None
    plan = Plan.of_options(options)
    return action(**arguments) if plan is None else together(plan, action, arguments, gpus(), again)


# --- processes of our own ------------------------------------------------------------------------------------------------


def together(plan: Plan, action: Callable, arguments: dict, gpus: list[str] | None = None, again: str = AGAIN):
    """Run a function of a module in all processes of this machine.

    Parameters
    ----------
    plan : Plan
    action : callable
        Found by its name in the processes; what it returns in process 0 can be pickled.
    arguments : dict
    gpus : list of str, optional
        See `gpus_of`.
    again : str
        What to do when a process was lost: a sentence.

    Returns
    -------
    object
        What process 0 returned; None on another machine.

    Raises
    ------
    ConfigError
        There are too few GPUs.
    ProcessError
        A process failed, was killed, or did not find the others.
    """
    check_gpus(gpus or [], plan.here)
    store = _open_store(plan) if plan.offset == 0 else None
    port = store.port if store else plan.port
    with tempfile.TemporaryDirectory(prefix="recbole-rlmrec-") as folder:
        name, context = f"{action.__module__}:{action.__qualname__}", multiprocessing.get_context("spawn")
        places = [(plan, local, port, gpus or []) for local in range(plan.here)]
        children = [context.Process(target=_child, args=(folder, name, arguments, sys.argv, *place)) for place in places]
        try:
            for child in children:
                child.start()
            _await(children)
            failed = [child for child in children if child.exitcode]
            if failed:
                raise _failure(Path(folder), plan, children, again)
            result = Path(folder) / "result"
            return pickle.loads(result.read_bytes()) if result.exists() else None
        finally:
            _end(children)


def _open_store(plan: Plan):
    from torch.distributed import TCPStore

    try:
        return TCPStore("localhost" if plan.size == plan.here else plan.host, plan.port, None, True, wait_for_workers=False)
    except (RuntimeError, ValueError, OSError) as reason:
        raise ProcessError(
            f"The processes cannot meet at port {plan.port} of {plan.host} ({short(reason)}); give another --port, or leave "
            "it out, and --ip, the address of this machine."
        ) from None


def _await(children) -> None:
    """Wait until all have ended, or one has failed and the others had time to say why."""
    end = None
    while running := [child for child in children if child.exitcode is None]:
        wait([child.sentinel for child in running], None if end is None else max(end - time.monotonic(), 0))
        if end is None and any(child.exitcode for child in children):
            end = time.monotonic() + GRACE
        if end is not None and time.monotonic() >= end:
            return


def _end(children) -> None:
    for act in ("terminate", "kill"):
        alive = [child for child in children if child.pid is not None and child.is_alive()]
        for child in alive:
            getattr(child, act)()
        for child in alive:
            child.join(GRACE / 2)


def _failure(folder: Path, plan: Plan, children, again: str = AGAIN) -> RLMRecError:
    """What went wrong, out of what the processes left: one that says why, one that was killed, one that lost the others."""
    known = {}
    for local in range(len(children)):
        file = folder / f"error-{local}"
        if file.is_file():
            known[local] = json.loads(file.read_text(encoding="utf-8"))
    for error in known.values():
        if error["kind"] == "said":
            return ProcessError(error["text"])
    for local, child in enumerate(children):
        if (child.exitcode or 0) < 0:
            by = signal.Signals(-child.exitcode).name
            return ProcessError(f"Process {plan.offset + local} of {plan.size} was killed ({by}), so all were ended. {again}")
    for local, child in enumerate(children):
        if child.exitcode and child.exitcode != _LOST:
            said = known.get(local, {}).get("text", f"status {child.exitcode}")
            return ProcessError(f"Process {plan.offset + local} of {plan.size} failed ({said}); what it printed is above.")
    return ProcessError(f"The processes lost each other: one on another machine has ended or cannot be reached. {again}")


def _child(folder: str, name: str, arguments: dict, argv: list[str], plan: Plan, local: int, port: int, gpus: list) -> None:
    """Body of a process."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.argv = argv
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    error, status = Path(folder) / f"error-{local}", 1
    try:
        import recbole  # noqa: F401  (repaired and extended by this package)

        module, _, function = name.partition(":")
        action = getattr(importlib.import_module(module), function)
        if not gpus and "OMP_NUM_THREADS" not in os.environ:
            import torch

            torch.set_num_threads(max(torch.get_num_threads() // plan.here, 1))
        host = "localhost" if plan.size == plan.here else plan.host
        with meeting(_client(host, port, plan), host, plan.offset + local, plan.size, local, plan.seconds, bool(gpus)):
            result = action(**arguments)
            if parallel.first():
                (Path(folder) / "result").write_bytes(pickle.dumps(result))
        status = 0
    except Exception as reason:
        kind, text = _kind(reason)
        status = {"said": 2, "lost": _LOST}.get(kind, 1)
        if kind == "other":
            traceback.print_exc()
        error.write_text(json.dumps({"kind": kind, "text": text}), encoding="utf-8")
    if not status:
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: what waits for lost processes would not end, and taking Python apart takes seconds


def _kind(reason: Exception) -> tuple[str, str]:
    if isinstance(reason, RLMRecError):
        return "said", str(reason)
    if lost(reason):
        return "lost", short(reason)
    if isinstance(reason, OSError):
        return "said", told(reason)
    return "other", f"{type(reason).__name__}: {short(reason)}"


def _client(host: str, port: int, plan: Plan):
    from torch.distributed import TCPStore

    try:
        return TCPStore(host, port, None, False, timedelta(seconds=plan.seconds), wait_for_workers=False)
    except (RuntimeError, ValueError, OSError) as reason:
        raise ProcessError(
            f"Process {plan.offset} found nobody at port {port} of {host} in {plan.seconds} seconds ({short(reason)}); start "
            "the machine with --group_offset=0 too, and give its address as --ip and the same --port on all."
        ) from None
