"""RQ1: do texts help? Variants of each backbone beside those without text, with tests over seeds and over users."""

from __future__ import annotations

import argparse

from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cells.variants import VARIANTS, read_variants
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, main_table
from recbole_rlmrec.experiments.results.files import Results


def run(study: Study, args: argparse.Namespace) -> Results:
    """Run base and other variants and compare them; those with text with every one that does without."""
    variants = read_variants(args.variants)
    study.check_models(variants)
    cells = [study.cell(model, variant, seed) for seed in study.seeds for model in study.models for variant in variants]
    outcomes = study.run(cells)
    comparisons = compare_all(outcomes)
    tables = [main_table(outcomes, comparisons)] + [comparison_table(comparisons)] * bool(comparisons)
    for rival in (name for name in variants if name != "base" and not VARIANTS[name].text):
        others = [outcome for outcome in outcomes if outcome.cell.name == rival or VARIANTS[outcome.cell.variant].text]
        if found := compare_all(others, lambda cell, rival=rival: rival):
            tables.append(comparison_table(found, f"Tests against {rival}"))
    return Results(outcomes, tables, {"comparisons": [one.as_dict() for one in comparisons]})
