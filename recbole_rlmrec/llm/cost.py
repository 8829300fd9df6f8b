"""Tokens and money: the price table, what was used, and the budget."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from recbole_rlmrec.data.reading import parse_yaml
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.chat import LOCAL_PREFIX, TEMPLATE

PRICES = Path(__file__).parent / "prices.yaml"
BATCH = " (batch)"
SAFETY = 1.25
WRITTEN_SHARE = 0.7
TOKENS_PER_WORD = 1.4
REASONING_TOKENS = 100


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    completion: float

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Price of so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass
class Usage:
    """What was used: requests answered and tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Usage) -> None:
        """Add ``other`` to this one."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return dict(vars(self))

    @classmethod
    def of(cls, value) -> Usage:
        """From JSON; nothing where that does not fit."""
        value = value if isinstance(value, dict) else {}
        counts = (value.get(name) for name in ("requests", "prompt_tokens", "completion_tokens"))
        return cls(*(count if isinstance(count, int) else 0 for count in counts))


def find_price(model: str, price_in: float | None = None, price_out: float | None = None, batch: bool = False) -> Price | None:
    """Price of a model; None where neither the table nor the caller knows it.

    Parameters
    ----------
    model : str
        With the suffix " (batch)" where the Batch API answered.
    price_in, price_out : float, optional
        US dollars per million tokens of prompts and completions; both or neither.
    batch : bool
        The price of the Batch API.

    Raises
    ------
    ConfigError
        Only one of the two is given, or one is negative.
    """
    if model.endswith(BATCH):
        model, batch = model.removesuffix(BATCH), True
    if model == TEMPLATE or model.startswith(LOCAL_PREFIX):
        return Price(0.0, 0.0)
    if (price_in is None) != (price_out is None):
        raise ConfigError("--price-in and --price-out go together: US dollars per million tokens.")
    if price_in is not None and price_out is not None:
        if not (0 <= price_in < float("inf") and 0 <= price_out < float("inf")):
            raise ConfigError("--price-in and --price-out are US dollars per million tokens, 0 or more.")
        return Price(price_in, price_out)
    listed = read_prices()["models"].get(model)
    if listed is None:
        return None
    share = listed.get("batch", 1.0) if batch else 1.0
    return Price(listed["input"] * share, listed["output"] * share)


def read_prices(path: Path = PRICES) -> dict:
    """The price table.

    Raises
    ------
    ConfigError
        Someone edited it into something else.
    """

    try:
        table = parse_yaml(path.read_text(encoding="utf-8"))
        for entry in table["models"].values():
            float(entry["input"]), float(entry["output"]), float(entry.get("batch", 1.0))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"{path} is no price table: each model needs numbers for input and output.") from None
    return table


def expected_completion(max_words: int) -> int:
    """Tokens of a typical answer: 0.7 of the longest summary at 1.4 tokens a word, and 100 for the reasoning."""
    return round(WRITTEN_SHARE * max_words * TOKENS_PER_WORD) + REASONING_TOKENS


class BudgetReached(Exception):
    """The next request could cost more than what is left."""


class Meter:
    """Counts what a run uses and keeps it below a budget. Safe to share between threads.

    A request is let through only when all that was paid, all that is in flight at its worst, and the request itself at
    its worst are within the budget. The worst is the longest answer and a quarter more than the prompt's estimated
    tokens, or more where an estimate of this run was further off.

    Parameters
    ----------
    price : Price, optional
        None where it is not known; then no budget can be kept.
    budget : float, optional
        US dollars.
    spent : float
        US dollars of earlier runs.

    Raises
    ------
    ConfigError
        A budget without a price.
    """

    def __init__(self, price: Price | None, budget: float | None = None, spent: float = 0.0) -> None:
        if budget is not None and price is None:
            raise ConfigError("--budget-usd needs a price: the model is not in the price table; give --price-in.")
        if budget is not None and not 0 <= budget < float("inf"):
            raise ConfigError("--budget-usd is an amount of US dollars, 0 or more.")
        self.used = Usage()
        self._price = price
        self._budget = budget
        self._spent = spent
        self._reserved = 0.0
        self._in_flight = 0
        self._ratio = SAFETY
        self._lock = threading.Condition()

    @property
    def usd(self) -> float | None:
        """What this run cost so far; None where the price is not known."""
        if self._price is None:
            return None
        return self._price.usd(self.used.prompt_tokens, self.used.completion_tokens)

    def reserve(self, prompt_tokens: int, most_completion_tokens: int, wait: bool = False) -> float:
        """Set aside what a request may cost; returns the amount for :meth:`settle`.

        Parameters
        ----------
        prompt_tokens, most_completion_tokens : int
        wait : bool
            Wait for requests in flight, which may cost less than was set aside for them.

        Raises
        ------
        BudgetReached
        """
        if self._price is None:
            return 0.0
        with self._lock:
            while True:
                worst = self._price.usd(prompt_tokens * self._ratio, most_completion_tokens)
                paid = self._spent + self.usd
                if self._budget is None or paid + self._reserved + worst <= self._budget:
                    self._reserved += worst
                    self._in_flight += 1
                    return worst
                if not wait or not self._in_flight:
                    raise BudgetReached(f"${paid:.4f} of ${self._budget:.4f} are spent, the next request could pass that")
                self._lock.wait()

    def settle(self, reserved: float, estimated: int = 0, usage: Usage | None = None) -> None:
        """Release what was set aside and count what was used instead (nothing for a request that failed)."""
        with self._lock:
            self._reserved -= reserved
            self._in_flight -= 1
            self._lock.notify_all()
            if usage is not None:
                self.used.add(usage)
                if estimated:
                    self._ratio = max(self._ratio, usage.prompt_tokens / estimated)
