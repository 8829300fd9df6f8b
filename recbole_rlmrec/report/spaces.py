"""Semantic and collaborative spaces of a results folder: what they are of, and their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.profile import SIDES, Profile
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.errors import ModelError, RLMRecError, StoreError
from recbole_rlmrec.experiments.cells.cell import Outcome
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.report.parts import Missing
from recbole_rlmrec.report.sources import Sources, experiment_command
from recbole_rlmrec.runs.split import draw_split, make_config
from recbole_rlmrec.runs.trained import PLACES, load_trained

SEMANTIC = "semantic"


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

    @cached_property
    def titles(self) -> dict[str, str]:
        """Title of each item that has one."""
        column = self.corpus.columns().title if self.corpus.item_fields is not None else None
        return {} if column is None else {item: title for item, title in self.corpus.item_fields[column].items() if title}

    def known(self, side: str) -> list[int]:
        """Positions of those with a profile or embedding, ascending."""
        embedded = ~np.isnan(self.vectors[SEMANTIC][side]).any(axis=1)
        profiles = self.profiles[side]
        return [position for position, token in enumerate(self.tokens(side)) if embedded[position] or token in profiles]

    def sampled(self, side: str, limit: int) -> list[int]:
        """Positions of those with a profile or embedding, at most ``limit`` of them drawn with a fixed seed, ascending."""
        known = self.known(side)
        if len(known) <= limit:
            return known
        return sorted(np.random.default_rng(0).choice(known, size=limit, replace=False).tolist())


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
    aligned = [found for found in runs.values() if any(VARIANTS[name].text for name in found)]
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
    aligned = next(outcome for name, outcome in chosen.items() if VARIANTS[name].text)
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
        row_of = {token: row for row, token in enumerate(found.tokens.get(side, ()))}
        known = [(position, row_of[token]) for position, token in enumerate(tokens) if token in row_of]
        if known:
            positions, sources = map(list, zip(*known, strict=True))
            rows = np.asarray(found.matrices[side][sources], dtype=np.float32)
            vectors[side][positions] = rows - rows.mean(axis=0)  # as they come, all point almost the same way
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
    found = {side: table[1:].float().numpy().copy() for side, table in zip(SIDES, trained.representations(), strict=True)}
    for table in found.values():
        table[~table.any(axis=1)] = np.nan  # a user without a sequence
    return found
