"""What a run writes has a name of its own and is whole or not there."""

from __future__ import annotations

import importlib
import logging
import pickle
import time
from datetime import datetime
from pathlib import Path

import pytest
from recbole.data import create_dataset
from recbole.trainer import Trainer
from recbole.utils import get_tensorboard, get_trainer, init_logger

from recbole_rlmrec.cli import main
from recbole_rlmrec.plugin import saving
from recbole_rlmrec.plugin.checkpoint import load_checkpoint


class _Noon(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, 12, 0, 0)


@pytest.fixture
def one_second(monkeypatch):
    """All runs start in the same second."""
    for module in ("recbole.utils.utils", "recbole_rlmrec.plugin.saving"):
        found = importlib.import_module(module)
        monkeypatch.setattr(found, "datetime", type("module", (), {"datetime": _Noon}) if "recbole." in module else _Noon)


@pytest.fixture
def ready(build):
    def make(model="BPR", **options):
        config, recommender, loaders = build(model, **options)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
        return trainer, loaders

    return make


@pytest.mark.parametrize("model", ["BPR", "LightGCN_RLMRec"])
def test_runs_of_one_second_test_their_own_models(ready, one_second, model):
    """The best model of the first must not be the second's."""
    runs = [ready(model, seed=seed, learning_rate=rate, epochs=3) for seed, rate in ((1, 0.001), (2, 0.1), (3, 0.01))]
    for trainer, loaders in runs:
        trainer.fit(loaders[0], loaders[1], show_progress=False)
    names = [trainer.saved_model_file for trainer, _ in runs]
    assert len(set(names)) == 3
    for trainer, loaders in runs:
        tested = trainer.evaluate(loaders[2], show_progress=False)
        assert load_checkpoint(trainer.saved_model_file)["config"]["seed"] == trainer.config["seed"]
        trainer.evaluate(loaders[2], load_best_model=True, model_file=trainer.saved_model_file, show_progress=False)
        assert tested == trainer.evaluate(loaders[2], load_best_model=False, show_progress=False)


def test_logs_and_tensorboard_folders_of_one_second_are_two(build, workdir, one_second, monkeypatch):
    config, _, _ = build("BPR")
    root = logging.getLogger()
    for _ in range(2):
        monkeypatch.setattr(root, "handlers", [])
        init_logger(config)
        get_tensorboard(root).close()
        get_tensorboard(root).close()  # a second run of the process, into the same log
    assert len(list(workdir.glob("log/BPR/*.log"))) == 2
    folders = sorted(workdir.glob("log_tensorboard/*"))
    assert len(folders) == 4 and all(len(list(folder.iterdir())) == 1 for folder in folders)


def test_a_save_that_fails_leaves_the_best_model_as_it_was(ready):
    trainer, loaders = ready(epochs=1)
    trainer.fit(loaders[0], loaders[1], show_progress=False)
    before = Path(trainer.saved_model_file).read_bytes()
    trainer.model.other_parameter = lambda: {"table": Bomb()}
    with pytest.raises(MemoryError):
        trainer._save_checkpoint(1)
    assert Path(trainer.saved_model_file).read_bytes() == before
    assert not list(Path("saved").rglob("*.tmp"))


def test_the_same_for_recboles_own_trainer(build, workdir):
    config, model, loaders = build("BPR", epochs=1)
    trainer = Trainer(config, model)
    trainer.fit(loaders[0], loaders[1], show_progress=False)
    before = Path(trainer.saved_model_file).read_bytes()
    model.other_parameter = lambda: {"table": Bomb()}
    with pytest.raises(MemoryError):
        trainer._save_checkpoint(1)
    assert Path(trainer.saved_model_file).read_bytes() == before


def test_a_saved_data_set_is_whole_or_not_there(build, tiny, workdir):
    config, _, _ = build("BPR", save_dataset=True)
    (saved,) = (workdir / "saved").glob("*-Dataset.pth")
    before = saved.read_bytes()
    data = create_dataset(config)
    data.bomb = Bomb()
    with pytest.raises(MemoryError):
        data.save()
    assert saved.read_bytes() == before and pickle.loads(before).dataset_name == "tiny"


class Bomb:
    """Fails where it is written."""

    def __reduce__(self):
        raise MemoryError


@pytest.mark.parametrize("number", ["0", "-1"])
def test_no_process_at_all_is_a_sentence(capsys, workdir, number):
    assert main(["run", f"--nproc={number}"]) == 2
    assert f"--nproc={number} trains nothing" in capsys.readouterr().err


def test_times_do_not_follow_the_clock_of_the_day(ready, monkeypatch):
    module = importlib.import_module("recbole.trainer.trainer")
    assert module.time is time.perf_counter
    backwards = iter(range(10**6, 0, -60))
    monkeypatch.setattr(module, "time", lambda: next(backwards))
    trainer, loaders = ready(epochs=3)
    trainer.fit(loaders[0], loaders[1], show_progress=False)
    assert len(trainer.record.seconds) == 3 and all(0 < seconds < 60 for seconds in trainer.record.seconds)


def test_names_of_files_are_claimed(workdir):
    assert [saving.claim_folder(Path("logs"), "a").name for _ in range(3)] == ["a", "a-2", "a-3"]
    assert saving.get_local_time() != saving.get_local_time()
