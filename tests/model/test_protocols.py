"""RecBole's evaluation protocols with every model of this package and every recommender that can be aligned."""

import numpy as np
import pytest
from recbole.utils import get_trainer, init_seed

from recbole_rlmrec.model.adapters import ADAPTERS
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

RANKING = {"metrics": ["Recall", "NDCG", "MRR"], "topk": [3], "valid_metric": "NDCG@3"}
VALUES = {
    "metrics": ["AUC", "LogLoss"],
    "valid_metric": "AUC",
    "threshold": {"rating": 3},
    "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
}
TIMES = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
RS, LS = {"RS": [0.6, 0.2, 0.2]}, {"LS": "valid_and_test"}
PROTOCOLS = {
    "full-RS-RO-user": {**RANKING, "eval_args": {"split": RS, "order": "RO", "group_by": "user", "mode": "full"}},
    "full-LS-TO-user": {**RANKING, **TIMES, "eval_args": {"split": LS, "order": "TO", "group_by": "user", "mode": "full"}},
    "full-RS-TO-none": {**RANKING, **TIMES, "eval_args": {"split": RS, "order": "TO", "group_by": "none", "mode": "full"}},
    "uni5-RS-RO-none": {**RANKING, "eval_args": {"split": RS, "order": "RO", "group_by": "none", "mode": "uni5"}},
    "uni5-LS-TO-user": {**RANKING, **TIMES, "eval_args": {"split": LS, "order": "TO", "group_by": "user", "mode": "uni5"}},
    "pop5-RS-RO-user": {**RANKING, "eval_args": {"split": RS, "order": "RO", "group_by": "user", "mode": "pop5"}},
    "labeled-RS-RO-user": {**VALUES, "eval_args": {"split": RS, "order": "RO", "group_by": "user", "mode": "labeled"}},
    "labeled-RS-TO-none": {**VALUES, "eval_args": {"split": RS, "order": "TO", "group_by": "none", "mode": "labeled"}},
}
OWN = ("GCCF", "SimGCL", "DCCF", "AutoCF")
SIZES = {
    "ConvNCF": {"embedding_size": 64},
    "RaCT": {"pretrain_epochs": 1, "save_step": 1},
    "AutoCF": {"n_seeds": 3},
}
MODELS = [*OWN, *(f"{backbone}_RLMRec" for backbone in sorted(ADAPTERS))]


@pytest.fixture(autouse=True)
def profiles(monkeypatch):
    """Random embeddings in place of the offline default, which takes longer than the run."""

    def table(count, device):
        matrix = np.random.default_rng(count).normal(size=(count - 1, 4)).astype(np.float32)
        return SemanticTable(matrix, np.arange(count) - 1, device)

    def load(config, train):
        return Semantic(table(train.user_num, config["device"]), table(train.item_num, config["device"]), "", "", {})

    monkeypatch.setattr("recbole_rlmrec.model.rlmrec.load_semantic", load)


@pytest.fixture(autouse=True)
def one_item_less(tiny, workdir):
    """Nobody has every item and no item has everybody: LINE's sampler would look for another user without end."""
    file = workdir / "dataset" / "tiny" / "tiny.inter"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("u0\ti0\t")))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", MODELS)
def test_protocol(build, model, protocol):
    sizes = SIZES.get(model.removesuffix("_RLMRec"), {})
    config, recommender, (train, valid, test) = build(model, epochs=1, **PROTOCOLS[protocol], **sizes)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
    init_seed(config["seed"], config["reproducibility"])
    trainer.fit(train, valid, verbose=False, show_progress=False)
    result = trainer.evaluate(test, show_progress=False)
    if protocol.startswith("labeled"):
        assert set(result) == {"auc", "logloss"}
        assert result["auc"] > 0
    else:
        assert set(result) == {"recall@3", "ndcg@3", "mrr@3"}
        assert max(result.values()) <= 1
    assert all(np.isfinite(value) and value >= 0 for value in result.values())
