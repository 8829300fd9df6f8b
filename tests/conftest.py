"""Small data and runs that the tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

import recbole_rlmrec  # noqa: F401  (repairs and registers)

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
GENRES = ("comedy", "drama", "thriller", "western", "romance")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that need it skip where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the real data is not here")
    return SHARED


@pytest.fixture(autouse=True)
def _clean_command_line(monkeypatch):
    """RecBole's Config parses sys.argv: give every test an empty one."""
    monkeypatch.setattr(sys, "argv", ["pytest"])


@pytest.fixture
def workdir(tmp_path, monkeypatch) -> Path:
    """An empty working directory: RecBole writes log/, log_tensorboard/ and saved/ into it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_atomic(
    folder: Path, name: str = "tiny", n_users: int = 24, n_items: int = 30, n_inter: int = 240, text: bool = True
) -> None:
    """Write a small data set NAME.inter, NAME.item, NAME.user with ratings, times, titles, genres and years."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    cells = rng.permutation(n_users * n_items)[:n_inter]
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for position, cell in enumerate(np.concatenate([np.arange(n_users) * n_items, cells[cells % n_items != 0]])):
        rating = rng.integers(1, 6)
        lines.append(f"u{cell // n_items}\ti{cell % n_items}\t{rating}\t{1000 + position}")
    (folder / f"{name}.inter").write_text("\n".join(lines) + "\n")
    if not text:
        return
    items = ["item_id:token\ttitle:token_seq\trelease_year:token\tgenre:token_seq\tdescription:token_seq"]
    for item in range(n_items):
        genres = " ".join(sorted({GENRES[item % 5], GENRES[item // 5 % 5]}))
        items.append(f"i{item}\tThe {GENRES[item % 5]} number {item}\t{1980 + item}\t{genres}\tA story of {genres}.")
    (folder / f"{name}.item").write_text("\n".join(items) + "\n")
    users = ["user_id:token\tage:token\toccupation:token"]
    users += [f"u{user}\t{20 + user}\t{('cook', 'pilot', 'clerk')[user % 3]}" for user in range(n_users)]
    (folder / f"{name}.user").write_text("\n".join(users) + "\n")


@pytest.fixture(scope="session")
def write_tiny() -> Callable:
    """`write_atomic`, for fixtures that last longer than a test."""
    return write_atomic


@pytest.fixture
def tiny(workdir) -> dict:
    """Options of a run on a small data set in the working directory: CPU, two epochs, no progress bars."""
    write_atomic(workdir / "dataset" / "tiny")
    return {
        "dataset": "tiny",
        "gpu_id": "",
        "epochs": 2,
        "train_batch_size": 64,
        "embedding_size": 8,
        "show_progress": False,
        "topk": [5, 10],
        "valid_metric": "Recall@10",
        "metric_decimal_place": 8,
    }


@pytest.fixture
def build(tiny) -> Callable:
    """``build(model, **options)`` -> (config, model, loaders) on the small data set, untrained."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    def make(model: str, **options):
        config = Config(model, options.pop("dataset", tiny["dataset"]), config_dict={**tiny, **options})
        init_seed(config["seed"], config["reproducibility"])
        loaders = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        return config, get_model(config["model"])(config, loaders[0]._dataset), loaders

    return make


@pytest.fixture
def run(tiny) -> Callable:
    """``run(model, **options)`` -> result of RecBole's run_recbole on the small data set."""
    from recbole.quick_start import run_recbole

    def go(model: str, **options):
        settings = {**tiny, **options}
        return run_recbole(model=model, dataset=settings["dataset"], config_dict=settings)

    return go
