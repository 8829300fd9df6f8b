"""Batches that grow with the data."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin import batch_size
from recbole_rlmrec.runs.option_types import check_types


class Settings(dict):
    """A config whose defaults are RecBole's."""

    internal_config_dict = {"train_batch_size": 2048}


class Interactions:
    def __init__(self, count):
        self.inter_feat = Interaction({"user_id": torch.zeros(count, dtype=torch.long)})


def settled(count, size="auto", kind=InputType.PAIRWISE):
    config = Settings(train_batch_size=size, learning_rate=0.001, MODEL_INPUT_TYPE=kind, model="LightGCN")
    batch_size.settle(config, Interactions(count))
    return config["train_batch_size"], config["learning_rate"]


@pytest.mark.parametrize(
    ("count", "size", "rate"),
    [
        (100, 2048, 0.001),
        (102_400, 2048, 0.001),
        (102_401, 2049, 0.001 * (2049 / 2048) ** 0.5),
        (409_600, 8192, 0.002),
        (20_000_000, 262_144, 0.001 * 128**0.5),
    ],
)
def test_a_fiftieth_of_the_interactions(count, size, rate):
    found = settled(count)
    assert found == (size, pytest.approx(rate))


def test_numbers_stay():
    assert settled(10**6, 64) == (64, 0.001)


def test_recommenders_that_are_trained_by_user_are_refused():
    with pytest.raises(ConfigError, match="auto, but LightGCN is not trained by interaction; set it to a number"):
        settled(100, kind=InputType.LISTWISE)


@pytest.mark.parametrize("value", ["automatic", 0, 1.5, True])
def test_what_the_option_takes(value):
    with pytest.raises(ConfigError, match="set it to `auto` or a whole number of at least 1"):
        check_types({"train_batch_size": value})


@pytest.mark.parametrize("fast", [False, True])
def test_a_run_with_batches_of_its_own(run, monkeypatch, fast, caplog):
    monkeypatch.setattr(batch_size, "STEPS", 3)
    caplog.set_level("INFO")
    run("LightGCN", train_batch_size="auto", fast_loader=fast, epochs=1)
    assert "is taken for batches of 2048 and becomes 0.0" in caplog.text
