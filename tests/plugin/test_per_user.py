"""Values of each user, kept beside the averages that RecBole reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recbole_rlmrec.runs.run import main


@pytest.mark.parametrize("fast", [True, False])
def test_means_over_users_are_the_reported_metrics(tiny, workdir, fast):
    settings = {**tiny, "alignment": "none", "metrics": ["Recall", "NDCG", "MRR"], "fast_loader": fast}
    (workdir / "run.yaml").write_text(json.dumps(settings))
    result = main(["--model=LightGCN_RLMRec", "--config_files=run.yaml", "--per_user_file=out/users.json"])

    about = json.loads((workdir / "out" / "users.json").read_text())
    values = np.load(workdir / "out" / "users.values.npy", allow_pickle=False)
    top = np.load(workdir / "out" / "users.top.npy", allow_pickle=False)
    assert values.shape == (len(about["users"]), len(about["metrics"]))
    assert set(about["metrics"]) == set(result["test_result"])
    for name, mean in zip(about["metrics"], values.mean(axis=0)):
        assert mean == pytest.approx(result["test_result"][name], abs=1e-6)
    assert top.shape == (len(about["users"]), 10)
    assert "[PAD]" not in about["users"]
    assert top.min() > 0 and top.max() < len(about["items"])


LABELS = {
    "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
    "valid_metric": "AUC",
    "threshold": {"rating": 3},
    "load_col": {"inter": ["user_id", "item_id", "rating"]},
}
WITHOUT = ["GAUC", "ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]


@pytest.mark.parametrize(
    ("metrics", "own"),
    [
        (["AUC", "LogLoss", "MAE", "RMSE"], LABELS),
        (WITHOUT, {"valid_metric": "GAUC"}),
        (["GAUC", "Recall"], {"valid_metric": "Recall@5", "fast_loader": False}),
    ],
)
def test_metrics_that_are_no_means_over_users_have_no_values(tiny, workdir, caplog, metrics, own):
    caplog.set_level("INFO")
    settings = {**tiny, "epochs": 1, "metrics": metrics, **own}
    (workdir / "run.yaml").write_text(json.dumps(settings))
    result = main(["--model=BPR", "--config_files=run.yaml", "--per_user_file=users.json"])

    about, values = json.loads((workdir / "users.json").read_text()), np.load(workdir / "users.values.npy")
    assert about["metrics"] == [name for name in result["test_result"] if name.startswith("recall")]
    assert values.shape == (len(about["users"]), len(about["metrics"])) and len(about["users"]) > 10
    assert (workdir / "users.top.npy").exists() == ("AUC" not in metrics)
    named = [name.lower() for name in metrics if name != "Recall"]
    assert f"users.json has no values of {', '.join(named)}" in caplog.text.replace(f"{workdir}/", "")


def test_a_run_without_the_option_records_no_users(tiny, workdir):
    (workdir / "run.yaml").write_text(json.dumps({**tiny, "alignment": "none", "epochs": 1}))
    main(["--model=LightGCN_RLMRec", "--config_files=run.yaml", "--result_file=result.json"])
    assert not list(workdir.glob("*.npy"))
