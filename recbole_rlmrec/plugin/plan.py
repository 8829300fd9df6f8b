"""How many processes a run has, and where they meet, as RecBole's options say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recbole_rlmrec.errors import ConfigError

OPTIONS = ("nproc", "world_size", "ip", "port", "group_offset", "meeting_seconds")
MEETING_SECONDS = 300
"""How long processes wait for each other when a run begins."""


@dataclass(frozen=True)
class Plan:
    """Processes of a run.

    Attributes
    ----------
    here, size : int
        Number of processes on this machine, and on all.
    offset : int
        Number of the first process of this machine.
    host : str
        Address of the machine that has process 0.
    port : int
        Its port; 0 for any free one.
    seconds : int
        How long they wait for each other at the beginning.
    """

    here: int
    size: int
    offset: int
    host: str
    port: int
    seconds: int

    @classmethod
    def of_options(cls, options: Mapping[str, object]) -> Plan | None:
        """What RecBole's options say; None for one process.

        Raises
        ------
        ConfigError
            They contradict each other, or one is no number where it has to be.
        """
        here = _number(options, "nproc", 1, 1)
        if here < 1:
            raise ConfigError(f"--nproc={here} trains nothing; it is the number of processes, 1 or more.")
        size, offset = _number(options, "world_size", -1, 2 * here), _number(options, "group_offset", 0, here)
        seconds = _number(options, "meeting_seconds", MEETING_SECONDS, MEETING_SECONDS)
        size = here if size == -1 else size
        if size < here:
            raise ConfigError(
                f"--world_size={size} is the number of processes on all machines, and --nproc={here} of them are to be on this "
                f"one; give --world_size={here} or more."
            )
        if not 0 <= offset <= size - here:
            more = "give --world_size, the number of processes on all machines, too" if size == here else "give a smaller one"
            raise ConfigError(
                f"--group_offset={offset} is the number of this machine's first process, and with {here} of {size} processes "
                f"here it is {size - here} at most; {more}."
            )
        if seconds < 1:
            raise ConfigError(f"--meeting_seconds={seconds} is no time to wait; give a number of seconds, for example 300.")
        port = _number(options, "port", 5678 if size > here else 0, 5678)
        if size == 1:
            return None
        if not 0 <= port < 2**16 or (port == 0 and size > here):
            raise ConfigError(f"--port={port} is no port; give one from 1 to 65535, for example --port=5678.")
        return cls(here, size, offset, str(options.get("ip") or "localhost"), port, seconds)


def _number(options: Mapping[str, object], key: str, default: int, example: int) -> int:
    value = options.get(key, default)
    try:
        return int(str(value))
    except ValueError:
        raise ConfigError(f"--{key}={value} is no whole number; write for example --{key}={example}.") from None
