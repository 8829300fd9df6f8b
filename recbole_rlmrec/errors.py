"""Errors that a person can act on: each message says what is wrong, where, and what to do."""

import errno
import os
import shlex
import sys
from collections.abc import Callable


class RLMRecError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(RLMRecError, ValueError):
    """An option is unknown, out of range, or contradicts another one."""


class ModelError(RLMRecError, ValueError):
    """A model does not exist or cannot be aligned."""


class DataError(RLMRecError, ValueError):
    """Atomic files are missing or do not hold what the task needs."""


class StoreError(RLMRecError):
    """A profile store is unreadable, half-written, locked or of another dataset."""


class SemanticError(RLMRecError, ValueError):
    """Semantic embeddings are missing, malformed or of another dataset."""


class LeakageError(RLMRecError):
    """Profiles quote interactions of the run's validation or test split."""


class EncoderError(RLMRecError):
    """A text encoder cannot be loaded or returns something unusable."""


class ChatError(RLMRecError):
    """A chat model cannot be reached, refuses, or answers unusably."""


class ProcessError(RLMRecError):
    """A process of several failed, was killed, or did not find the others."""


class CheckpointError(RLMRecError):
    """A checkpoint is unreadable or holds objects that are not allowed."""


def duration(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


_TOLD = {
    errno.ENOSPC: "the disk is full; free some space and give the same command again",
    getattr(errno, "EDQUOT", None): "your quota on this disk is used up; free some space and give the same command again",
    errno.EROFS: "this file system is read-only; use a folder that can be written to",
    errno.EMFILE: "too many files are open; raise the limit (`ulimit -n 4096`) and give the same command again",
    errno.ENFILE: "too many files are open on this machine; end other programs and give the same command again",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.EIO: "the disk reports an error; use another one",
}
_DENIED = "permission denied; use a folder of yours. A run writes to saved/, to log/ where it is started, and to semantic_path"


def refused(error: BaseException) -> bool:
    """Whether the system could not do what was asked, whatever the file holds: a full disk, too many open files."""
    return isinstance(error, OSError) and error.errno in _TOLD


def told(error: OSError) -> str:
    """A sentence for a file or a disk that refused: which file, why, and what to do."""
    where = error.filename2 or error.filename
    if isinstance(error, PermissionError):
        reason = _DENIED
    else:
        said = error.strerror or " ".join(str(error).split()) or type(error).__name__
        reason = _TOLD.get(error.errno) or said[0].lower() + said[1:]
    return f"{where}: {reason}." if where else f"{reason[0].upper()}{reason[1:]}."


def quoted(argument: object) -> str:
    """An argument as a person would type it in a shell: double quotes around text that holds single ones."""
    text = str(argument)
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def guarded(action: Callable[[], int]) -> int:
    """Run an action; an error that a person can act on becomes one line and exit status 2."""
    try:
        return action() or 0
    except RLMRecError as error:
        print(f"recbole-rlmrec: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"recbole-rlmrec: {told(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recbole-rlmrec: stopped.", file=sys.stderr)
        return 130
