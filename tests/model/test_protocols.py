"""RecBole's evaluation protocols with every model of this package and every recommender that can be aligned."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_trainer, init_seed
from sklearn.metrics import log_loss, roc_auc_score

from recbole_rlmrec.model.adapters import ADAPTERS, SequenceAdapter
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
GENERAL = sorted(name for name, adapter in ADAPTERS.items() if not isinstance(adapter, SequenceAdapter))
MODELS = [*OWN, *(f"{backbone}_RLMRec" for backbone in GENERAL)]
KINDS = ("GCCF", "LightGCN_RLMRec", "BPR_RLMRec", "NeuMF_RLMRec", "MultiVAE_RLMRec", "ENMF_RLMRec")
"""A recommender of this package, a graph, embeddings, point-wise, an autoencoder, without negatives."""
EVERYWHERE = ("full-RS-RO-user", "uni5-LS-TO-user")
CASES = [(model, protocol) for model in MODELS for protocol in (PROTOCOLS if model in KINDS else EVERYWHERE)]


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


@pytest.mark.parametrize(("model", "protocol"), CASES)
def test_protocol(build, model, protocol):
    """Every model in two protocols, one of each kind in all; what comes out is checked against the protocol's definition."""
    sizes = SIZES.get(model.removesuffix("_RLMRec"), {})
    config, recommender, (train, valid, test) = build(model, epochs=1, **PROTOCOLS[protocol], **sizes)
    check_split(protocol, *(loader._dataset for loader in (train, valid, test)))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
    init_seed(config["seed"], config["reproducibility"])
    trainer.fit(train, valid, verbose=False, show_progress=False)
    result = trainer.evaluate(test, load_best_model=False, show_progress=False)
    if protocol.startswith("labeled"):
        assert result == pytest.approx(labelled(recommender, test), abs=1e-6)
    elif protocol.startswith("full"):
        assert result == pytest.approx(ranked(recommender, train, valid, test), abs=1e-6)
    else:
        assert set(result) == {"recall@3", "ndcg@3", "mrr@3"} and 0 < max(result.values()) <= 1
        check_candidates(train, valid, test)


def check_split(protocol: str, train, valid, test) -> None:
    """The split is by ratio or leaves one out, at random or by time, of each user or of all interactions."""
    _, how, order, group = protocol.split("-")
    parts = [part.inter_feat.numpy() for part in (train, valid, test)]
    sizes = np.array([np.bincount(part["user_id"], minlength=train.user_num)[1:] for part in parts])
    if how == "LS":
        assert (sizes[1:] == 1).all()
    elif group == "user":
        assert (abs(sizes[1:] - 0.2 * sizes.sum(0)) <= 1).all()
    else:
        assert abs(sizes.sum(1) / sizes.sum() - [0.6, 0.2, 0.2]).max() < 0.02
    if order == "TO" and "timestamp" in parts[0]:
        for user in range(1, train.user_num) if group == "user" else [None]:
            before, after = (part["timestamp"][(part["user_id"] == user) | (user is None)] for part in (parts[0], parts[2]))
            assert len(after) == 0 or before.max() <= after.min()


def ranked(model, train, valid, test) -> dict[str, float]:
    """Recall, NDCG and MRR at 3 over all items, one user at a time."""
    history = {name: held(loader) for name, loader in (("train", train), ("valid", valid), ("test", test))}
    values = []
    for user, wanted in history["test"].items():
        scores = scores_of(model, user)
        scores[[0, *history["train"].get(user, ()), *history["valid"].get(user, ())]] = -torch.inf
        hits = np.isin(scores.topk(3).indices.numpy(), list(wanted))
        gains = 1 / np.log2(np.arange(2, 5))
        first = np.flatnonzero(hits)
        values.append(
            [
                hits.sum() / len(wanted),
                (hits * gains).sum() / gains[: len(wanted)].sum(),
                1 / (first[0] + 1) if len(first) else 0.0,
            ]
        )
    return dict(zip(("recall@3", "ndcg@3", "mrr@3"), np.mean(values, axis=0), strict=True))


def scores_of(model, user: int) -> torch.Tensor:
    """Scores [n_items] of all items for a user."""
    with torch.no_grad():
        try:
            return model.full_sort_predict(Interaction({"user_id": torch.tensor([user])})).view(-1).clone()
        except NotImplementedError:
            items = torch.arange(model.n_items)
            return model.predict(Interaction({"user_id": torch.full_like(items, user), "item_id": items})).view(-1).clone()


def labelled(model, test) -> dict[str, float]:
    """AUC and log loss of the predictions of the test interactions."""
    rows = test._dataset.inter_feat
    with torch.no_grad():
        scores = model.predict(rows).view(-1).numpy().astype(np.float64)
    labels = rows["label"].numpy()
    return {"auc": roc_auc_score(labels, scores), "logloss": log_loss(labels, scores.clip(1e-15, 1 - 1e-15))}


def check_candidates(train, valid, test) -> None:
    """Five sampled items for each held-out one, none of which the user has."""
    mine = {}
    for loader in (train, valid, test):
        for user, items in held(loader).items():
            mine.setdefault(user, set()).update(items)
    for rows, _, _, items in test:
        assert len(rows) == 6 * len(items)
        candidates = list(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))
        assert sum(item not in mine[user] for user, item in candidates) == 5 * len(items)


def held(loader) -> dict[int, set[int]]:
    """Items of each user in a split."""
    rows = loader._dataset.inter_feat
    found: dict[int, set[int]] = {}
    for user, item in zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True):
        found.setdefault(user, set()).add(item)
    return found
