"""Where processes meet, how they notice that the others are gone, and the place that torchrun gives a process."""

from __future__ import annotations

import multiprocessing
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.connection import wait

from recbole_rlmrec.errors import ProcessError, RLMRecError
from recbole_rlmrec.model import parallel

STEP_SECONDS = 3600
"""How long a process waits for the others later: while one builds profiles, writes a checkpoint or computes metrics."""
GRACE = 5.0
"""How long the others may take to say why they fail, or to end, when one has failed."""
SILENCE = 45
"""Seconds after which a machine that gives no sign of life is lost: no power, no network. One that only works is not silent."""
AGAIN = "The same command with --resume goes on from the last checkpoint."

_GLOO = "GLOO_SOCKET_IFNAME"
_OPEN_FILES = "/proc/self/fd"
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def lost(reason: BaseException) -> bool:
    """Whether an error is that of a process that waits for others which are no longer there."""
    import torch

    if isinstance(reason, torch.distributed.DistError):
        return True
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")
    return isinstance(reason, RuntimeError) and any(word in str(reason) for word in words)


def short(reason: BaseException) -> str:
    """What an error says, in a line."""
    return " ".join(str(reason).split())[:200].rstrip(".") or type(reason).__name__


def end_with_parent() -> None:
    """End this process when the one that started it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    else:
        started = os.getppid()
        while os.getppid() == started:
            time.sleep(0.5)
    os._exit(1)


@contextmanager
def meeting(store, host: str, rank: int, size: int, local_rank: int, seconds: int, on_gpu: bool) -> Iterator[None]:
    """Take a place among processes that meet at a store on a host, on a GPU the one whose number is ``local_rank``.

    Raises
    ------
    ProcessError
        Not all of them come in time, or they cannot reach each other.
    """
    import torch
    import torch.distributed as dist

    names = [f"recbole-rlmrec-{place}" for place in range(size)]
    try:
        store.set(names[rank], socket.gethostname())
        store.wait(names, timedelta(seconds=seconds))
    except RuntimeError:
        missing = [str(place) for place, name in enumerate(names) if not _is_there(store, name)]
        raise ProcessError(
            f"{len(missing)} of {size} processes did not come within {seconds} seconds (number {', '.join(missing)}); start "
            "all of them, with the same --world_size, --ip and --port, and --group_offset the number of each machine's first."
        ) from None
    if on_gpu:
        torch.cuda.set_device(local_rank)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    if _GLOO not in os.environ and (interface := _interface_to(host)):
        os.environ[_GLOO] = interface
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=STEP_SECONDS))
    except RuntimeError as reason:
        raise ProcessError(
            f"The processes met at {host} and cannot reach each other through {os.environ.get(_GLOO, 'the network')} "
            f"({short(reason)}); name each machine's network interface, for example {_GLOO}=eth0."
        ) from None
    ask_for_signs_of_life()
    parallel.enter(rank, size, local_rank)
    try:
        yield
        parallel.wait()
        dist.destroy_process_group()
    except parallel.EndedByFirst:
        with suppress(RuntimeError):  # it may be gone
            parallel.wait()
    finally:
        parallel.enter(0, 1)


def ask_for_signs_of_life(seconds: int = SILENCE) -> None:
    """Have the system notice that the other end of one of this process's TCP connections is gone, and break that connection.

    A machine that loses its power or network sends nothing, so who waits for it would wait `STEP_SECONDS`. The system asks the
    other system, not the process there, which may be busy for long. Gloo gives no way to its connections; they are found among
    the open files, where there is a list of them (Linux).

    Parameters
    ----------
    seconds : int
        How long the other end may be silent.
    """
    wanted = {"TCP_KEEPIDLE": seconds // 3, "TCP_KEEPINTVL": seconds // 6, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 1000 * seconds}
    for name in os.listdir(_OPEN_FILES) if os.path.isdir(_OPEN_FILES) else ():
        with suppress(OSError):  # the list itself was open, and is not any more
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.type == socket.SOCK_STREAM and connection.family in (socket.AF_INET, socket.AF_INET6):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option, value in wanted.items():
                        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _interface_to(host: str) -> str:
    """Name of the network interface that leads to a host, empty where that cannot be told.

    Gloo takes the address that this machine's name has, which on many machines is that of the loopback, where no other
    machine comes.
    """
    import psutil

    with suppress(OSError):
        family, kind, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing
            mine = probe.getsockname()[0]
        for name, addresses in psutil.net_if_addrs().items():
            if any(one.address == mine for one in addresses):
                return name
    return ""


def _is_there(store, name: str) -> bool:
    try:
        return store.check([name])
    except RuntimeError:
        return False


# --- processes of torchrun -----------------------------------------------------------------------------------------------


def by_torchrun() -> bool:
    """Whether torchrun, or something that sets what it sets, started this process among others."""
    return all(name in os.environ for name in _TORCHRUN) and os.environ["WORLD_SIZE"] != "1" and not parallel.many()


@contextmanager
def torchrun_meeting(gpus: list[str], seconds: int = 300, again: str = AGAIN) -> Iterator[None]:
    """Take the place that torchrun gave this process; it ends when torchrun does.

    Raises
    ------
    ProcessError
        Not all of them come in time, or one is lost later.
    """
    from torch.distributed import rendezvous

    local = int(os.environ["LOCAL_RANK"])
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(seconds=seconds))))
    except (RuntimeError, ValueError, OSError) as reason:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ProcessError(f"torchrun's processes cannot meet at {place} ({short(reason)}).") from None
    try:
        with meeting(store, os.environ["MASTER_ADDR"], rank, size, local, seconds, bool(gpus)):
            yield
    except Exception as reason:
        if rank:
            time.sleep(GRACE)  # the first one has the word; torchrun ends the others
        if not lost(reason) or isinstance(reason, RLMRecError):
            raise
        raise ProcessError(f"The processes lost each other: one has ended or cannot be reached. {again}") from None
