"""What it costs that LSA is fitted to some of the texts: Recall@20 of items by their texts alone (text-kNN, no training).

    python benchmarks/lsa_fit.py ../shared/data/yelp-xrec-full --output=benchmarks/results/lsa_fit.md

DATA holds NAME.train.inter and NAME.test.inter and the profiles user_profiles.jsonl and item_profiles.jsonl. LSA is fitted to
all profiles, and to a share of them that is drawn with each seed; items are then ranked by the cosine of their text and the
mean of the texts of a user's training items, both centred. Tests over users are paired t-tests against the fit to all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pages import publish
from scipy.stats import ttest_rel

from recbole_rlmrec.data.atomic import read_columns
from recbole_rlmrec.encoding.lsa import LSA
from recbole_rlmrec.experiments.text_baselines import measure, text_knn

BLOCK = 512


def read_profiles(path: Path, side: str) -> dict[str, str]:
    """Profiles by token."""
    with open(path, encoding="utf-8") as file:
        return {str(record[f"{side}_id"]): record["profile"] for record in map(json.loads, file)}


def read_splits(folder: Path, items: dict[str, int]) -> list[sp.csr_matrix]:
    """Training and test interactions, csr [n_users, n_items], of the items that have a profile."""
    tables = [read_columns(folder / f"{folder.name}.{part}.inter", ["user_id", "item_id"]) for part in ("train", "test")]
    numbers = pd.factorize(pd.concat([table["user_id"] for table in tables]).astype(str))[0]
    found = []
    for table, users in zip(tables, np.split(numbers, [len(tables[0])])):
        places = table["item_id"].astype(str).map(items)
        there = places.notna().to_numpy()
        rows = users[there], places[there].to_numpy(dtype=np.int64)
        found.append(
            sp.csr_matrix((np.ones(there.sum(), dtype=np.float32), rows), shape=(numbers.max() + 1, len(items))).sign()
        )
    return found


def recall(fitted_to: list[str], texts: list[str], splits: list[sp.csr_matrix]) -> np.ndarray:
    """Recall@20 of each user, NaN for those without a test interaction."""
    encoder = LSA()
    encoder.fit(fitted_to)
    vectors = np.concatenate([encoder.encode(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)])
    every = np.ones(len(texts), dtype=bool)
    return measure(text_knn(vectors, every, splits[0]), *splits, {"all": (every, every)}, [20])["recall@20 all"]


def compare(folder: Path, shares: list[int], seeds: int) -> list[str]:
    """Rows of the table for one data set."""
    users, items = (read_profiles(folder / f"{side}_profiles.jsonl", side) for side in ("user", "item"))
    everything, texts = [*users.values(), *items.values()], [*items.values()]
    splits = read_splits(folder, {token: place for place, token in enumerate(items)})
    before = recall(everything, texts, splits)
    rows = [f"| {folder.name} | all {len(everything):,} | {np.nanmean(before):.4f} | | |"]
    for share, seed in ((share, seed) for share in shares for seed in range(seeds)):
        begun = time.process_time()
        chosen = np.random.default_rng(seed).choice(len(everything), len(everything) // share, replace=False)
        found = recall([everything[place] for place in np.sort(chosen)], texts, splits)
        change = np.nanmean(found) / np.nanmean(before) - 1
        p = ttest_rel(found, before, nan_policy="omit").pvalue
        cells = f"1 in {share}, {len(chosen):,}, seed {seed} | {np.nanmean(found):.4f} | {change:+.1%} | {p:.2g}"
        rows.append(f"| {folder.name} | {cells} |")
        print(rows[-1], f"{time.process_time() - begun:.0f} CPU-s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--shares", default="4,16", help="one in so many of the texts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    head = [f"`python benchmarks/lsa_fit.py {' '.join(sys.argv[1:])}`", ""]
    head += ["| data | LSA fitted to | Recall@20 | against all | p over users |", "| --- | --- | --- | --- | --- |"]
    parts = [compare(folder, list(map(int, args.shares.split(","))), args.seeds) for folder in args.data]
    publish(head + sum(parts, []), args.output)


if __name__ == "__main__":
    main()
