"""RQ2: what do the profiles contribute? Embeddings without meaning, one side alone, other profiles, profiles alone."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.experiments.cells.cell import Cell
from recbole_rlmrec.experiments.cells.study import Profiles, Study
from recbole_rlmrec.experiments.cells.variants import read_variants
from recbole_rlmrec.experiments.derived import CHANGES, change_embeddings, with_reasoning
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, main_table
from recbole_rlmrec.experiments.results.files import Results

KINDS = (*CHANGES, "reasoning", "alone")
ALONE = "SemanticRecommender"


def run(study: Study, args: argparse.Namespace) -> Results:
    """Run a model with its profiles and with profiles that lack something."""
    variants = [variant for variant in read_variants(args.variants) if variant != "base"]
    kinds = _read_kinds(args.kinds)
    study.check_models(variants)
    if study.resplit and args.profiles:
        raise ConfigError("--profiles names profiles of one split; leave out --resplit.")
    others = [_named(study, name) for name in args.profiles.split(",") if name.strip()]
    cells = list(_cells(study, variants, kinds, others))
    outcomes = study.run(cells)
    against_base = compare_all(outcomes)
    against_full = compare_all(outcomes, lambda cell: cell.variant if cell.setting else None)
    findings = {
        "comparisons": [one.as_dict() for one in against_base],
        "comparisons_with_full": [one.as_dict() for one in against_full],
    }
    tables = [main_table(outcomes, against_base)]
    if against_full:
        tables.append(comparison_table(against_full, "Tests against the profiles as they are"))
    return Results(outcomes, tables, findings)


def _read_kinds(text: str) -> list[str]:
    wanted = [kind.strip() for kind in text.split(",") if kind.strip()]
    if unknown := [kind for kind in wanted if kind not in KINDS]:
        raise ConfigError(f"--kinds takes {', '.join(KINDS)}, not {', '.join(unknown)}.")
    return wanted


def _named(study: Study, name: str) -> tuple[str, Profiles]:
    tag, _, encoder = name.strip().partition(":")
    return name.strip(), study.profiles(tag=tag, encoder=encoder or None)


def _cells(study: Study, variants: list[str], kinds: list[str], others: list[tuple[str, Profiles]]) -> Iterator[Cell]:
    for seed in study.seeds:
        data = study.data_of(seed)
        full = study.profiles(data)
        changed = list(_changed(study, full, kinds, seed)) + others
        for model in study.models:
            yield study.cell(model, "base", seed)
            for variant in variants:
                yield study.cell(model, variant, seed, profiles=full)
                for name, profiles in changed:
                    yield study.cell(model, variant, seed, profiles=profiles, setting={"profiles": name})
    if "alone" in kinds:
        for seed in study.seeds if study.resplit else study.seeds[:1]:
            for name, profiles in [("as they are", study.profiles(study.data_of(seed))), *others]:
                yield alone(study, seed, name, profiles)


def _changed(study: Study, full: Profiles, kinds: list[str], seed: int) -> Iterator[tuple[str, Profiles]]:
    data, root = study.data_of(seed), study.output / "profiles"
    for kind in kinds:
        if kind in CHANGES:
            yield kind, change_embeddings(full, data, kind, seed, root, study.options)
    if "reasoning" in kinds:
        profiles = with_reasoning(full, data, root, study.options)
        if profiles is not None:
            yield "with reasoning", profiles


def alone(study: Study, seed: int, name: str, profiles: Profiles) -> Cell:
    """The cell in which profiles recommend by themselves; nothing is trained, so one seed of each split will do."""
    data = study.data_of(seed)
    options = {key: value for key, value in study.options.items() if not key.startswith(("align_", "mask_"))}
    options |= {**data.run_options(), **profiles.run_options()}
    identity = {"data": data.digest, "profiles": profiles.digest}
    setting = {"profiles": name}
    return Cell("profiles alone", "cosine", seed, ALONE, data.name, options, identity, setting)
