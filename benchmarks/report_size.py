"""Size of the report at many users and items, and how long Chromium takes to open it.

    python benchmarks/report_size.py [--entities 100000] [--output benchmarks/results/report_size]

Synthetic: half users, half items, ten interactions per user with reviews, profiles of some 120 words with a reasoning of 60,
three variants with trained models. What experiments would have kept is made up; the page is made as `recbole-rlmrec report`
makes it. Opening is measured on the clock, and by the CPU time of the page's main thread, which other processes do not change.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from pages import publish

import recbole_rlmrec  # noqa: F401  (registers)
from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.report.browser import Browser, browser_section
from recbole_rlmrec.report.map import map_section
from recbole_rlmrec.report.page import render
from recbole_rlmrec.report.spaces import Spaces

WORDS = np.array(
    "quiet drama loud comedy old western space travel long romance sharp knives red pans slow cooking films".split()
)
VARIANTS = ("base", "con", "gen")


class Corpus(SimpleNamespace):
    """As much of a corpus as a report reads."""

    def columns(self):
        """Columns of interactions and items by what they are."""
        return SimpleNamespace(rating="rating", reviews=["review"], title="title")


def text(rng, words: int) -> str:
    """So many words, with a full stop after every tenth."""
    drawn = rng.choice(WORDS, words)
    return " ".join(f"{word}." if place % 10 == 9 else word for place, word in enumerate(drawn))


def make_spaces(n: int, root: Path) -> Spaces:
    """What is read from a results folder of n users and n items."""
    rng = np.random.default_rng(1)
    users, items = [f"user-{number}" for number in range(n)], [f"item-{number}" for number in range(n)]
    chosen = (rng.random((n, 10)) ** 2 * n).astype(int)
    reviews = [text(rng, 40) for _ in range(5000)]
    table = pd.DataFrame({"user": np.repeat(users, 10), "item": np.array(items)[chosen.ravel()], "rating": "4"})
    table["review"] = np.array(reviews, dtype=object)[rng.integers(0, len(reviews), len(table))]
    titles = pd.DataFrame({"title": [f"Thing {number}" for number in range(n)]}, index=items)
    corpus = Corpus(users=users, items=items, interactions=table, item_fields=titles)
    said = [(text(rng, 119), text(rng, 59)) for _ in range(2000)]
    profiles = {
        side: {
            token: Profile(token, *(f"{token} {part}" for part in said[number % len(said)]), pairs)
            for number, (token, pairs) in enumerate(zip(tokens, _pairs(side, users, items, chosen)))
        }
        for side, tokens in (("user", users), ("item", items))
    }
    vectors = {space: _vectors(rng, n) for space in ("semantic", *VARIANTS)}
    (root / "users.top.npy").touch()
    outcomes = {
        name: SimpleNamespace(
            folder=root,
            result={"settings": {"valid_metric": "recall@10"}},
            top_items=pd.DataFrame(np.array(items)[(rng.random((n, 10)) ** 2 * n).astype(int)], index=users),
            users=pd.DataFrame({"recall@10": rng.random(n)}, index=users),
        )
        for name in VARIANTS
    }
    manifest = {"tag": "made", "by": "nobody", "dataset": "synthetic"}
    return Spaces("LightGCN", 2020, outcomes, corpus, {}, profiles, manifest, "none", vectors)


def _vectors(rng, n: int) -> dict[str, np.ndarray]:
    return {side: rng.normal(size=(n, 32)).astype(np.float32) for side in ("user", "item")}


def _pairs(side: str, users: list[str], items: list[str], chosen: np.ndarray):
    if side == "user":
        return ([(user, items[item]) for item in row] for user, row in zip(users, chosen))
    quoted: list[list[tuple[str, str]]] = [[] for _ in items]
    for user, row in zip(users, chosen):
        for item in row[:3]:
            quoted[item].append((user, items[item]))
    return quoted


def seconds_to_open(path: Path) -> tuple[float, float] | None:
    """Seconds on the clock until Chromium shows a profile of the page, and of CPU in its main thread, the least of three.

    None where Chromium is not installed.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(option)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        opened.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        taken = []
        for _ in range(3):
            opened.get("about:blank")
            start = time.perf_counter()
            opened.get(path.as_uri())
            while not opened.execute_script("return document.querySelector('#entry h3') !== null"):
                time.sleep(0.01)
            taken.append((time.perf_counter() - start, _busy(opened)))
        return min(clock for clock, _ in taken), min(busy for _, busy in taken)
    finally:
        opened.quit()


def _busy(driver) -> float:
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def main() -> None:
    """Make the page, open it, write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--page", type=Path, default=None, help="where to keep the page")
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spaces = make_spaces(args.entities // 2, Path(folder))
        start = time.process_time()
        browser = Browser(spaces).as_dict()
        sections = [map_section(spaces, "pca"), browser_section(browser)]
        page = render("Synthetic", [], [], sections, [], browser)
        made = time.process_time() - start
        path = args.page or Path(folder) / "report.html"
        path.write_text(page, encoding="utf-8")
        opened = seconds_to_open(path.resolve())
        shown = " and ".join(f"{len(browser['entries'][side]):,} {side}s" for side in ("user", "item"))
        columns = ["users and items", "in the browser", "page, MB", "CPU to make, s", "opens in, s", "of CPU, s"]
        times = ["not tried"] * 2 if opened is None else [f"{value:.1f}" for value in opened]
        row = [f"{args.entities:,}", shown, f"{path.stat().st_size / 1e6:.1f}", f"{made:.0f}", *times]
        table = ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), row)]
        lines = [f"`python benchmarks/report_size.py {' '.join(sys.argv[1:])}`", "", *table]
    publish(lines, args.output)


if __name__ == "__main__":
    main()
