"""What the profile browser of the report shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd

from recbole_rlmrec.data.profile import SIDES, Profile
from recbole_rlmrec.report.geometry import NEAREST, neighbours
from recbole_rlmrec.report.parts import Section
from recbole_rlmrec.report.spaces import SEMANTIC, Spaces

TOP = 10
QUOTES = 60
LIMIT = 2000
BYTES = 6_000_000
LISTED = 60
"""How many the page lists in any order, so that each of them should be there."""


def browser_section(browser: dict, quality: dict | None = None) -> Section:
    """The place of the browser on the page, what its data is, and a table of how good the profiles are."""
    counts, chosen = [], ""
    for side in SIDES:
        shown, known, total = len(browser["entries"][side]), browser["known"][side], browser["totals"][side]
        of = f"{known:,}" if known == total else f"{known:,} that have one, of {total:,}"
        counts.append(f"{shown:,} of {of} {side}s")
        if shown < known:
            chosen = (
                " They are those that come first in each order of the list, and others drawn at random with a fixed seed; "
                "--limit of recbole-rlmrec report sets how many there are of each side."
            )
    text = (
        f"Profiles of {' and '.join(counts)}, tag {browser['tag']}, by {browser['by']}; {browser['model']}, seed "
        f"{browser['seed']}.{chosen}"
    )
    tables = [quality] if quality else []
    return Section("profiles", "Profiles, recommendations, neighbours", [text], tables=tables, browser=True)


class Browser:
    """Data of the profile browser, JSON-able by `as_dict`.

    Parameters
    ----------
    spaces : Spaces
    limit : int, optional
        Users and items that can be looked up, at most this many of each; by default `LIMIT`, and what takes `BYTES`.
    """

    def __init__(self, spaces: Spaces, limit: int | None = None):
        self.spaces, self.limit, self._most = spaces, limit or LIMIT, BYTES if limit is None else None
        self._texts: dict[str, int] = {}
        self._size = 0
        self._names: dict[str, dict[str, int]] = {side: {} for side in SIDES}
        self._top = {name: outcome.top_items.iloc[:, :TOP] for name, outcome in spaces.outcomes.items() if _ranks(outcome)}
        self._quality = {name: outcome.users for name, outcome in spaces.outcomes.items()}
        self._metric = self._choose_metric()
        columns = spaces.corpus.columns()
        self._details = [name for name in [columns.rating, *columns.reviews] if name]
        self._rows = spaces.corpus.interactions.drop_duplicates(["user", "item"]).set_index(["user", "item"])
        self._trained = {side: spaces.corpus.interactions[side].value_counts().to_dict() for side in SIDES}

    def as_dict(self) -> dict:
        """Everything that the page's script needs."""
        spaces = self.spaces
        known = {side: spaces.known(side) for side in SIDES}
        sides = {side: self._side(side, known[side]) for side in SIDES}
        return {
            "tag": spaces.manifest.get("tag"),
            "by": spaces.manifest.get("by"),
            "encoder": spaces.encoder,
            "model": spaces.model,
            "seed": spaces.seed,
            "variants": list(spaces.outcomes),
            "spaces": [SEMANTIC, *spaces.variants],
            "metric": self._metric,
            "top": TOP,
            "entries": sides,
            "totals": {side: len(spaces.tokens(side)) for side in SIDES},
            "known": {side: len(known[side]) for side in SIDES},
            "lacking": {side: self._lacking(side, known[side]) for side in SIDES},
            "dataset": spaces.manifest.get("dataset"),
            "texts": list(self._texts),
            "names": {side: list(self._names[side]) for side in SIDES},
            "titles": [self.spaces.titles.get(token, "") for token in self._names["item"]],
        }

    def _choose_metric(self) -> str | None:
        found = next(iter(self._quality.values()))
        outcome = next(iter(self.spaces.outcomes.values()))
        wanted = str(outcome.result["settings"].get("valid_metric", "")).lower()
        return wanted if wanted in found.columns else next(iter(found.columns), None)

    def _index(self, side: str, token: str) -> int:
        if token not in self._names[side]:
            self._names[side][token] = len(self._names[side])
            self._size += len(json.dumps([token, self.spaces.titles.get(token, "")]))
        return self._names[side][token]

    def _text(self, text: str | None) -> int | None:
        """Number of a text, of which equal ones are stored once; None for none."""
        if not text:
            return None
        if text not in self._texts:
            self._texts[text] = len(self._texts)
            self._size += len(json.dumps(text))
        return self._texts[text]

    def _lacking(self, side: str, known: Sequence[int]) -> list[int]:
        """Numbers of those who are named somewhere and have no profile."""
        tokens = self.spaces.tokens(side)
        there = {tokens[position] for position in known}
        return [number for token, number in self._names[side].items() if token not in there]

    def _side(self, side: str, known: Sequence[int]) -> list[dict]:
        held = self._holders() if side == "item" else {}
        positions = self._chosen(side, known, held)
        near = {
            space: neighbours(self.spaces.vectors[space][side], positions, NEAREST)
            for space in [SEMANTIC, *self.spaces.variants]
        }
        found, self._size = {}, 0
        for row, position in enumerate(positions):
            token = self.spaces.tokens(side)[position]
            entry = {"i": self._index(side, token), "n": int(self._trained[side].get(token, 0))}
            entry |= self._profile(side, self.spaces.profiles[side].get(token))
            entry["near"] = {space: self._near(side, rows[row], cosines[row]) for space, (rows, cosines) in near.items()}
            entry |= self._user(token) if side == "user" else {"held": {name: held[name].get(token, 0) for name in held}}
            found[position] = entry
            self._size += len(json.dumps(entry))
            if self._most is not None and self._size > self._most:
                break
        return [found[position] for position in sorted(found)]

    def _chosen(self, side: str, known: Sequence[int], held: dict[str, dict[str, int]]) -> list[int]:
        """Positions of those that are shown, the ones that come first in some order of the list before the others."""
        if len(known) <= self.limit:
            return list(known)
        tokens = self.spaces.tokens(side)
        firsts = [self._extremes(values) for values in self._orders(side, pd.Index([tokens[place] for place in known]), held)]
        first = [known[place] for turn in zip_longest(*firsts) for place in turn if place is not None]
        drawn = np.random.default_rng(0).permutation(len(known)).tolist()
        return list(dict.fromkeys([*first, *(known[place] for place in drawn)]))[: self.limit]

    def _orders(self, side: str, tokens: pd.Index, held: dict[str, dict[str, int]]) -> Iterator[np.ndarray]:
        """Values by which the page orders users or items, float [n]; NaN for none."""
        yield np.array([self._trained[side].get(token, 0) for token in tokens], dtype=float)
        if side == "user":
            scores = {name: table[self._metric].reindex(tokens) for name, table in self._quality.items() if self._metric}
        else:
            scores = {name: pd.Series(counts).reindex(tokens).fillna(0) for name, counts in held.items()}
        if "base" in scores:
            for name in [name for name in scores if name != "base"]:
                yield (scores[name] - scores["base"]).to_numpy(dtype=float)

    @staticmethod
    def _extremes(values: np.ndarray) -> list[int]:
        """Places of the largest and of the smallest values, in turn."""
        order = np.argsort(values, kind="stable")
        order = order[: np.count_nonzero(~np.isnan(values))]
        return [place for pair in zip(order[::-1][:LISTED].tolist(), order[:LISTED].tolist()) for place in pair]

    def _profile(self, side: str, profile: Profile | None) -> dict:
        if profile is None:
            return {"p": None}
        other = "item" if side == "user" else "user"
        quoted = profile.pairs
        said = {"p": self._text(profile.profile), "r": self._text(profile.reasoning), "by": profile.extra.get("model")}
        if quoted is None:
            return {**said, "q": None}
        partner = 1 if side == "user" else 0
        shown = [[self._index(other, pair[partner]), self._text(self._detail(pair))] for pair in quoted[:QUOTES]]
        return {**said, "q": shown, "more": max(len(quoted) - QUOTES, 0)}

    def _detail(self, pair: Sequence[str]) -> str:
        key = tuple(pair)
        if not self._details or key not in self._rows.index:
            return ""
        values = ((name, str(self._rows.at[key, name])) for name in self._details)
        return "; ".join(f"{name} {value[:300]}" for name, value in values if value)

    def _near(self, side: str, rows: np.ndarray, cosines: np.ndarray) -> list[list]:
        tokens = self.spaces.tokens(side)
        return [[self._index(side, tokens[row]), round(float(c), 3)] for row, c in zip(rows, cosines, strict=True) if row >= 0]

    def _user(self, token: str) -> dict:
        test = self.spaces.test.get(token, set())
        top, score = {}, {}
        for name, table in self._top.items():
            if token in table.index:
                items = list(table.loc[token])
                top[name] = [[self._index("item", item), int(item in test)] for item in items]
        for name, table in self._quality.items():
            if self._metric is not None and token in table.index:
                score[name] = round(float(table.at[token, self._metric]), 4)
        return {"top": top, "score": score, "tests": len(test)}

    def _holders(self) -> dict[str, dict[str, int]]:
        """For each variant, in how many users' top items each item is."""
        counted = {}
        for name, table in self._top.items():
            items, counts = np.unique(table.to_numpy().astype(str), return_counts=True)
            counted[name] = dict(zip(items.tolist(), counts.tolist(), strict=True))
        return counted


def _ranks(outcome) -> bool:
    return (outcome.folder / "users.top.npy").is_file()
