"""RQ3: fake interactions in the training split."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from recbole_rlmrec.errors import ConfigError, DataError
from recbole_rlmrec.experiments.cells.cell import Outcome, headline
from recbole_rlmrec.experiments.cells.data import Data, changed
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cells.variants import read_variants
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, grouped
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.stats import mean_and_deviation, relative_gain
from recbole_rlmrec.experiments.results.tables import Table, in_brackets, with_deviation


def run(study: Study, args: argparse.Namespace) -> Results:
    """Run every variant at every level of noise; the profiles stay those of the clean data."""
    variants, levels = read_variants(args.variants), read_levels(args.levels)
    study.check_models(variants)
    cells = []
    for seed in study.seeds:
        clean = study.data_of(seed)
        profiles = study.profiles(clean) if set(variants) - {"base"} else None
        for level in levels:
            data = noisy(study, clean, level, seed) if level else clean
            setting = {"noise": f"{level}%"}
            for model in study.models:
                cells += [study.cell(model, v, seed, profiles=profiles, data=data, setting=setting) for v in variants]
    outcomes = study.run(cells)
    comparisons = compare_all(outcomes, lambda cell: f"base, {cell.setting['noise']}")
    tables = [level_table(outcomes), comparison_table(comparisons, "Tests against base at the same level")]
    findings = {"levels": levels, "comparisons": [one.as_dict() for one in comparisons]}
    return Results(outcomes, tables[: 1 + bool(comparisons)], findings)


def read_levels(text: str) -> list[int]:
    """Percentages, with 0 among them.

    Raises
    ------
    ConfigError
        They are not numbers from 0 to 100.
    """
    try:
        levels = sorted({0, *(int(level.strip().removesuffix("%")) for level in text.split(",") if level.strip())})
    except ValueError:
        levels = [-1]
    if levels[0] < 0 or levels[-1] > 100:
        raise ConfigError(f"--levels takes percentages from 0 to 100, for example 5,10,25, not {text!r}.")
    return levels


def noisy(study: Study, data: Data, level: int, seed: int) -> Data:
    """The split with fake interactions in training; those of a lower level are among those of a higher one."""
    train = data.read("train").table
    fake = fake_rows(data, train, round(len(train) * level / 100), seed)
    root = study.output / "data" / f"{data.name}-noise-{level}-{seed}"
    return changed(data, root, {"train": pd.concat([train, fake], ignore_index=True)})


def fake_rows(data: Data, train: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Training rows of pairs that are in no part of the split, drawn uniformly; other columns are those of real rows.

    Parameters
    ----------
    data : Data
    train : DataFrame
        Raw training rows.
    count : int
    seed : int

    Raises
    ------
    DataError
        There are not so many such pairs.
    """
    user, item = data.id_fields
    users, items = train[user].unique(), train[item].unique()
    real = pd.concat([data.pairs(part) for part in ("train", "valid", "test")])
    rows, columns = (pd.Index(tokens).get_indexer(real[side]) for tokens, side in ((users, "user"), (items, "item")))
    inside = (rows >= 0) & (columns >= 0)
    taken = np.unique(rows[inside] * len(items) + columns[inside])
    if count > len(users) * len(items) - len(taken):
        raise DataError(f"{data.name} is too dense for {count} fake interactions; choose lower --levels.")
    cells = _draw_free(np.random.default_rng(seed), len(users) * len(items), taken, count)
    rng = np.random.default_rng([seed, 1])
    fake = train.iloc[rng.integers(len(train), size=count)].reset_index(drop=True)
    return fake.assign(**{user: users[cells // len(items)], item: items[cells % len(items)]})


def _draw_free(rng: np.random.Generator, size: int, taken: np.ndarray, count: int) -> np.ndarray:
    """Distinct numbers below ``size`` that are not in ``taken``, int64 [count]; a longer draw begins with a shorter one."""
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < count:
        more = rng.integers(size, size=1024)
        drawn = np.concatenate([drawn, more[~np.isin(more, taken)]])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return drawn[:count]


def level_table(outcomes: list[Outcome], name: str = "noise") -> Table:
    """The metric of validation by level: one row per model and variant, the change from the first level in brackets."""
    levels = list(dict.fromkeys(outcome.cell.setting[name] for outcome in outcomes))
    metric = headline(outcomes[0])[0] if outcomes else ""
    values = {key: [outcome.metrics[metric] for outcome in found] for key, found in grouped(outcomes).items()}
    table = Table(f"{metric} at test by {name}", ["model", "variant", *levels])
    for model, variant in dict.fromkeys((outcome.cell.model, outcome.cell.variant) for outcome in outcomes):
        row, first = [model, variant], None
        for level in levels:
            mean, deviation = mean_and_deviation(values.get((model, f"{variant}, {level}")) or [float("nan")])
            first = mean if first is None else first
            change = relative_gain(mean, first)
            row.append(with_deviation(mean, deviation) + (in_brackets(change) if level != levels[0] else ""))
            about = {"model": model, "variant": variant, name: level, "metric": metric}
            table.records.append({**about, "mean": mean, "deviation": deviation, "change": change})
        table.rows.append(row)
    table.notes = [f"Mean +- standard deviation over seeds; in brackets the change from {levels[0]}."] if levels else []
    return table
