"""Case study: users far apart in the graph whose profiles are alike; does alignment bring them together?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.experiments.cells.study import Profiles, Study, places, read_profiles
from recbole_rlmrec.experiments.cells.variants import PAPER, read_variants
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.tables import Table
from recbole_rlmrec.runs.trained import TrainedOnSequences, load_trained
from recbole_rlmrec.semantic.load import load_semantic

HOPS = 3
_BLOCK = 512


@dataclass(frozen=True)
class Pair:
    """Two users without a common item in training.

    Attributes
    ----------
    first, second : int
        Internal ids.
    similarity : float
        Cosine of their profiles' embeddings, the mean of all taken off.
    """

    first: int
    second: int
    similarity: float


def run(study: Study, args: argparse.Namespace) -> Results:
    """Train each variant with the first seed and see how close it puts each pair."""
    variants = read_variants(args.variants, PAPER)
    if args.pairs < 1:
        raise ConfigError(f"--pairs is the number of pairs, 1 or more, not {args.pairs}.")
    study.check_models(variants)
    seed = study.seeds[0]
    profiles = study.profiles(study.data)
    pairs, cases = find_cases(study, profiles, args.pairs)
    outcomes = study.run([study.cell(model, variant, seed, keep=True) for model in study.models for variant in variants])
    for outcome in outcomes:
        trained = load_trained(outcome.checkpoint, places(study, profiles))
        trained = trained.until("train") if isinstance(trained, TrainedOnSequences) else trained  # as the pairs were found
        users = trained.representations()[0]
        for case, closeness in zip(cases, measure(users, pairs), strict=True):
            case["models"].append({"model": outcome.cell.model, "variant": outcome.cell.variant, **closeness})
    about = {"seed": seed, "hops": HOPS, "tag": profiles.tag, "encoder": profiles.encoder}
    tables = [summary_table(cases, seed), case_table(cases), profile_table(cases)]
    return Results(outcomes, tables, {"case": about, "pairs": cases})


def find_cases(study: Study, profiles: Profiles, most: int) -> tuple[list[Pair], list[dict]]:
    """The pairs, and what is known of each, JSON-able.

    Raises
    ------
    DataError
        There is no such pair.
    """
    options = {**study.options, **study.data.run_options(), **profiles.run_options(), "gpu_id": ""}
    config, train = study.data.load(options)
    known = load_semantic(config, train).user
    history = _history(train)
    ids = known.ids.numpy()
    ids = ids[np.diff(history.indptr)[ids] > 0]
    vectors = (known.rows(torch.from_numpy(ids)) - known.mean()).numpy()  # as they come, all point almost the same way
    found = similar_strangers(vectors, history[ids], most)
    pairs = [Pair(int(ids[a]), int(ids[b]), similarity) for a, b, similarity in found]
    if not pairs:
        raise DataError(
            f"No two users of {study.dataset} that have profiles are more than {HOPS} hops apart: every two have a common item "
            "in training."
        )
    tokens = [str(token) for token in train.field2id_token[train.uid_field]]
    texts = read_profiles(profiles, "user", {tokens[user] for pair in pairs for user in (pair.first, pair.second)})
    return pairs, [_about(pair, tokens, hops, texts) for pair, hops in zip(pairs, distances(history, pairs))]


def _history(train) -> sp.csr_matrix:
    """Training interactions [n_users, n_items], ones."""
    matrix = train.inter_matrix(form="csr").astype(np.float32)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _about(pair: Pair, tokens: Sequence[str], hops: int | None, texts: Mapping[str, str]) -> dict:
    users = [tokens[pair.first], tokens[pair.second]]
    about = {"users": users, "hops": hops, "profile_similarity": pair.similarity}
    return {**about, "profiles": [texts[user] for user in users], "models": []}


def similar_strangers(vectors: np.ndarray, history: sp.csr_matrix, most: int) -> list[tuple[int, int, float]]:
    """Pairs of users without a common item whose vectors are most alike; nobody is in two of them.

    Two users without a common item are four hops or more apart, because a path between them alternates between users and
    items. Each user is seen with the most similar one of those; of these pairs the most similar are taken.

    Parameters
    ----------
    vectors : ndarray
        Float [n, d].
    history : csr_matrix
        Interactions [n, n_items]; nobody has none.
    most : int
        Number of pairs.

    Returns
    -------
    list of (int, int, float)
        Two rows and their cosine, the most similar first.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    best, partner = np.zeros(len(unit)), np.zeros(len(unit), dtype=np.int64)
    for start in range(0, len(unit), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosine = unit[rows] @ unit.T
        cosine[(history[rows] @ history.T).nonzero()] = -np.inf
        partner[rows] = cosine.argmax(axis=1)
        best[rows] = cosine.max(axis=1)
    taken, pairs = set(), []
    for row in np.argsort(-best, kind="stable").tolist():
        pair = {row, int(partner[row])}
        if len(pairs) == most or best[row] == -np.inf:
            break
        if not pair & taken:
            taken |= pair
            pairs.append((min(pair), max(pair), float(best[row])))
    return pairs


def distances(history: sp.csr_matrix, pairs: Sequence[Pair]) -> list[int | None]:
    """Hops between the users of each pair in the graph of training interactions; None where there is no path."""
    from scipy.sparse.csgraph import dijkstra

    graph = sp.bmat([[None, history], [history.T, None]], format="csr")
    found = [dijkstra(graph, unweighted=True, indices=pair.first)[pair.second] for pair in pairs]
    return [int(hops) if np.isfinite(hops) else None for hops in found]


def measure(users: torch.Tensor, pairs: Sequence[Pair]) -> list[dict]:
    """How close two users are by what a model represents them by.

    Parameters
    ----------
    users : Tensor
        Float [n_users, d]; row 0 is the padding.
    pairs : sequence of Pair

    Returns
    -------
    list of dict
        ``similarity``: their cosine; ``ranks``: of the second among all users by similarity to the first, and of the first
        among those to the second; 1 is the most similar.
    """
    unit = torch.nn.functional.normalize(users.double(), dim=1)
    return [
        {
            "similarity": float(unit[pair.first] @ unit[pair.second]),
            "ranks": [_rank(unit, pair.first, pair.second), _rank(unit, pair.second, pair.first)],
        }
        for pair in pairs
    ]


def _rank(unit: torch.Tensor, user: int, other: int) -> int:
    cosine = unit @ unit[user]
    closer = cosine > cosine[other]
    closer[[0, user]] = False
    return int(closer.sum()) + 1


def summary_table(cases: Sequence[dict], seed: int) -> Table:
    """Median rank and mean similarity over all pairs, one row per model and variant."""
    table = Table("How close are users of similar profiles?", ["model", "variant", "pairs", "median rank", "mean similarity"])
    for position in range(len(cases[0]["models"])):
        found = [case["models"][position] for case in cases]
        ranks, similarities = [rank for one in found for rank in one["ranks"]], [one["similarity"] for one in found]
        table.rows.append(
            [found[0]["model"], found[0]["variant"], len(cases), float(np.median(ranks)), float(np.mean(similarities))]
        )
    table.notes = [
        f"Pairs of users more than {HOPS} hops apart in training, by similarity of their profiles. Rank: of one among all "
        f"users by cosine of what the model represents users by, seen from the other; 1 is the nearest. Models of seed {seed}."
    ]
    return table


def case_table(cases: Sequence[dict]) -> Table:
    """One row per pair, model and variant."""
    columns = ["pair", "user A", "user B", "hops", "profiles", "model", "variant", "rank of B for A", "rank of A for B"]
    table = Table("Pair by pair", [*columns, "similarity"])
    for number, case in enumerate(cases, 1):
        hops = "no path" if case["hops"] is None else case["hops"]
        for one in case["models"]:
            about = [number, *case["users"], hops, case["profile_similarity"], one["model"], one["variant"]]
            table.rows.append([*about, *one["ranks"], one["similarity"]])
    table.notes = ["profiles: cosine of the profiles' embeddings less their mean; similarity: cosine of the representations."]
    return table


def profile_table(cases: Sequence[dict]) -> Table:
    """The text of both profiles of each pair."""
    table = Table("Their profiles", ["pair", "user", "profile"])
    for number, case in enumerate(cases, 1):
        table.rows += [[number, user, text] for user, text in zip(case["users"], case["profiles"], strict=True)]
    return table
