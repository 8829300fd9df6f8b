"""Semantic and collaborative spaces of a results folder: embeddings, neighbours, and maps of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.profile import SIDES, Profile
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.errors import ModelError, RLMRecError, StoreError
from recbole_rlmrec.experiments.cells.cell import Outcome
from recbole_rlmrec.experiments.cells.options import VARIANTS
from recbole_rlmrec.report.sections import Missing, experiment_command
from recbole_rlmrec.report.sources import Sources
from recbole_rlmrec.runs.split import draw_split, make_config
from recbole_rlmrec.runs.trained import PLACES, load_trained

SEMANTIC = "semantic"
CLUSTERS = 8
_BLOCK = 512


@dataclass
class Spaces:
    """Embeddings of one model's runs of one seed, and what they are about.

    Attributes
    ----------
    model : str
    seed : int
    outcomes : dict of str to Outcome
        By variant, base first.
    corpus : Corpus
    test : dict of str to set of str
        Item tokens of each user's test interactions.
    profiles : dict of str to dict of str to Profile
        By side and token.
    manifest : dict
        Of the profiles.
    encoder : str
    vectors : dict of str to dict of str to ndarray
        By space and side, [n, d] by position in ``corpus.users`` or ``corpus.items``; rows without one are NaN. Spaces
        are ``semantic`` and the variants whose trained model was kept.
    """

    model: str
    seed: int
    outcomes: dict[str, Outcome]
    corpus: Corpus
    test: dict[str, set[str]]
    profiles: dict[str, dict[str, Profile]]
    manifest: dict
    encoder: str
    vectors: dict[str, dict[str, np.ndarray]]

    def tokens(self, side: str) -> list[str]:
        """Tokens by position."""
        return self.corpus.users if side == "user" else self.corpus.items

    @property
    def variants(self) -> list[str]:
        """Variants whose trained model was kept, base first."""
        return [name for name in self.outcomes if name in self.vectors]


def read_spaces(sources: Sources, model: str | None = None) -> tuple[Spaces | None, list[Missing]]:
    """Spaces of the first model, or of one that is named, whose seed has the most trained models.

    Parameters
    ----------
    sources : Sources
    model : str, optional
        Backbone.

    Raises
    ------
    ModelError
        The model that was named has no aligned cell.
    """
    chosen = _choose(sources, model)
    keep = experiment_command(sources, "compare", " --checkpoints first")
    if chosen is None:
        if model is not None:
            known = sorted({o.cell.model for one in sources.compared for o in one.outcomes})
            raise ModelError(f"There is no aligned run of {model!r} here; models there: {', '.join(known) or 'none'}.")
        return None, [Missing("Map and profile browser", "there is no aligned run", keep)]
    try:
        spaces = _read(chosen)
    except (RLMRecError, OSError) as error:
        return None, [Missing("Map and profile browser", f"the data or profiles of the runs cannot be read: {error}", "")]
    if not any(outcome.checkpoint for outcome in chosen.values()):
        return spaces, [Missing("Map of the spaces", "no trained model was kept", keep)]
    missing = []
    for variant, outcome in chosen.items():
        what = f"{spaces.model} {variant} on the map"
        if outcome.checkpoint is None:
            missing.append(Missing(what, "its trained model was not kept", keep))
            continue
        try:
            spaces.vectors[variant] = representations(outcome)
        except (RLMRecError, OSError) as error:
            missing.append(Missing(what, str(error).rstrip(".")))
    return spaces, missing


def _choose(sources: Sources, model: str | None) -> dict[str, Outcome] | None:
    runs: dict[tuple[str, int], dict[str, Outcome]] = {}
    for one in sources.compared:
        for outcome in one.outcomes:
            if not outcome.cell.setting and model in (None, outcome.cell.model):
                runs.setdefault((outcome.cell.model, outcome.cell.seed), {}).setdefault(outcome.cell.variant, outcome)
    aligned = [found for found in runs.values() if set(found) - {"base"}]
    if not aligned:
        return None
    best = max(aligned, key=lambda found: sum(outcome.checkpoint is not None for outcome in found.values()))
    return {name: best[name] for name in VARIANTS if name in best}


def options_of(outcome: Outcome) -> dict:
    """Options of a cell, on the CPU; data that moved with the results folder is found there."""
    options = {**outcome.cell.options, "gpu_id": "", "seed": outcome.cell.seed, "show_progress": False}
    beside = outcome.folder.parents[1] / "data"
    for key in ("data_path", "semantic_path"):
        given = options.get(key)
        if given and not (Path(given) / outcome.cell.dataset).is_dir() and (beside / outcome.cell.dataset).is_dir():
            options[key] = str(beside)
    return options


def _load(outcome: Outcome):
    config = make_config(outcome.cell.runs, outcome.cell.dataset, options_of(outcome))
    return config, draw_split(config)[1]


def _read(chosen: dict[str, Outcome]) -> Spaces:
    aligned = next(outcome for name, outcome in chosen.items() if name != "base")
    config, (train, _, test) = _load(aligned)
    corpus = Corpus.from_config(config, train)
    folder = Path(config["semantic_path"] or "dataset") / config["dataset"] / "semantic" / str(config["semantic_tag"])
    store = ProfileStore(folder)
    if not store.exists:
        raise StoreError(f"there are no profiles in {folder}")
    found = read_embeddings(folder / "embeddings" / str(config["semantic_encoder"]), config["dataset"])
    vectors = {}
    for side in SIDES:
        tokens = corpus.users if side == "user" else corpus.items
        vectors[side] = np.full((len(tokens), found.dim), np.nan, dtype=np.float32)
        rows = {token: row for row, token in enumerate(found.tokens.get(side, ()))}
        known = [(position, rows[token]) for position, token in enumerate(tokens) if token in rows]
        if known:
            positions, sources = map(list, zip(*known, strict=True))
            vectors[side][positions] = found.matrices[side][sources]
    heldout: dict[str, set[str]] = {}
    users = test.field2id_token[test.uid_field][test.inter_feat[test.uid_field].numpy()]
    items = test.field2id_token[test.iid_field][test.inter_feat[test.iid_field].numpy()]
    for user, item in zip(users, items, strict=True):
        heldout.setdefault(str(user), set()).add(str(item))
    profiles = {side: store.read(side) for side in SIDES}
    encoder = str(found.manifest.get("encoder"))
    cell = aligned.cell
    return Spaces(cell.model, cell.seed, chosen, corpus, heldout, profiles, store.manifest, encoder, {SEMANTIC: vectors})


def representations(outcome: Outcome) -> dict[str, np.ndarray]:
    """What a kept model recommends with: float32 [n, d] by side, without the padding.

    Raises
    ------
    CheckpointError
        The checkpoint cannot be read or does not fit the data.
    ModelError
        The model has no table of users or of items.
    """
    options = options_of(outcome)
    trained = load_trained(outcome.checkpoint, {name: options[name] for name in PLACES if options.get(name)})
    return {side: table[1:].float().numpy() for side, table in zip(SIDES, trained.representations(), strict=True)}


# --- neighbours ----------------------------------------------------------------------------------------------------


def neighbours(vectors: np.ndarray, queries: Sequence[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest others by cosine.

    Parameters
    ----------
    vectors : ndarray
        float [n, d]; rows of NaN have no neighbours and are nobody's.
    queries : sequence of int
        Rows whose neighbours are wanted.
    count : int

    Returns
    -------
    rows : int64 [q, count]
        Nearest first; -1 where there are no more.
    cosines : float32 [q, count]
    """
    queries = np.asarray(queries, dtype=np.int64)
    count = min(count, max(len(vectors) - 1, 0))
    known = ~np.isnan(vectors).any(axis=1)
    unit = np.where(known[:, None], vectors, 0).astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    rows, cosines = np.full((len(queries), count), -1), np.zeros((len(queries), count), dtype=np.float32)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        scores = unit[block] @ unit.T
        scores[:, ~known] = -np.inf
        scores[np.arange(len(block)), block] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(scores, order, axis=1)
        valid = np.isfinite(best) & known[block][:, None]
        rows[start : start + len(block)] = np.where(valid, order, -1)
        cosines[start : start + len(block)] = np.where(valid, best, 0)
    return rows, cosines


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of neighbours [q, k] that two spaces have in common, over those who have neighbours in both."""
    shares = [
        len(set(a[a >= 0]) & set(b[b >= 0])) / min((a >= 0).sum(), (b >= 0).sum())
        for a, b in zip(first, second, strict=True)
        if (a >= 0).any() and (b >= 0).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


# --- maps ----------------------------------------------------------------------------------------------------------


def project(vectors: np.ndarray, how: str) -> np.ndarray:
    """Two dimensions of rows of unit length, float [n, 2].

    Parameters
    ----------
    vectors : ndarray
        float [n, d] without NaN, n > 2.
    how : {"pca", "tsne"}
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if how == "pca":
        return PCA(2, svd_solver="full").fit_transform(unit)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    return TSNE(2, init="pca", perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(unit)


def clusters(vectors: np.ndarray, count: int = CLUSTERS) -> np.ndarray:
    """Cluster of each row by k-means over unit rows, numbered by size, int64 [n]."""
    from sklearn.cluster import KMeans

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    count = min(count, len(np.unique(unit, axis=0)))
    labels = KMeans(count, n_init=4, random_state=0).fit_predict(unit)
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    return rank[labels]
