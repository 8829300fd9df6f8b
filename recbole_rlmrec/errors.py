"""Errors that a person can act on: each message says what is wrong, where, and what to do."""


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
