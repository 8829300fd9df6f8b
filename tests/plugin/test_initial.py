"""What one model learnt is where another begins."""

from __future__ import annotations

import json

import pytest
import torch
from recbole.utils import get_trainer

from recbole_rlmrec.errors import CheckpointError, ConfigError
from recbole_rlmrec.plugin.initial import export_initial, load_initial
from recbole_rlmrec.plugin.record import last_record


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
    _, model, loaders = build("BPR_RLMRec", alignment="none", seed=5)
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
