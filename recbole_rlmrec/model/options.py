"""Reading the options of models: each check names the option, its value and what is allowed."""

from __future__ import annotations

from recbole_rlmrec.errors import ConfigError


def choice(config, key: str, allowed: tuple[str, ...]) -> str:
    """A word out of several, in any case of its letters.

    Raises
    ------
    ConfigError
        The value is none of them.
    """
    found = {name.lower(): name for name in allowed}.get(str(config[key]).lower())
    if found is None:
        raise ConfigError(f"{key} is {config[key]!r}; set it to one of {', '.join(allowed)}.")
    return found


def number(config, key: str, least: float, allowed: str, default: float | None = None) -> float:
    """A finite number of at least ``least``; ``allowed`` says so in words. Empty means ``default``, if there is one.

    Raises
    ------
    ConfigError
        The value is no number or out of range.
    """
    value = config[key]
    if value in (None, "") and default is not None:
        return default
    if not _is_number(value) or not least <= value < float("inf"):
        raise ConfigError(f"{key} is {value!r}; set it to {allowed}.")
    return value


def share(config, key: str, upper_included: bool = False) -> float:
    """A number in (0, 1), or in (0, 1] with ``upper_included``.

    Raises
    ------
    ConfigError
        The value is no number or out of range.
    """
    value = config[key]
    if not _is_number(value) or not (0 < value < 1 or (upper_included and value == 1)):
        bounds = "above 0 and at most 1" if upper_included else "between 0 and 1, both excluded"
        raise ConfigError(f"{key} is {value!r}; set it to a number {bounds}.")
    return value


def count(config, key: str, allowed: str = "a whole number of at least 1") -> int:
    """A whole number of at least 1; ``allowed`` says in words what else the option takes.

    Raises
    ------
    ConfigError
        The value is no whole number or below 1.
    """
    value = config[key]
    if not _is_number(value) or not 1 <= value < float("inf") or value != int(value):
        raise ConfigError(f"{key} is {value!r}; set it to {allowed}.")
    return int(value)


def flag(config, key: str) -> bool:
    """True or False.

    Raises
    ------
    ConfigError
        The value is neither.
    """
    value = config[key]
    if not isinstance(value, bool):
        raise ConfigError(f"{key} is {value!r}; set it to True or False.")
    return value


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
