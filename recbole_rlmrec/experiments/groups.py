"""Where does alignment help? Results by user activity and item popularity, and with few interactions left to some."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Outcome
from recbole_rlmrec.experiments.cells.data import Data, changed, not_shown
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cells.variants import read_variants
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, main_table
from recbole_rlmrec.experiments.results.files import Results
from recbole_rlmrec.experiments.results.stats import Comparison, compare_tables, correct, mean_and_deviation
from recbole_rlmrec.experiments.results.tables import Table, in_brackets, with_deviation

GROUPED = ("users", "items")


def run(study: Study, args: argparse.Namespace) -> Results:
    """Break the results of `compare` down, and run cells with users or items held out."""
    variants, holdouts, keeps = read_variants(args.variants), _read_sides(args.holdout), _read_keeps(args.keep)
    if args.groups < 2 or not 0 < args.share < 1:
        raise ConfigError("--groups is 2 or more and --share lies between 0 and 1.")
    if "recall" not in {str(metric).lower() for metric in study.options["metrics"]}:
        raise ConfigError("groups counts hits, so it needs Recall among --metrics.")
    study.check_models(variants)
    cells = [study.cell(model, variant, seed) for seed in study.seeds for model in study.models for variant in variants]
    outcomes = study.run(cells)
    tables, findings = [], {"groups": []}
    for side, measure, label in ((0, by_activity, "user activity"), (1, by_popularity, "item popularity")):
        found = measure(study, outcomes, args.groups)
        table, rows = group_table(outcomes, found, f"Results by {label}", f"training interactions of the {GROUPED[side][:-1]}")
        tables.append(table)
        findings["groups"] += [{"by": label, **row} for row in rows]
    for side in holdouts:
        more, table, comparisons = _hold_out(study, variants, side, keeps, args.share)
        outcomes += more
        tables += table
        findings.setdefault("comparisons", []).extend(one.as_dict() for one in comparisons)
    return Results(outcomes, tables, findings)


def _read_sides(text: str) -> list[str]:
    wanted = [side.strip() for side in text.split(",") if side.strip()]
    if any(side not in GROUPED for side in wanted):
        raise ConfigError(f"--holdout takes users, items or users,items, not {text!r}.")
    return wanted


def _read_keeps(text: str) -> list[int]:
    try:
        keeps = sorted({int(keep) for keep in text.split(",")})
    except ValueError:
        keeps = [0]
    if keeps[0] < 1:
        raise ConfigError(f"--keep takes numbers of interactions, 1 or more, for example 1,3,5, not {text!r}.")
    return keeps


# --- groups --------------------------------------------------------------------------------------------------------


def bounds(counts: np.ndarray, groups: int) -> list[tuple[int, int]]:
    """Ranges of counts, first and last included, that hold about equally many of them; fewer where counts repeat.

    Zeros, of whom training never saw, have a range of their own before them.
    """
    seen = counts[counts > 0]
    unseen = [(0, 0)] * (len(seen) < len(counts))
    if not len(seen):
        return unseen
    ends = np.unique(np.quantile(seen, np.arange(1, groups + 1) / groups, method="inverted_cdf")).astype(int)
    firsts = [int(seen.min()), *(end + 1 for end in ends[:-1])]
    return unseen + [(int(first), int(end)) for first, end in zip(firsts, ends)]


def by_activity(study: Study, outcomes: Sequence[Outcome], groups: int) -> list[dict[tuple[int, int], pd.DataFrame]]:
    """For each outcome, metrics of the test users of each range of training interactions; one set of ranges for all."""
    trained = {seed: study.data_of(seed).pairs("train")["user"].value_counts() for seed in study.seeds}
    counts = [trained[one.cell.seed].reindex(one.users.index, fill_value=0).to_numpy() for one in outcomes]
    ranges = bounds(np.concatenate(counts), groups) if outcomes else []
    return [
        {(first, last): one.users[(mine >= first) & (mine <= last)] for first, last in ranges}
        for one, mine in zip(outcomes, counts, strict=True)
    ]


def by_popularity(study: Study, outcomes: Sequence[Outcome], groups: int) -> list[dict[tuple[int, int], pd.DataFrame]]:
    """For each outcome, recall by user of the test items of each range; ranges hold about as many test interactions."""
    counts = {}
    for seed in study.seeds:
        data = study.data_of(seed)
        trained = data.pairs("train")["item"].value_counts()
        counts[seed] = trained.reindex(data.pairs("test")["item"], fill_value=0).to_numpy()
    ranges = bounds(np.concatenate(list(counts.values())), groups)

    def part(outcome: Outcome, first: int, last: int) -> pd.DataFrame:
        mine, test = counts[outcome.cell.seed], study.data_of(outcome.cell.seed).pairs("test")
        return recall_of(outcome, test[(mine >= first) & (mine <= last)])

    return [{limits: part(one, *limits) for limits in ranges} for one in outcomes]


def recall_of(outcome: Outcome, wanted: pd.DataFrame) -> pd.DataFrame:
    """Recall of some test interactions alone: one column per k, indexed by the users who have any.

    Each is looked up in its user's list; where each has a list of its own (sequential recommenders), in that.

    Parameters
    ----------
    outcome : Outcome
    wanted : DataFrame
        ``user`` and ``item`` tokens.
    """
    topk = [int(name.partition("@")[2]) for name in outcome.users.columns if name.startswith("recall@")]
    hits = outcome.ranks_of(wanted)
    found = pd.DataFrame({f"recall@{k}": (hits["rank"] < k).astype(float) for k in topk})
    return found.groupby(hits["user"]).mean()


def group_table(outcomes: Sequence[Outcome], found: Sequence[dict], title: str, what: str) -> tuple[Table, list[dict]]:
    """One row per model, variant and metric at the largest k, one column per group; gains over base in brackets.

    Parameters
    ----------
    outcomes : sequence of Outcome
    found : sequence of dict
        For each outcome, metrics by user for each range of counts.
    title, what : str
        Of the table and of the counts.

    Returns
    -------
    table : Table
    rows : list of dict
        Every comparison and mean, JSON-able.
    """
    ranges = list(found[0]) if found else []
    cells = {(outcome.cell.model, outcome.cell.variant): [] for outcome in outcomes}
    for outcome, tables in zip(outcomes, found, strict=True):
        cells[outcome.cell.model, outcome.cell.variant].append((outcome.cell.seed, list(tables.values())))
    metrics = _largest(found[0][ranges[0]].columns) if found else []
    comparisons = _compare_groups(cells, metrics, len(ranges))
    table = Table(title, ["model", "variant", "metric", *(f"{first}-{last}" for first, last in ranges)])
    rows = []
    for (model, variant), members in cells.items():
        for metric in metrics:
            row = [model, variant, metric]
            for position, limits in enumerate(ranges):
                values = [float(tables[position][metric].mean()) for _, tables in members if len(tables[position])]
                against = comparisons.get((model, variant, metric, position))
                gain = in_brackets(against.gain, against.holm_users) if against else ""
                mean, deviation = mean_and_deviation(values or [float("nan")])
                row.append(with_deviation(mean, deviation) + gain)
                about = {"model": model, "variant": variant, "metric": metric, "from": limits[0], "to": limits[1]}
                figures = {"mean": mean, "deviation": deviation, "gain": against and against.gain}
                table.records.append({**about, **figures, "holm_users": against and against.holm_users})
                rows.append({**about, "values": values, "comparison": against and against.as_dict()})
            table.rows.append(row)
    table.notes = [
        f"Columns are ranges of {what}. In brackets the relative gain over base, with * p < .05, ** p < .01, *** p < .001 of "
        "the paired t-test over users, corrected by Holm's method over the groups, models and variants of one metric."
    ]
    return table, rows


def _largest(columns: Sequence[str]) -> list[str]:
    """Of each metric the name with the largest k."""
    largest: dict[str, int] = {}
    for name, _, k in (column.partition("@") for column in columns):
        largest[name] = max(largest.get(name, 0), int(k))
    return [f"{name}@{k}" for name, k in largest.items()]


def _compare_groups(cells: dict, metrics: list[str], groups: int) -> dict[tuple, Comparison]:
    comparisons = {}
    for (model, variant), members in cells.items():
        base = cells.get((model, "base"), [])
        if variant == "base" or not base:
            continue
        for position in range(groups):
            mine, theirs = (
                {seed: tables[position] for seed, tables in side if len(tables[position])} for side in (members, base)
            )
            for one in compare_tables(mine, theirs, metrics, model, variant, "base"):
                comparisons[model, variant, one.metric, position] = one
    correct(list(comparisons.values()))
    return comparisons


# --- held out ------------------------------------------------------------------------------------------------------


def _hold_out(
    study: Study, variants: list[str], side: str, keeps: list[int], share: float
) -> tuple[list[Outcome], list[Table], list[Comparison]]:
    cells, chosen, lost = [], {}, []
    for seed in study.seeds:
        full = study.data_of(seed)
        for keep in keeps:
            data, chosen[seed, keep] = held_out(study, full, side, keep, share, seed)
            lost.append(not_shown(full.pairs("train"), data.pairs("train"), ("user", "item")))
            setting = {"held out": f"{side} with {keep}"}
            for model in study.models:
                cells += [study.cell(model, variant, seed, data=data, setting=setting) for variant in variants]
    outcomes = study.run(cells)

    def part(outcome: Outcome) -> pd.DataFrame:
        tokens = chosen[outcome.cell.seed, int(outcome.cell.setting["held out"].rpartition(" ")[2])]
        if side == "users":
            return outcome.users[outcome.users.index.isin(tokens)]
        test = study.data_of(outcome.cell.seed).pairs("test")
        return recall_of(outcome, test[test["item"].isin(tokens)])

    narrowed = [Narrowed(outcome, part) for outcome in outcomes]
    comparisons = compare_all(narrowed, lambda cell: f"base, {cell.setting['held out']}")
    table = main_table(narrowed, comparisons, f"Results for held-out {side} alone")
    note = f"{share:.0%} of the {side} that are tested keep that many training interactions; the figures are theirs alone. "
    if set(variants) - {"base"}:
        note += _what_profiles_know(study, pd.concat(lost).drop_duplicates())
    table.notes.append(note.strip())
    tables = [table, comparison_table(comparisons, f"Tests for held-out {side}")] if comparisons else [table]
    return outcomes, tables, comparisons


def _what_profiles_know(study: Study, lost: pd.DataFrame) -> str:
    """Whether the profiles were made from training interactions that are held out, a sentence."""
    if not study.options.get("semantic_tag"):
        return "The profiles are made anew from what is left."
    profiles = study.profiles()
    quoted, unknown = ProfileStore(profiles.folder).quoted_pairs()
    if unknown:
        return f"Profiles of {profiles.tag} do not record what they were made from: they may know what is held out here."
    known = len(lost.merge(quoted, on=["user", "item"]))
    if not known:
        return f"The profiles of {profiles.tag} quote none of the {len(lost)} interactions that are held out."
    return (
        f"The profiles of {profiles.tag} quote {known} of the {len(lost)} interactions that are held out, which base does "
        "not see: a gain here is in part theirs."
    )


class Narrowed(Outcome):
    """An outcome seen through some of its users or test interactions.

    Parameters
    ----------
    outcome : Outcome
    part : callable
        Metrics by user of the part.
    """

    def __init__(self, outcome: Outcome, part: Callable[[Outcome], pd.DataFrame]):
        super().__init__(outcome.cell, outcome.folder)
        self.__dict__["users"] = part(outcome)

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the part's users."""
        return {name: float(value) for name, value in self.users.mean().items()}


def held_out(study: Study, data: Data, side: str, keep: int, share: float, seed: int) -> tuple[Data, set[str]]:
    """The split in which some users or items keep few training interactions.

    Returns
    -------
    data : Data
    tokens : set of str
        Those held out; the same for every ``keep``, and each has test interactions.
    """
    train, column = data.read("train").table, data.id_fields[GROUPED.index(side)]
    counts = train[column].value_counts()
    tested = set(data.pairs("test")[side[:-1]])
    rng = np.random.default_rng([seed, GROUPED.index(side)])
    free = np.array(sorted(token for token in counts.index if token in tested), dtype=object)
    tokens = set(rng.permutation(free)[: max(round(share * len(free)), 1)])
    shuffled = train.iloc[rng.permutation(len(train))]
    order = shuffled.groupby(column).cumcount().reindex(train.index)
    kept = train[~train[column].isin(tokens) | (order < keep)]
    root = study.output / "data" / f"{data.name}-held-out-{side}-{share:g}-{keep}-{seed}"
    return changed(data, root, {"train": kept}, own_profiles=not study.options.get("semantic_tag")), tokens
