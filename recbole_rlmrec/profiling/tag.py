"""A tag as a whole: its manifest, what it cost, and how its profiles look."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_rlmrec.data.profile import text_digest
from recbole_rlmrec.data.store import ProfileStore, now
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.llm.cost import BATCH, Usage, find_price
from recbole_rlmrec.profiling.answers import count_words
from recbole_rlmrec.profiling.prompts import Domain
from recbole_rlmrec.profiling.quality import describe_quality
from recbole_rlmrec.profiling.questions import SIDES, Questions
from recbole_rlmrec.profiling.stored import SEVERAL, drop_lines, usage_of_lines

BY = "chat "


@dataclass(frozen=True)
class SideSummary:
    """How the profiles of one side look.

    Attributes
    ----------
    side : str
    total, covered, failed : int
        Tokens of the run, those with a profile, those listed in ``failures.jsonl``.
    mean_words : float
    duplicates : int
        Profiles whose text another one has too.
    several : int
        Profiles whose answers held other ones before them.
    """

    side: str
    total: int
    covered: int
    failed: int
    mean_words: float
    duplicates: int
    several: int = 0


class Tag:
    """Opens a tag for profiling and closes it again; the caller holds its lock.

    Parameters
    ----------
    store : ProfileStore
    about : dict
        Keys of the manifest: ``dataset``, ``tag``, ``by``, ``how``, ``split_hash``.

    Raises
    ------
    StoreError
        The tag belongs to another dataset, or its profiles were not made by a chat model.
    """

    def __init__(self, store: ProfileStore, about: dict) -> None:
        self._store = store
        self._about = about
        self._before = store.manifest if store.exists else {}
        self.elsewhere: dict[str, Usage] = defaultdict(Usage)
        if self._before:
            self._check()
        for model, usage in (self._before.get("usage_elsewhere") or {}).items():
            self.elsewhere[model].add(Usage.of(usage))

    def _check(self) -> None:
        by, dataset = str(self._before.get("by")), self._before.get("dataset")
        if dataset != self._about["dataset"]:
            raise StoreError(f"{self._store.folder} holds profiles of {dataset}; choose another --tag.")
        if not by.startswith(BY):
            raise StoreError(
                f"{self._store.folder} holds profiles that no chat model wrote ({by}); choose another --tag, so that "
                "the two do not mix."
            )

    def begin(self) -> None:
        """Write the manifest, so that what a killed run leaves can be told."""
        counts = {f"{side}s": self._before.get(f"{side}s", 0) for side in SIDES}
        made = self._before.get("made") or now()
        self._store.write_manifest({**self._before, "made": made, **self._about, **counts, "provenance": "recorded"})

    def usage(self, questions: Questions) -> dict[str, Usage]:
        """All that the tag cost so far, by model: what is stored, what failed, and what is no longer there."""
        stored = [questions.stored(side).usage for side in SIDES]
        return _sum([self.elsewhere, questions.failures.usage(), questions.failures.usage_of_discarded, *stored])

    def finish(self, questions: Questions, open_usage: Usage, domain: Domain | None = None) -> list[SideSummary]:
        """Remove replaced lines and mended failures, count, and write the manifest.

        Parameters
        ----------
        questions : Questions
        open_usage : Usage
            What questions cost that got neither a profile nor a place among the failures.
        domain : Domain, optional
            Of the profiles; with it, the manifest says how good they are.

        Returns
        -------
        list of SideSummary
            Items, then users.
        """
        self.elsewhere[self._about["by"].removeprefix(BY)].add(open_usage)
        replaced = {side: questions.stored(side).replaced for side in SIDES}
        gone = [usage_of_lines(self._store.path(side), places) for side, places in replaced.items() if places]
        self.elsewhere = _sum([self.elsewhere, *gone, questions.failures.usage_of_discarded])
        # What goes is counted before it goes: a process that is killed in between counts it twice, and not never.
        self._store.write_manifest({**self._store.manifest, "usage_elsewhere": _as_dicts(self.elsewhere)})
        questions.failures.usage_of_discarded.clear()
        for side, places in replaced.items():
            if places:
                drop_lines(self._store.path(side), places)
        questions.failures.rewrite()
        summaries = [summarize(self._store, questions, side) for side in SIDES]
        counts = {f"{side}s": _lines(self._store, side) for side in SIDES}
        usage = {model: _priced(model, used) for model, used in sorted(self.usage(questions).items()) if used.requests}
        elsewhere = _as_dicts(self.elsewhere)
        made = {"made": now(), "provenance": "recorded", "usage": usage, "usage_elsewhere": elsewhere}
        several = sum(summary.several for summary in summaries)
        noted = {"several_answers": several} if several else {}
        if domain is not None:
            noted["quality"] = {side: describe_quality(questions, self._store, domain, side) for side in SIDES}
        self._store.write_manifest({**self._about, **made, **counts, "failed": len(questions.failures), **noted})
        return summaries


def describe(dataset: str, tag: str, model: str, split_hash: str, systems: Sequence[str], settings: dict) -> dict:
    """What the manifest says of how the profiles were made; ``settings`` must hold no key."""
    prompts = hashlib.sha256("\0".join(systems).encode()).hexdigest()[:16]
    how = {"model": model, "prompts": prompts, **settings}
    return {"dataset": dataset, "tag": tag, "by": BY + model, "how": how, "split_hash": split_hash}


def spent(usage: dict[str, Usage], model: str, price_in: float | None = None, price_out: float | None = None) -> float:
    """US dollars that a tag cost so far; models without a known price count as free.

    Parameters
    ----------
    usage : dict of str to Usage
        By model, with the suffix " (batch)" where the Batch API answered, which has a price of its own.
    model : str
        The model that ``price_in`` and ``price_out`` are of.
    price_in, price_out : float, optional
        See `find_price`.
    """
    total = 0.0
    for name, used in usage.items():
        mine = name.removesuffix(BATCH) == model
        price = find_price(name, price_in, price_out) if mine else find_price(name)
        total += price.usd(used.prompt_tokens, used.completion_tokens) if price else 0.0
    return total


def summarize(store: ProfileStore, questions: Questions, side: str) -> SideSummary:
    """Figures about the stored profiles of the run's users or items."""
    tokens = set(questions.tokens(side))
    digests, words, several = [], 0, 0
    for profile in store.iter(side):
        if profile.token in tokens:
            digests.append(int(text_digest(profile.profile)[:16], 16))
            words += count_words(profile.profile)
            several += bool(profile.extra.get(SEVERAL))
    _, counts = np.unique(np.array(digests, dtype=np.uint64), return_counts=True)
    duplicates = int(counts[counts > 1].sum())
    n = len(digests)
    return SideSummary(side, len(tokens), n, questions.failures.count(side), words / n if n else 0.0, duplicates, several)


def _lines(store: ProfileStore, side: str) -> int:
    path = store.path(side)
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def _as_dicts(usage: dict[str, Usage]) -> dict[str, dict]:
    return {model: used.as_dict() for model, used in sorted(usage.items()) if used.requests}


def _priced(model: str, used: Usage) -> dict:
    price = find_price(model)
    usd = None if price is None else round(price.usd(used.prompt_tokens, used.completion_tokens), 6)
    return {**used.as_dict(), "usd_by_price_table": usd}


def _sum(parts: Iterable[dict[str, Usage]]) -> dict[str, Usage]:
    total: dict[str, Usage] = defaultdict(Usage)
    for part in parts:
        for model, usage in part.items():
            total[model].add(usage)
    return total
