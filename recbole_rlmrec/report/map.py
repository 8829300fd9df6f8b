"""Maps of the semantic and the collaborative spaces side by side."""

from __future__ import annotations

import math

import numpy as np

from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.model.lookup import is_sequential
from recbole_rlmrec.report.figures import COLOURS, MORE, SYMBOLS, Figure, Figures, text
from recbole_rlmrec.report.geometry import CLUSTERS, NEAREST, agreement, clusters, neighbours, project
from recbole_rlmrec.report.parts import Section
from recbole_rlmrec.report.spaces import SEMANTIC, Spaces

MAP_LIMIT = 800
_PLURAL = {"user": "users", "item": "items", "sequence": "users' sequences"}
_CLUSTER = (COLOURS["con"], COLOURS["gen"], *MORE)


def map_section(spaces: Spaces, how: str) -> Section | None:
    """Maps of the semantic space and of the collaborative spaces; None where no trained model was kept."""
    if not spaces.variants:
        return None
    choices, counts, sequences = {}, [], is_sequential(spaces.model)
    for side in SIDES:
        positions, plural = _mappable(spaces, side), _PLURAL["sequence" if sequences and side == "user" else side]
        if len(positions) > 3:
            choices[plural] = _maps(spaces, side, positions, how)
            counts.append(f"{len(positions)} {plural}")
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


def _maps(spaces: Spaces, side: str, positions: list[int], how: str) -> list[Figure]:
    labels = clusters(spaces.vectors[SEMANTIC][side][positions])
    tokens = [spaces.tokens(side)[position] for position in positions]
    names = [text(f"{token} {spaces.titles.get(token, '')}".strip() if side == "item" else token) for token in tokens]
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
                        "opacity": 0.9,
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


def _agreement_table(spaces: Spaces) -> dict:
    rows = []
    for side in SIDES:
        positions = spaces.sampled(side, 2000)
        near = {space: neighbours(spaces.vectors[space][side], positions, NEAREST)[0] for space in [SEMANTIC, *spaces.variants]}
        shares = [agreement(near[SEMANTIC], near[variant]) for variant in spaces.variants]
        if positions and not all(map(math.isnan, shares)):
            rows.append([_PLURAL[side], *(f"{100 * share:.1f}%" for share in shares)])
    note = (
        f"Mean share of the {NEAREST} nearest neighbours (cosine; profiles less their mean) in the semantic space that are "
        f"also among the {NEAREST} nearest in the collaborative space."
    )
    return {"title": "Neighbours in common", "columns": ["side", *spaces.variants], "rows": rows, "notes": [note]}
