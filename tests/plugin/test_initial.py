"""What one model learnt is where another begins."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from recbole.utils import get_trainer

from recbole_rlmrec.errors import CheckpointError, ConfigError, LeakageError, SemanticError
from recbole_rlmrec.plugin.initial import export_initial, load_initial
from recbole_rlmrec.plugin.record import describe_run, last_record


@pytest.fixture
def exported(build, workdir):
    """A trained-like model's embeddings in a folder, and the model."""
    config, model, loaders = build("LightGCN_RLMRec", alignment="none")
    path = workdir / "model.pth"
    torch.save({"config": config, "state_dict": model.state_dict(), "other_parameter": None}, path)
    export_initial(path, loaders[0]._dataset, workdir / "initial")
    return model, workdir / "initial", path


def test_embeddings_go_by_token(build, exported):
    source, folder, _ = exported
    _, model, loaders = build("BPR_RLMRec", alignment="none", seed=5, leakage="warn")
    dataset = loaders[0]._dataset
    padding = model.user_embedding.weight[0].clone()
    load_initial(model, dataset, folder)
    assert torch.equal(model.user_embedding.weight[0], padding)
    for user in range(1, dataset.user_num):
        token = dataset.field2id_token["user_id"][user]
        row = source.user_embedding.weight[user]
        assert token and torch.equal(model.user_embedding.weight[user], row)


def test_a_run_starts_from_them(build, exported):
    learnt, folder, _ = exported
    config, model, loaders = build(
        "BPR_RLMRec", alignment="none", initial_embeddings=str(folder), epochs=1, learning_rate=1e-12
    )
    get_trainer(config["MODEL_TYPE"], "BPR_RLMRec")(config, model).fit(loaders[0], show_progress=False)
    assert torch.allclose(model.user_embedding.weight[1:], learnt.user_embedding.weight[1:], atol=1e-5)
    assert torch.allclose(model.item_embedding.weight[1:], learnt.item_embedding.weight[1:], atol=1e-5)


def test_resuming_goes_on_from_what_was_learnt(build, exported, workdir, monkeypatch):
    _, folder, _ = exported
    monkeypatch.chdir(folder.parent)
    options = {"alignment": "none", "initial_embeddings": folder.name, "epochs": 1}
    config, model, loaders = build("BPR_RLMRec", **options)
    first = get_trainer(config["MODEL_TYPE"], "BPR_RLMRec")(config, model)
    first.fit(loaders[0], loaders[1], show_progress=False)
    learnt = model.user_embedding.weight.detach().clone()
    config, model, loaders = build("BPR_RLMRec", **options)
    second = get_trainer(config["MODEL_TYPE"], "BPR_RLMRec")(config, model)
    second.resume_checkpoint(first.saved_model_file)
    second.fit(loaders[0], loaders[1], show_progress=False)
    assert torch.equal(model.user_embedding.weight, learnt)
    assert last_record().checkpoint == first.saved_model_file


def test_one_side_alone(build, exported):
    _, folder, _ = exported
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "users": 0}))
    _, model, loaders = build("BPR_RLMRec", alignment="none")
    before = model.user_embedding.weight.clone(), model.item_embedding.weight.clone()
    load_initial(model, loaders[0]._dataset, folder)
    assert torch.equal(model.user_embedding.weight, before[0])
    assert not torch.equal(model.item_embedding.weight, before[1])


# --- where they come from -------------------------------------------------------------------------------------------


def test_what_was_learnt_on_another_split_is_refused(build, exported, caplog):
    _, folder, _ = exported
    _, model, loaders = build("BPR_RLMRec", alignment="none", seed=5)
    before = model.user_embedding.weight.clone()
    train, heldout = loaders[0]._dataset, loaders[0]._dataset.rlmrec_heldout
    learnt = build("BPR")[2][0]._dataset
    seen = {pair for part in heldout for pair in pairs_of(part)} & pairs_of(learnt) - pairs_of(train)
    with pytest.raises(LeakageError, match=f"come from {len(seen)} interactions of this run's validation or test .*leakage: w"):
        load_initial(model, train, folder)
    assert torch.equal(model.user_embedding.weight, before)
    _, model, loaders = build("BPR_RLMRec", alignment="none", seed=5, leakage="warn")
    about = load_initial(model, loaders[0]._dataset, folder)
    assert about["leaked_interactions"] == len(seen) and about["made_for_this_split"] is False
    assert "too good to be true" in caplog.text
    with pytest.raises(ConfigError, match="leakage must be one of"):
        load_initial(model, build("BPR_RLMRec", alignment="none", seed=5, leakage="never")[2][0]._dataset, folder)


def pairs_of(dataset):
    feat = dataset.inter_feat
    return set(zip(*(dataset.id2token(name, feat[name].numpy()) for name in ("user_id", "item_id"))))


def test_a_run_is_stopped_and_its_result_says_where_they_come_from(run, exported):
    _, folder, _ = exported
    with pytest.raises(LeakageError):
        run("BPR_RLMRec", alignment="none", initial_embeddings=str(folder), epochs=1, seed=5)
    run("BPR_RLMRec", alignment="none", initial_embeddings=str(folder), epochs=1)
    about = describe_run()["run"]["initial_embeddings"]
    assert about["made_for_this_split"] is True and about["leaked_interactions"] == 0
    assert (about["provenance"], about["by"]) == ("recorded", "LightGCN_RLMRec")


@pytest.mark.parametrize(("forget", "error"), [(("pairs",), True), (("pairs", "split_hash"), False)])
def test_what_is_not_known_is_said(build, exported, caplog, forget, error):
    _, folder, _ = exported
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({key: manifest[key] for key in manifest if key not in forget}))
    _, model, loaders = build("BPR_RLMRec", alignment="none", seed=5)
    if error:
        with pytest.raises(LeakageError, match="made from another training split.*not recorded"):
            load_initial(model, loaders[0]._dataset, folder)
        _, model, loaders = build("BPR_RLMRec", alignment="none")
        assert load_initial(model, loaders[0]._dataset, folder)["provenance"] == "recorded"
        return
    assert load_initial(model, loaders[0]._dataset, folder)["provenance"] == "unknown"
    assert "unknown provenance" in caplog.text


def test_what_it_has_seen_is_bound_too(build, exported):
    _, folder, _ = exported
    _, model, loaders = build("BPR_RLMRec", alignment="none", seed=5)
    np.save(folder / "pairs.npy", np.zeros(0, dtype=np.uint64))
    with pytest.raises(SemanticError, match="pairs.npy is not the file"):
        load_initial(model, loaders[0]._dataset, folder)


def test_bad_input(build, exported, workdir):
    _, folder, path = exported
    _, model, loaders = build("BPR_RLMRec", alignment="none", embedding_size=16)
    with pytest.raises(ConfigError, match="embedding_size: 8"):
        load_initial(model, loaders[0]._dataset, folder)
    with pytest.raises(ConfigError, match="no embeddings in nowhere"):
        load_initial(model, loaders[0]._dataset, "nowhere")
    loaders[0]._dataset.field2id_token["user_id"] = loaders[0]._dataset.field2id_token["user_id"][:-1]
    with pytest.raises(CheckpointError, match="no embeddings of the"):
        export_initial(path, loaders[0]._dataset, workdir / "other")
    assert not (workdir / "other").exists()
