"""RQ4: embeddings learnt on the early part of the data, by time, as the start of a plain backbone on the later part."""

from __future__ import annotations

import argparse
import shutil

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import PARTS
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import ConfigError, DataError, LeakageError, quoted
from recbole_rlmrec.experiments.cells.cell import Cell, Outcome
from recbole_rlmrec.experiments.cells.data import Data, changed, not_shown
from recbole_rlmrec.experiments.cells.study import Profiles, Study
from recbole_rlmrec.experiments.cells.variants import PAPER, read_variants
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, main_table
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.plugin.initial import export_initial
from recbole_rlmrec.semantic.leakage import check_leakage

EARLY, LATE = (0.8, 0.1), (0.6, 0.2)


def run(study: Study, args: argparse.Namespace) -> Results:
    """Train on the early part, then a base model on the later part from nothing and from what each variant learnt."""
    variants = read_variants(args.variants, PAPER)
    if not 0 < args.early < 1:
        raise ConfigError(f"--early is a share between 0 and 1, not {args.early}.")
    if study.resplit:
        raise ConfigError("pretrain splits by time, once for all seeds; leave out --resplit.")
    study.check_models(variants)
    early, late = parts_by_time(study, args.early)
    profiles = _profiles(study, early, late) if set(variants) - {"base"} else None
    pretrained = study.run(
        [
            study.cell(model, variant, seed, data=early, profiles=profiles, setting={"part": "early"}, keep=True)
            for seed in study.seeds
            for model in study.models
            for variant in variants
        ]
    )
    nothing = {"start": "no pretraining"}
    cells = [study.cell(model, "base", seed, data=late, setting=nothing) for seed in study.seeds for model in study.models]
    cells += [_continued(study, outcome, early, late) for outcome in pretrained]
    outcomes = study.run(cells)
    comparisons = compare_all(outcomes, lambda cell: "base, no pretraining")
    against_base = compare_all(outcomes, lambda cell: "base, from base" if cell.setting["start"] != "no pretraining" else None)
    tables = [main_table(outcomes, comparisons, "Plain backbone on the later part, by where it starts")]
    if against_base:
        tables.append(comparison_table(against_base, "Tests against pretraining without alignment"))
    return Results(outcomes, tables, {"comparisons": [one.as_dict() for one in [*comparisons, *against_base]]})


def parts_by_time(study: Study, share: float) -> tuple[Data, Data]:
    """The early and the later part, each split at random: 8:1:1 and, as in the paper, 3:1:1.

    Raises
    ------
    DataError
        The data has no times.
    """
    data = study.data
    rows = pd.concat([data.read(part).table for part in ("train", "valid", "test")], ignore_index=True)
    field = study.options.get("TIME_FIELD") or data.options.get("TIME_FIELD") or "timestamp"
    times = pd.to_numeric(rows[field], errors="coerce") if field in rows else pd.Series(dtype=float)
    if times.isna().all():
        raise DataError(f"{data.name} has no column {field!r} of times, without which it has no early part; set TIME_FIELD.")
    order = np.argsort(times.to_numpy(), kind="stable")
    cut = round(len(rows) * share)
    folder, user = study.output / "data", data.id_fields[0]
    early = random_split(rows.iloc[order[:cut]], user, EARLY, study.seeds[0])
    late = random_split(not_shown(rows.iloc[order[cut:]], rows.iloc[order[:cut]], data.id_fields), user, LATE, study.seeds[0])
    for name, parts in (("early", early), ("later", late)):
        if empty := [part for part, found in parts.items() if found.empty]:
            raise DataError(
                f"With --early {share:g} the {name} part of {data.name} has no interaction for {' and '.join(empty)}; "
                "choose another share."
            )
    names = [f"{data.name}-{part}-{share:g}-{study.seeds[0]}" for part in ("early", "late")]
    own = not study.options.get("semantic_tag")
    return changed(data, folder / names[0], early, own), changed(data, folder / names[1], late)


def random_split(rows: pd.DataFrame, user: str, shares: tuple[float, float], seed: int) -> dict[str, pd.DataFrame]:
    """Interactions split at random; every user has one in training.

    Parameters
    ----------
    rows : DataFrame
    user : str
        Column of users.
    shares : tuple of float
        Of training and validation; the rest is the test part.
    seed : int
    """
    shuffled = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    first = ~shuffled[user].duplicated()
    others = shuffled[~first]
    trained = max(round(len(rows) * shares[0]) - int(first.sum()), 0)
    validated = trained + round(len(rows) * shares[1])
    train = pd.concat([shuffled[first], others.iloc[:trained]])
    return {"train": train, "valid": others.iloc[trained:validated], "test": others.iloc[validated:]}


def _profiles(study: Study, early: Data, late: Data) -> Profiles:
    """Profiles for the early part that quote nothing of the later part's validation and test."""
    try:
        profiles = study.profiles(early)
        pairs, _ = ProfileStore(profiles.folder).quoted_pairs()
        _, train = late.load(study.options)
        check_leakage(pairs, train, study.options.get("leakage") or "error", profiles.tag)
    except LeakageError:
        tag = study.options.get("semantic_tag")
        places = f"--data_path={quoted(early.root)} --semantic_path={quoted(early.semantic_path)}"
        raise LeakageError(
            f"The profiles of tag {tag!r} quote interactions that pretrain holds out; leave out --semantic_tag, or make some "
            f"for its early part: recbole-rlmrec profile --dataset {quoted(early.name)} --tag NEW --chat-model MODEL {places} "
            f'"--benchmark_filename={list(PARTS)}".'
        ) from None
    return profiles


def _continued(study: Study, outcome: Outcome, early: Data, late: Data) -> Cell:
    """The cell of the later part that starts from what another cell has learnt."""
    before = outcome.cell
    folder = study.output / "initial" / before.key
    shutil.rmtree(folder, ignore_errors=True)  # what is there may be of a model that has been trained anew since
    export_initial(outcome.checkpoint, early.load(study.options)[1], folder)
    setting = {"start": f"from {before.variant}"}
    return study.cell(before.model, "base", before.seed, data=late, setting=setting, initial_embeddings=str(folder))
