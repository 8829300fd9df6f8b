"""Adam over the batch's rows alone."""

import pytest
import torch
from recbole.utils import get_trainer

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin.optimizer import RowWiseAdam


@pytest.mark.parametrize("alignment", ["none", "con"])
def test_rows_outside_the_batch_stand_still(build, alignment):
    _, model, (train, _, _) = build("BPR_RLMRec", alignment=alignment)
    optimizer = RowWiseAdam(model, [model.user_embedding, model.item_embedding], 0.1)
    interaction = next(iter(train))
    users = interaction["user_id"].unique()
    before = model.user_embedding.weight.detach().clone()
    losses = model.calculate_loss(interaction)
    (sum(losses) if isinstance(losses, tuple) else losses).backward()
    optimizer.step()
    moved = (model.user_embedding.weight.detach() != before).any(dim=1).nonzero().squeeze(1)
    assert torch.equal(moved, users)


def test_first_step_equals_adam(build):
    """Where the gradient is far above epsilon, which the two classes of torch add at different places."""
    weights, gradients = [], []
    for rowwise in (False, True):
        _, model, (train, _, _) = build("BPR_RLMRec", alignment="con", fast_loader=False)
        embeddings = [model.user_embedding, model.item_embedding]
        optimizer = RowWiseAdam(model, embeddings, 0.01) if rowwise else torch.optim.Adam(model.parameters(), lr=0.01)
        sum(model.calculate_loss(next(iter(train)))).backward()
        gradients.append([parameter.grad.to_dense() for parameter in model.parameters()])
        optimizer.step()
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    for dense, sparse, gradient in zip(*weights, gradients[0]):
        clear = gradient.abs() > 1e-4
        torch.testing.assert_close(dense[clear], sparse[clear], rtol=1e-3, atol=1e-4)


def test_runs_and_resumes(build, workdir):
    config, model, (train, valid, _) = build("BPR_RLMRec", learner="sparse_adam", epochs=3)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, verbose=False)
    assert isinstance(trainer.optimizer, RowWiseAdam)
    losses = trainer.record.losses["recommendation"]
    assert losses[-1] < losses[0]
    again = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    again.resume_checkpoint(trainer.saved_model_file)
    kept = again.optimizer.state_dict()["parts"][0]["state"]
    assert kept and all(state["step"] > 0 for state in kept.values())


def test_models_that_read_whole_tables_are_refused(build):
    config, model, _ = build("LightGCN_RLMRec", alignment="none", learner="sparse_adam")
    with pytest.raises(ConfigError, match="sparse_adam"):
        get_trainer(config["MODEL_TYPE"], config["model"])(config, model)


def test_options_that_need_whole_gradients_are_refused(build):
    config, model, _ = build("BPR_RLMRec", learner="sparse_adam", clip_grad_norm={"max_norm": 1.0})
    with pytest.raises(ConfigError, match="sparse_adam does not work with clip_grad_norm"):
        get_trainer(config["MODEL_TYPE"], config["model"])(config, model)


def test_weight_decay_reaches_all_but_the_embeddings(build, caplog):
    config, model, _ = build("BPR_RLMRec", learner="sparse_adam", weight_decay=0.1)
    optimizer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model).optimizer
    assert "weight_decay to everything but the embeddings" in caplog.text
    assert [part["param_groups"][0].get("weight_decay") for part in optimizer.state_dict()["parts"]] == [None, 0.1]
