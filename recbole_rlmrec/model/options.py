"""Options of models: declared once with default, range and meaning; each check names the option and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_rlmrec.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """An option as the class that reads it declares it.

    Parameters
    ----------
    name : str
        Its key in RecBole's config.
    default : object
        What an empty value means; None where it means that there is none.
    text : str
        One line that says what it does.
    kind : {float, int, bool, str}
        A number, a whole number, True or False, or one of ``words`` alone.
    words : tuple of str
        What it takes beside a number; in any case of their letters.
    least, above, below : float, optional
        Bounds of a number: at least, more than, less than.

    Examples
    --------
    >>> Option("align_temperature", 0.2, "temperature of the loss", above=0).read({"align_temperature": None})
    0.2
    """

    name: str
    default: object
    text: str
    kind: type = float
    words: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def allowed(self) -> str:
        """What it takes, in words."""
        if self.kind is bool:
            return "True or False"
        if self.kind is str:
            return f"one of {', '.join(self.words)}"
        noun = "a whole number" if self.kind is int else "a number"
        bounds = [f"at least {self.least:g}"] if self.least is not None else []
        bounds += [f"above {self.above:g}"] if self.above is not None else []
        bounds += [f"below {self.below:g}"] if self.below is not None else []
        of = "of " if bounds and self.least is not None else ""
        number = " ".join([noun, of + " and ".join(bounds)]).strip()
        return f"{', '.join(f'`{word}`' for word in self.words)} or {number}" if self.words else number

    def read(self, config):
        """Its value in a run, checked; empty means the default.

        Raises
        ------
        ConfigError
            The value is none of those that are allowed.
        """
        value = config[self.name]
        if value is None or (isinstance(value, str) and not value):
            return self.default
        if isinstance(value, str) and value.lower() in (lower := {word.lower(): word for word in self.words}):
            return lower[value.lower()]
        if not self._fits(value):
            raise ConfigError(f"{self.name} is {value!r}; set it to {self.allowed}.")
        return int(value) if self.kind is int else value

    def _fits(self, value) -> bool:
        if self.kind is bool:
            return isinstance(value, bool)
        if self.kind is str or not _is_number(value) or not float("-inf") < value < float("inf"):
            return False
        return not (
            (self.kind is int and value != int(value))
            or (self.least is not None and value < self.least)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )


def declared(cls: type) -> dict[str, Option]:
    """Options by name that a class and its bases declare in ``options``; a class's own stand over those of its bases."""
    classes = [base for base in reversed(cls.__mro__) if "options" in vars(base)]
    return {option.name: option for base in classes for option in base.options}


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


def number(config, key: str, least: float, allowed: str, default: float | None = None, below: float = float("inf")) -> float:
    """A number of at least ``least`` and less than ``below``; ``allowed`` says so in words. Empty means ``default``, if any.

    Raises
    ------
    ConfigError
        The value is no number or out of range.
    """
    value = config[key]
    if value in (None, "") and default is not None:
        return default
    if not _is_number(value) or not least <= value < below:
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


def count(config, key: str, allowed: str = "a whole number of at least 1", least: int = 1) -> int:
    """A whole number of at least ``least``; ``allowed`` says in words what the option takes.

    Raises
    ------
    ConfigError
        The value is no whole number or below ``least``.
    """
    value = config[key]
    if not _is_number(value) or not least <= value < float("inf") or value != int(value):
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
