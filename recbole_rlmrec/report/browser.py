"""What the profile browser of the report shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_rlmrec.data.profile import SIDES, Profile
from recbole_rlmrec.report.geometry import NEAREST, neighbours
from recbole_rlmrec.report.parts import Section
from recbole_rlmrec.report.spaces import SEMANTIC, Spaces

TOP = 10
QUOTES = 60


def browser_section(browser: dict, quality: dict | None = None) -> Section:
    """The place of the browser on the page, what its data is, and a table of how good the profiles are."""
    counts = [f"{len(browser['entries'][side])} of {browser['totals'][side]} {side}s" for side in ("user", "item")]
    text = (
        f"Profiles of {' and '.join(counts)} (those with a profile, at most {browser['limit']} of each side, drawn at "
        f"random where there are more), tag {browser['tag']}, by {browser['by']}; {browser['model']}, seed "
        f"{browser['seed']}."
    )
    tables = [quality] if quality else []
    return Section("profiles", "Profiles, recommendations, neighbours", [text], tables=tables, browser=True)


class Browser:
    """Data of the profile browser, JSON-able by `as_dict`.

    Parameters
    ----------
    spaces : Spaces
    limit : int
        Users and items that can be looked up, at most this many of each.
    """

    def __init__(self, spaces: Spaces, limit: int):
        self.spaces, self.limit = spaces, limit
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
        sides = {side: self._side(side) for side in SIDES}
        spaces = self.spaces
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
            "limit": self.limit,
            "names": {side: list(self._names[side]) for side in SIDES},
            "titles": [self.spaces.titles.get(token, "") for token in self._names["item"]],
        }

    def _choose_metric(self) -> str | None:
        found = next(iter(self._quality.values()))
        outcome = next(iter(self.spaces.outcomes.values()))
        wanted = str(outcome.result["settings"].get("valid_metric", "")).lower()
        return wanted if wanted in found.columns else next(iter(found.columns), None)

    def _index(self, side: str, token: str) -> int:
        return self._names[side].setdefault(token, len(self._names[side]))

    def _side(self, side: str) -> list[dict]:
        positions = self.spaces.sampled(side, self.limit)
        near = {
            space: neighbours(self.spaces.vectors[space][side], positions, NEAREST)
            for space in [SEMANTIC, *self.spaces.variants]
        }
        found = []
        held = self._holders() if side == "item" else {}
        for row, position in enumerate(positions):
            token = self.spaces.tokens(side)[position]
            entry = {"i": self._index(side, token), "n": int(self._trained[side].get(token, 0))}
            entry |= self._profile(side, self.spaces.profiles[side].get(token))
            entry["near"] = {space: self._near(side, rows[row], cosines[row]) for space, (rows, cosines) in near.items()}
            entry |= self._user(token) if side == "user" else {"held": {name: held[name].get(token, 0) for name in held}}
            found.append(entry)
        return found

    def _profile(self, side: str, profile: Profile | None) -> dict:
        if profile is None:
            return {"p": None}
        other = "item" if side == "user" else "user"
        quoted = profile.pairs
        said = {"p": profile.profile, "r": profile.reasoning, "by": profile.extra.get("model")}
        if quoted is None:
            return {**said, "q": None}
        partner = 1 if side == "user" else 0
        shown = [[self._index(other, pair[partner]), self._detail(pair)] for pair in quoted[:QUOTES]]
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
