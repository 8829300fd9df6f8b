"""Errors that a person can act on: each message says what is wrong, where, and what to do."""

import os
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


class CheckpointError(RLMRecError):
    """A checkpoint is unreadable or holds objects that are not allowed."""


def duration(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def guarded(action: Callable[[], int]) -> int:
    """Run an action; an error that a person can act on becomes one line and exit status 2."""
    try:
        return action() or 0
    except RLMRecError as error:
        print(f"recbole-rlmrec: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(
            f"recbole-rlmrec: {error.filename or error}: permission denied; use a folder of yours. A run writes to saved/ and "
            "log/ where it is started, and to --semantic_path.",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("recbole-rlmrec: stopped.", file=sys.stderr)
        return 130
