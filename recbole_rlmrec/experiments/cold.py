"""Cold start: items or users that training never saw, served from their texts, beside text-kNN and popularity."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import PARTS
from recbole_rlmrec.data.profile import aligned_sides
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import ConfigError, DataError, LeakageError
from recbole_rlmrec.experiments.cells.cell import Cell
from recbole_rlmrec.experiments.cells.data import changed, not_shown
from recbole_rlmrec.experiments.cells.study import Profiles, Study
from recbole_rlmrec.experiments.cells.variants import COLD, VARIANTS, read_variants
from recbole_rlmrec.experiments.cold_judge import GROUPS, Judge, Task
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.stats import Comparison, compare_tables, correct, mean_and_deviation
from recbole_rlmrec.experiments.results.tables import Table, stars, with_deviation
from recbole_rlmrec.model.lookup import SEMANTIC_SUFFIX, is_sequential
from recbole_rlmrec.runs.new_sequences import check_new_items


def run(study: Study, args: argparse.Namespace) -> Results:
    """Train every variant without the cold ones, then serve these as new."""
    variants, side = read_variants(args.variants, COLD), args.side[:-1]
    if not 0 < args.share < 1:
        raise ConfigError(f"--share is a share of the {args.side}, between 0 and 1, not {args.share}.")
    study.check_models(variants)
    if side == "user" and (sequential := next(filter(is_sequential, study.models), None)):
        raise ConfigError(f"{sequential} knows users by their sequences, and cold ones have none; say --side items.")
    for name in {VARIANTS[variant].runs(model) for model in filter(is_sequential, study.models) for variant in variants}:
        if name.endswith(SEMANTIC_SUFFIX):
            check_new_items(name)
    tasks = {seed: make_task(study, side, seed, None if args.from_data else args.share) for seed in study.seeds}
    settings = {seed: _profiles(study, task, side) for seed, task in tasks.items()}
    cells = [
        study.cell(model, variant, seed, data=task.data, setting={"cold": _name(args)}, keep=True, **_options(variant, side))
        for seed, task in tasks.items()
        for model in study.models
        for variant in variants
    ]
    _check_sides(cells, side)
    outcomes, found = study.run(cells), {}
    for seed, task in tasks.items():
        judge = Judge(study, task, settings[seed], args.category)
        for name, scorer in judge.baselines().items():
            found.setdefault(("", name), {})[seed] = judge.judge(scorer)
        for outcome in (one for one in outcomes if one.cell.seed == seed):
            model = "" if outcome.cell.runs == "AlphaRec" else outcome.cell.model
            found.setdefault((model, outcome.cell.variant), {})[seed] = judge.judge(judge.scorer(outcome))
    tables, comparisons = cold_tables(found, tasks, max(study.options["topk"]))
    findings = {
        "cold": {seed: {"side": side, "cold": len(task.cold), "test": len(task.test)} for seed, task in tasks.items()},
        "means": [
            {"model": model, "variant": variant, "seed": seed, **{name: _json(value) for name, value in table.mean().items()}}
            for (model, variant), by_seed in found.items()
            for seed, table in by_seed.items()
        ],
        "comparisons": [one.as_dict() for one in comparisons],
    }
    return Results(outcomes, tables, findings)


def _check_sides(cells: Sequence[Cell], side: str) -> None:
    """Refuse, before anything is trained, con that has learnt nothing of the texts of cold ones."""
    for cell in cells:
        sides = aligned_sides(cell.options.get("align_sides"))
        if cell.options.get("alignment") == "con" and side not in sides and not is_sequential(cell.model):
            raise ConfigError(
                f"{cell.label} is trained with align_sides: {sides[0]}, so texts of {side}s say nothing to it and it cannot "
                "place cold ones; align both sides."
            )


def _name(args: argparse.Namespace) -> str:
    return f"{args.side} of the data" if args.from_data else f"{args.share:g} of the {args.side}"


def _options(variant: str, side: str) -> dict:
    """Users without interactions are known by their profiles alone."""
    return {"user_text": "both"} if side == "user" and variant in ("semantic", "text", "alpharec") else {}


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# --- the task ------------------------------------------------------------------------------------------------------


def make_task(study: Study, side: str, seed: int, share: float | None) -> Task:
    """The split of a seed without some items or users, or without those that training never saw anyway.

    Parameters
    ----------
    study : Study
    side : str
        ``item`` or ``user``.
    seed : int
    share : float or None
        Of those that occur in training; None holds nobody out.

    Raises
    ------
    DataError
        Nobody is cold.
    """
    full = study.data_of(seed)
    pairs = {part: full.pairs(part) for part in PARTS}
    known = np.array(sorted(set(pairs["train"][side])), dtype=object)
    out: set[str] = set()
    if share is not None:
        rng = np.random.default_rng([seed, ("item", "user").index(side)])
        out = set(rng.permutation(known)[: max(round(share * len(known)), 1)])
    warm = set(known) - out
    moved = [pairs[part][pairs[part][side].isin(out)] for part in PARTS[:2]]
    test = pd.concat([pairs["test"], *moved]).drop_duplicates()
    left = pairs["train"][pairs["train"][side].isin(warm)]
    other = "user" if side == "item" else "item"
    test = test[test[other].isin(set(left[other]))].reset_index(drop=True)
    cold = sorted(set(test[side]) - warm)
    if not cold:
        raise DataError(f"Training has seen every {side} of the test split of {study.dataset}; leave --from-data out.")
    column = full.id_fields[("user", "item").index(side)]
    rows = {part: full.read(part).table for part in PARTS}
    kept = {part: table[table[column].isin(warm)] for part, table in rows.items()}
    root = study.output / "data" / f"{full.name}-cold-{side}s-{'data' if share is None else f'{share:g}-{seed}'}"
    data = changed(full, root, kept, own_profiles=not study.options.get("semantic_tag"))
    return Task(data, side, cold, test, pairs["valid"][~pairs["valid"][side].isin(out)])


def _profiles(study: Study, task: Task, side: str) -> Profiles:
    """The profiles of a task, which quote nothing that it tests.

    Raises
    ------
    LeakageError
        They do, and ``leakage`` is not ``warn``.
    ConfigError
        Users are cold and have no profiles.
    """
    profiles = study.profiles(task.data)
    quoted, _ = ProfileStore(profiles.folder).quoted_pairs()
    held_out = not_shown(task.test, task.data.pairs("train"), ("user", "item"))
    leaked = len(held_out.merge(quoted.drop_duplicates(), on=["user", "item"]))
    if leaked and study.options.get("leakage", "error") != "warn":
        raise LeakageError(
            f"The profiles of tag {profiles.tag!r} quote {leaked} of the interactions held out here with their {side}s; "
            "leave --semantic_tag out (template profiles are made of what is left), take --from-data, or set leakage: warn."
        )
    if side == "user" and not study.options.get("semantic_tag"):
        raise ConfigError(
            "--side users needs --semantic_tag with profiles of users: without interactions their texts alone tell them apart."
        )
    return profiles


# --- tables --------------------------------------------------------------------------------------------------------


def harmonic(first: float, second: float) -> float:
    """Harmonic mean of two figures; 0 where one is."""
    return 2 * first * second / (first + second) if first > 0 and second > 0 else 0.0


def cold_tables(
    found: dict[tuple[str, str], dict[int, pd.DataFrame]], tasks: dict[int, Task], k: int
) -> tuple[list[Table], list[Comparison]]:
    """Means over seeds, and each variant against the better of what ranks without training.

    Parameters
    ----------
    found : dict
        Metrics by user, by (model, variant) and seed; what has no model and is no variant is a baseline.
    tasks : dict of int to Task
    k : int
        Of the table.
    """
    groups = [name for name in GROUPS if f"recall@{k} {name}" in next(iter(next(iter(found.values())).values()))]
    columns = [f"{metric}@{k} {name}" for metric in ("recall", "ndcg") for name in (*groups[:3], "harmonic", *groups[3:])]
    baselines = [key for key in found if key[1] not in VARIANTS]
    target = f"recall@{k} cold"
    best = max(baselines, key=lambda key: np.mean([table[target].mean() for table in found[key].values()]))
    comparisons = []
    for key, mine in found.items():
        if key not in baselines:
            sides = ({seed: table[[target]].dropna() for seed, table in one.items()} for one in (mine, found[best]))
            comparisons += compare_tables(*sides, [target], *key, best[1])
    correct(comparisons)
    against = {(one.model, one.variant): one for one in comparisons}
    table = Table("Cold start at test", ["model", "variant", "seeds", *columns, "cold / best baseline"])
    for key, by_seed in found.items():
        row, record = [*key, len(by_seed)], {"model": key[0], "variant": key[1], "seeds": len(by_seed)}
        for column in columns:
            values = [_value(one, column) for one in by_seed.values()]
            mean, deviation = mean_and_deviation(values)
            row.append(with_deviation(mean, deviation))
            record |= {column: mean, f"{column} deviation": deviation}
        one = against.get(key)
        ratio = one.mean / one.base_mean if one and one.base_mean else None
        row.append(f"{ratio:.2f} x{stars(one.holm_users)}" if ratio is not None else "")
        table.rows.append(row)
        table.records.append({**record, "ratio": ratio, "holm_users": one and one.holm_users})
    table.notes = [_note(tasks, best[1], k)]
    return [table], comparisons


def _value(table: pd.DataFrame, column: str) -> float:
    name, _, group = column.partition(" ")
    if group == "harmonic":
        return harmonic(float(table[f"{name} cold"].mean()), float(table[f"{name} warm"].mean()))
    return float(table[column].mean())


def _note(tasks: dict[int, Task], best: str, k: int) -> str:
    first, count = next(iter(tasks.values())), np.mean([len(task.cold) for task in tasks.values()])
    share = np.mean([task.test[task.side].isin(task.cold).mean() for task in tasks.values()])
    ranked = (
        "Cold items are ranked among cold ones, warm among warm ones, all among all; `cold among all` looks for cold items "
        f"in the ranking of all items. An order at random has recall@{k} {min(k / count, 1):.4f} among the cold."
        if first.side == "item"
        else "All users' figures are of the ranking of all items."
    )
    return (
        f"{count:.0f} {first.side}s are cold: nothing of them is in training or "
        f"validation; {share:.0%} of the test interactions are theirs. {ranked} harmonic: harmonic mean of cold and warm. What "
        f"cannot serve cold {first.side}s does not rank them. Last column: cold recall over that of {best}, with stars for "
        "the paired test over users after Holm's correction."
    )
