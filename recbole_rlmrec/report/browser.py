"""What the map and the profile browser of the report show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recbole_rlmrec.data.profile import SIDES, Profile
from recbole_rlmrec.report.figures import MORE, SYMBOLS, Figure, Figures, text
from recbole_rlmrec.report.sections import Section
from recbole_rlmrec.report.spaces import CLUSTERS, SEMANTIC, Spaces, agreement, clusters, neighbours, project

MAP_LIMIT = 800
NEAREST = 10
TOP = 10
QUOTES = 60
_PLURAL = {"user": "users", "item": "items"}


def sampled(spaces: Spaces, side: str, limit: int) -> list[int]:
    """Positions of those with a profile or embedding, at most ``limit`` of them drawn with a fixed seed, ascending."""
    vectors = spaces.vectors[SEMANTIC][side]
    profiles = spaces.profiles[side]
    known = [
        position
        for position, token in enumerate(spaces.tokens(side))
        if token in profiles or not np.isnan(vectors[position]).any()
    ]
    if len(known) <= limit:
        return known
    return sorted(np.random.default_rng(0).choice(known, size=limit, replace=False).tolist())


# --- map -----------------------------------------------------------------------------------------------------------


def map_section(spaces: Spaces, titles: dict[str, str], how: str) -> Section | None:
    """Maps of the semantic space and of the collaborative spaces; None where no trained model was kept."""
    if not spaces.variants:
        return None
    choices, counts = {}, []
    for side in SIDES:
        positions = _mappable(spaces, side)
        if len(positions) > 3:
            choices[_PLURAL[side]] = _maps(spaces, side, positions, titles, how)
            counts.append(f"{len(positions)} {_PLURAL[side]}")
    if not choices:
        return None
    method = {"pca": "principal components", "tsne": "t-SNE"}[how]
    label = {"base": "before alignment", "con": "after con", "gen": "after gen", "kar": "embeddings as input"}
    spoken = ", ".join(f"{name} ({label.get(name, name)})" for name in spaces.variants)
    caption = (
        f"{spaces.model}, seed {spaces.seed}: {' and '.join(counts)}, at most {MAP_LIMIT} of each side, in two dimensions "
        f"by {method} of unit vectors, each space by itself, so axes of different maps do not compare. Spaces: semantic "
        f"({spaces.encoder}), then collaborative {spoken}. A colour and shape is one of up to {CLUSTERS} k-means clusters "
        "of the semantic space and the same in every map: where alignment works, they stay together. Select a point to "
        "read its profile."
    )
    figures = Figures(caption, choices, "Show")
    return Section("map", "Semantic and collaborative spaces", figures=[figures], tables=[_agreement_table(spaces)])


def _mappable(spaces: Spaces, side: str) -> list[int]:
    spots = [space[side] for space in spaces.vectors.values()]
    known = np.flatnonzero(~np.any([np.isnan(vectors).any(axis=1) for vectors in spots], axis=0))
    if len(known) > MAP_LIMIT:
        known = np.sort(np.random.default_rng(1).choice(known, size=MAP_LIMIT, replace=False))
    return known.tolist()


def _maps(spaces: Spaces, side: str, positions: list[int], titles: dict[str, str], how: str) -> list[Figure]:
    labels = clusters(spaces.vectors[SEMANTIC][side][positions])
    tokens = [spaces.tokens(side)[position] for position in positions]
    names = [text(f"{token} {titles.get(token, '')}".strip() if side == "item" else token) for token in tokens]
    figures = []
    for space in [SEMANTIC, *spaces.variants]:
        spots = project(spaces.vectors[space][side][positions], how)
        spots = spots / np.abs(spots).max(axis=0)
        traces = []
        for cluster in range(int(labels.max()) + 1):
            rows = np.flatnonzero(labels == cluster)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": f"cluster {cluster + 1}",
                    "x": [round(float(spots[row, 0]), 3) for row in rows],
                    "y": [round(float(spots[row, 1]), 3) for row in rows],
                    "text": [names[row] for row in rows],
                    "customdata": [f"{side}/{tokens[row]}" for row in rows],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {
                        "size": 6,
                        "opacity": 0.8,
                        "color": _CLUSTER[cluster % 8],
                        "symbol": SYMBOLS[cluster % 8],
                    },
                }
            )
        title = "Semantic" if space == SEMANTIC else f"Collaborative, {space}"
        hidden = {"showticklabels": False, "zeroline": False, "ticks": ""}
        figures.append(
            Figure(
                title,
                traces,
                {
                    "xaxis": hidden,
                    "yaxis": hidden,
                    "hovermode": "closest",
                    "showlegend": False,
                    "dragmode": "pan",
                    "height": 380,
                    "margin": {"l": 12, "r": 12, "t": 40, "b": 12},
                },
            )
        )
    return figures


_CLUSTER = ("#0b62a4", "#c2410c", *MORE)


def _agreement_table(spaces: Spaces) -> dict:
    rows = []
    for side in SIDES:
        positions = sampled(spaces, side, 2000)
        near = {space: neighbours(spaces.vectors[space][side], positions, NEAREST)[0] for space in [SEMANTIC, *spaces.variants]}
        shares = [agreement(near[SEMANTIC], near[variant]) for variant in spaces.variants]
        if positions and not all(map(math.isnan, shares)):
            rows.append([_PLURAL[side], *(f"{100 * share:.1f}%" for share in shares)])
    note = (
        f"Mean share of the {NEAREST} nearest neighbours (cosine) in the semantic space that are also among the {NEAREST} "
        "nearest in the collaborative space."
    )
    return {"title": "Neighbours in common", "columns": ["side", *spaces.variants], "rows": rows, "notes": [note]}


# --- browser -------------------------------------------------------------------------------------------------------


def titles_of(spaces: Spaces) -> dict[str, str]:
    """Title of each item that has one."""
    column = spaces.corpus.columns().title if spaces.corpus.item_fields is not None else None
    return {} if column is None else {token: title for token, title in spaces.corpus.item_fields[column].items() if title}


class Browser:
    """Data of the profile browser, JSON-able by `as_dict`.

    Parameters
    ----------
    spaces : Spaces
    titles : dict of str to str
        By item token.
    limit : int
        Users and items that can be looked up, at most this many of each.
    """

    def __init__(self, spaces: Spaces, titles: dict[str, str], limit: int):
        self.spaces, self.titles, self.limit = spaces, titles, limit
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
            "titles": [self.titles.get(token, "") for token in self._names["item"]],
        }

    def _choose_metric(self) -> str | None:
        found = next(iter(self._quality.values()))
        outcome = next(iter(self.spaces.outcomes.values()))
        wanted = str(outcome.result["settings"].get("valid_metric", "")).lower()
        return wanted if wanted in found.columns else next(iter(found.columns), None)

    def _index(self, side: str, token: str) -> int:
        return self._names[side].setdefault(token, len(self._names[side]))

    def _side(self, side: str) -> list[dict]:
        positions = sampled(self.spaces, side, self.limit)
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
