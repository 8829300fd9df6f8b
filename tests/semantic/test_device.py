"""``semantic_device: cpu``: the embeddings stay in the host's memory, and everything is as if they did not.

A machine without a GPU has one device, by two names: a model on ``cpu:0`` takes the way that a GPU takes.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.semantic import load
from recbole_rlmrec.semantic.table import SemanticTable

AWAY = "cpu:0"


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rows_travel_as_they_are_needed(dtype):
    matrix = np.random.default_rng(3).normal(size=(5, 4)).astype(dtype)
    places = np.array([-1, 4, -1, 0, 2])
    here = SemanticTable(matrix, places, AWAY)
    for there in (SemanticTable(matrix, places, AWAY, "cpu"), SemanticTable(matrix, places, "meta", "cpu")):
        assert there._matrix.device == torch.device("cpu")
        found = [there.rows(torch.tensor([4, 1, 4])), next(there.blocks())[1], there.mean()]
        expected = [here.rows(torch.tensor([4, 1, 4])), next(here.blocks())[1], here.mean()]
        for one, other in zip(found, expected):
            assert (one.shape, one.dtype) == (other.shape, torch.float32)
            assert one.is_meta or torch.equal(one, other)
        assert found[0].is_meta == there.covered.is_meta
    assert not len(list(SemanticTable(matrix, np.array([-1, -1]), AWAY, "cpu").blocks()))


def test_losses_and_gradients_are_the_same(build, monkeypatch):
    class Away(SemanticTable):
        def __init__(self, matrix, places, device, home):
            super().__init__(matrix, places, AWAY, home)
            assert (self._home != self._device) == (home == "cpu")
            taken.append(self)

    monkeypatch.setattr(load, "SemanticTable", Away)
    taken: list = []
    for model, options in {
        "LightGCN_RLMRec": {"align_negatives": "all"},
        "BPR_RLMRec": {"align_negatives": 5},
        "LightGCN_Semantic": {"alignment": "gen", "user_text": "both", "semantic_center": True},
        "MultiVAE_RLMRec": {"alignment": "darec"},
        "AlphaRec": {"semantic_dropout": 0.2},
    }.items():
        steps = []
        for home in (None, "cpu"):
            _, made, (train, *_) = build(model, **options, semantic_device=home)
            torch.manual_seed(1), np.random.seed(1), random.seed(1)
            losses = made.calculate_loss(next(iter(train)))
            losses = torch.stack([loss.reshape(()) for loss in (losses if isinstance(losses, tuple) else (losses,))])
            losses.sum().backward()
            steps.append(
                (losses.detach(), {name: weight.grad for name, weight in made.named_parameters()}, [*made.state_dict()])
            )
        (loss, gradients, state), (other_loss, other_gradients, other_state) = steps
        assert torch.equal(loss, other_loss) and state == other_state
        for name, gradient in gradients.items():
            assert torch.equal(gradient, other_gradients[name]), name
    assert len(taken) == 2 * 2 * 5


def test_what_is_asked_for_is_checked(build):
    with pytest.raises(ConfigError, match="semantic_device is 'cuda': set it to cpu, or leave it empty"):
        build("LightGCN_RLMRec", semantic_device="cuda")
    with pytest.raises(ConfigError, match="LightGCN_KAR reads all embeddings in each step; leave semantic_device out"):
        build("LightGCN_KAR", semantic_device="cpu")
