"""``recbole-rlmrec advise``: what to try first on a data set, from what is measured in about a minute."""

from __future__ import annotations

import argparse

from recbole_rlmrec.errors import quoted
from recbole_rlmrec.experiments.advice import K, Measures, measure_dataset
from recbole_rlmrec.experiments.cells.options import read_options
from recbole_rlmrec.experiments.rules import advise, said


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Measure a data set and print which variant to begin with; returns the exit status."""
    measures = measure_dataset(args.dataset, read_options(options), args.tag)
    print("\n".join(table(measures)))
    rule, remarks = advise(measures)
    given = [f"--semantic_tag={measures.tag}"] * bool(measures.tag and measures.covered_items) + options
    data = " ".join(["--dataset", *map(quoted, [args.dataset, *given])])
    print(f"\nBegin with: recbole-rlmrec run {data} {rule.use}")
    print(f"Why ({rule.name}): {said(rule, measures)}")
    for remark in remarks:
        print(f"Mind ({remark.name}): {said(remark, measures)}")
    compare = f"experiment compare {data} {rule.compare}"
    print(f"`recbole-rlmrec {compare}` tells what it gains; docs/choose.md explains the rules.")
    return 0


def table(m: Measures) -> list[str]:
    """Lines of what was measured."""
    rows = [
        ("users, items", f"{m.users:,}, {m.items:,}"),
        ("training interactions", f"{m.interactions:,} (density {m.density:.3%})"),
        ("of a user, of an item (median)", f"{m.per_user:g}, {m.per_item:g}"),
        ("held-out interactions with items unseen in training", f"{m.unseen:.1%}"),
        ("texts", m.texts),
        ("items, users with a text", f"{m.covered_items:.0%}, {m.covered_users:.0%}"),
        ("words of an item's text (median)", f"{m.words:g}"),
        (f"valid Recall@{K}: popularity", f"{m.popularity:.4f}"),
        (f"valid Recall@{K}: item-kNN", f"{m.knn:.4f}"),
        (f"valid Recall@{K}: text-kNN", f"{m.text:.4f}"),
        (f"valid Recall@{K}: best blend", f"{m.blend:.4f} ({m.share:.0%} text, {m.gain:+.1%})"),
    ]
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {value}" for name, value in rows]
