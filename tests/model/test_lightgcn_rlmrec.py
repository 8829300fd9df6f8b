"""LightGCN_RLMRec: equal to RecBole's LightGCN without alignment, and whole runs with it."""

import copy
import json

import pytest
import torch

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.plugin.record import last_record


@pytest.mark.parametrize("require_pow", [False, True])
def test_none_is_recboles_lightgcn(run, require_pow):
    theirs = run("LightGCN", require_pow=require_pow, epochs=4)
    losses = last_record().losses["loss"]
    ours = run("LightGCN_RLMRec", alignment="none", fast_loader=False, require_pow=require_pow, epochs=4)
    record = last_record()
    both = [bpr + reg for bpr, reg in zip(record.losses["bpr"], record.losses["reg"])]
    assert both == pytest.approx(losses, rel=1e-6)
    assert dict(ours["test_result"]) == pytest.approx(dict(theirs["test_result"]), abs=1e-8)
    assert record.provenance is None


def test_representations_and_gradients_equal_recboles(build):
    _, theirs, (train, _, _) = build("LightGCN", n_layers=3)
    _, ours, _ = build("LightGCN_RLMRec", n_layers=3, alignment="none", fast_loader=False)
    interaction = next(iter(train))
    loss = theirs.calculate_loss(interaction)
    loss.backward()
    sum(ours.calculate_loss(interaction)).backward()
    for mine, yours in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(mine.grad, yours.grad, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.full_sort_predict(interaction), theirs.full_sort_predict(interaction))
    torch.testing.assert_close(ours.predict(interaction), theirs.predict(interaction))


@pytest.mark.parametrize("alignment", ["con", "gen"])
def test_alignment_is_named_in_log_and_record(run, alignment, caplog):
    caplog.set_level("INFO")
    run("LightGCN_RLMRec", alignment=alignment)
    record = last_record()
    assert set(record.losses) == {"bpr", "reg", "alignment"}
    assert all(len(series) == 2 and all(value > 0 for value in series) for series in record.losses.values())
    assert any("alignment_loss" in message for message in caplog.messages)
    assert record.provenance["coverage"] == {"users": [24, 24], "items": [30, 30]}
    json.dumps(record.as_dict())


@pytest.mark.parametrize("negatives", ["all", "batch", 5])
def test_same_seed_same_run(run, negatives):
    options = {"align_negatives": negatives, "edge_keep_rate": 0.8, "layer_combination": "sum", "reg_scope": "all"}
    first = run("LightGCN_RLMRec", **options)
    losses = last_record().losses
    second = run("LightGCN_RLMRec", **options)
    assert dict(first["test_result"]) == dict(second["test_result"])
    assert last_record().losses == losses


def test_gradient_reaches_the_projection_and_the_mask_token(build):
    for alignment in ("con", "gen"):
        _, model, (train, _, _) = build("LightGCN_RLMRec", alignment=alignment)
        sum(model.calculate_loss(next(iter(train)))).backward()
        grads = {name: parameter.grad for name, parameter in model.alignment.named_parameters()}
        assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values()), alignment


def test_mask_token_is_read_in_the_forward_pass_alone(build):
    _, model, (train, _, _) = build("LightGCN_RLMRec", alignment="gen", mask_ratio=0.99, reg_weight=0.5)
    with torch.no_grad():
        model.alignment.mask_token.fill_(0.3)
    interaction = next(iter(train))
    _, reg, _ = model.calculate_loss(interaction)
    ids = (interaction["user_id"], interaction["item_id"], interaction["neg_item_id"])
    tables = (model.user_embedding.weight, model.item_embedding.weight, model.item_embedding.weight)
    expected = 0.5 * sum(table[i].norm() for table, i in zip(tables, ids)) / len(ids[0])
    torch.testing.assert_close(reg, expected)
    assert type(model.user_embedding) is torch.nn.Embedding
    model.eval()
    assert torch.equal(model.forward()[0], copy.deepcopy(model).forward()[0])


def test_edge_dropout_acts_in_training_alone(build):
    _, model, _ = build("LightGCN_RLMRec", alignment="none", edge_keep_rate=0.5)
    model.train()
    assert not torch.equal(model.forward()[0], model.forward()[0])
    model.eval()
    assert torch.equal(model.forward()[0], model.forward()[0])


def test_sum_of_layers_is_the_mean_times_their_number(build):
    _, mean, _ = build("LightGCN_RLMRec", alignment="none", n_layers=3)
    _, total, _ = build("LightGCN_RLMRec", alignment="none", n_layers=3, layer_combination="sum")
    torch.testing.assert_close(total.forward()[0], 4 * mean.forward()[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [("edge_keep_rate", 0), ("edge_keep_rate", 1.5), ("layer_combination", "max"), ("reg_scope", "none"), ("n_layers", 0)],
)
def test_options_out_of_range(build, key, value):
    with pytest.raises(ConfigError, match=key):
        build("LightGCN_RLMRec", alignment="none", **{key: value})
