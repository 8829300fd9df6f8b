"""RQ1: does alignment help? Base, con and gen of each backbone, with tests over seeds and over users."""

from __future__ import annotations

import argparse

from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.cells.variants import read_variants
from recbole_rlmrec.experiments.results.comparison import compare_all, comparison_table, main_table
from recbole_rlmrec.experiments.results.files import Results


def run(study: Study, args: argparse.Namespace) -> Results:
    """Run base and aligned models and compare them."""
    variants = read_variants(args.variants)
    study.check_models(variants)
    cells = [study.cell(model, variant, seed) for seed in study.seeds for model in study.models for variant in variants]
    outcomes = study.run(cells)
    comparisons = compare_all(outcomes)
    tables = [main_table(outcomes, comparisons), comparison_table(comparisons)]
    return Results(outcomes, tables[: 1 + bool(comparisons)], {"comparisons": [one.as_dict() for one in comparisons]})
