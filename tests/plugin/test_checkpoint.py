"""Checkpoints of earlier versions."""

from __future__ import annotations

from pathlib import Path

from recbole.utils import get_model

from recbole_rlmrec.plugin.checkpoint import load_checkpoint

OLD = Path(__file__).parent / "data" / "BPR_RLMRec-0.1.0.pth"


def test_a_checkpoint_that_names_the_old_place_of_its_class_loads():
    assert b"recbole_rlmrec.model.general_recommender" in OLD.read_bytes()
    checkpoint = load_checkpoint(OLD, map_location="cpu")
    assert checkpoint["config"].model_class is get_model("BPR_RLMRec")
    assert checkpoint["state_dict"]["user_embedding.weight"].shape == (9, 2)
