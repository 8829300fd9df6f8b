"""A results folder of real runs on data whose texts try to be markup."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from launchers import QUICK, HereLauncher, run_experiment

from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.exchange.profiles import import_profiles

NASTY = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>\u2028 & <b>bold</b> {{data}}"
USERS, ITEMS = 16, 20


def write_data(folder: Path) -> None:
    """Interactions and items; the title of item i1 is markup."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True)
    pairs = sorted(
        {(cell // ITEMS, cell % ITEMS) for cell in rng.permutation(USERS * ITEMS)[:180]} | {(u, 0) for u in range(USERS)}
    )
    lines = [f"u{user}\ti{item}\t{1 + (user + item) % 5}\t{1000 + n}" for n, (user, item) in enumerate(pairs)]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "nasty.inter").write_text("\n".join([header, *lines]) + "\n")
    names = [f"Film {item}" if item != 1 else "<img src=x onerror='window.broken = 3'" for item in range(ITEMS)]
    titles = [f"i{item}\t{name}" for item, name in enumerate(names)]
    (folder / "nasty.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")


def write_profiles(path: Path) -> None:
    """Profiles of everyone; those of u1 and i1 are markup."""
    words = ("quiet drama", "loud comedy", "old western", "space travel", "long romance")
    lines = []
    for side, count in (("user", USERS), ("item", ITEMS)):
        for number in range(count):
            text = f"## Overview\nLikes **{words[number % 5]}** and {words[number // 5 % 5]}." + (NASTY if number == 1 else "")
            record = {
                f"{side}_id": f"{side[0]}{number}",
                "profile": text,
                "reasoning": f"because of {words[number % 5]} {NASTY}",
            }
            lines.append(json.dumps(record | {"pairs": []}))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """A results folder with compare (two seeds), noise, groups, efficiency and ablation; do not change it."""
    root = tmp_path_factory.mktemp("results")
    before, argv = os.getcwd(), sys.argv
    os.chdir(root)
    sys.argv = ["recbole-rlmrec", "experiment", "compare", "--note", "<b>&</b>"]
    try:
        write_data(root / "dataset" / "nasty")
        write_profiles(root / "profiles.jsonl")
        import_profiles(root / "profiles.jsonl", root / "dataset" / "nasty" / "semantic", "nasty", "made")
        encode_tag(root / "dataset" / "nasty" / "semantic" / "made", "lsa", show_progress=False)
        common = ("--dataset", "nasty", "--output", "out", *QUICK, "--semantic_tag=made", "--gpu_id=")
        assert run_experiment(HereLauncher(), "compare", "--seeds", "2", *common) == 0
        assert run_experiment(HereLauncher(), "groups", "--groups", "2", "--seeds", "2", *common) == 0
        assert run_experiment(HereLauncher(), "noise", "--levels", "10", "--seeds", "1", "--variants", "base,con", *common) == 0
        assert (
            run_experiment(HereLauncher(), "ablation", "--kinds", "constant", "--seeds", "1", "--variants", "con", *common) == 0
        )
        assert run_experiment(HereLauncher(), "efficiency", "--seeds", "1", "--variants", "base,con", *common) == 0
    finally:
        os.chdir(before)
        sys.argv = argv
    return root / "out"


@pytest.fixture(scope="session")
def report(results, tmp_path_factory) -> Path:
    """The report of `results`."""
    from recbole_rlmrec.report.build import write_report

    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([results], path, projection="pca")
    return path
