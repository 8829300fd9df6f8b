"""RecBole's own functions accept the names of this package."""

import json
import subprocess
import sys

import pytest
import torch
from recbole.config import Config
from recbole.model.general_recommender import LightGCN
from recbole.quick_start import load_data_and_model, objective_function, quick_start
from recbole.trainer import LightGBMTrainer, NCLTrainer, Trainer
from recbole.utils import ModelType, get_model, get_trainer
from recbole.utils.case_study import full_sort_topk

import recbole_rlmrec
from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model import lookup
from recbole_rlmrec.plugin import defaults, seams
from recbole_rlmrec.plugin.trainer import RLMRecTrainer


def test_models_are_found_everywhere_recbole_looks():
    import recbole.config.configurator as configurator
    import recbole.utils

    for module in (configurator, quick_start, recbole.utils):
        assert module.get_model("LightGCN_RLMRec").__name__ == "LightGCN_RLMRec"
    assert issubclass(get_model("LightGCN_RLMRec"), LightGCN)
    assert get_model("LightGCN") is LightGCN
    assert get_model("BPR_RLMRec") is get_model("BPR_RLMRec")


def test_applying_twice_changes_nothing():
    before = quick_start.get_model
    seams.apply()
    assert quick_start.get_model is before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LightGNC", "LightGCN"),
        ("lightgcn_rlmrec", "LightGCN_RLMRec"),
        ("LightGNC_RLMRec", "LightGCN_RLMRec"),
        ("Pop_RLMRec", "cannot be aligned"),
        ("no such-model", "no model named"),
    ],
)
def test_unknown_models_get_near_matches(name, said):
    with pytest.raises(ModelError, match=said) as error:
        get_model(name)
    assert "\n" not in str(error.value)


def test_defaults_are_stacked_backbone_ours_dataset():
    config = Config("LightGCN_RLMRec", "ml-100k", config_dict={"gpu_id": ""})
    assert config["n_layers"] == 2 and config["embedding_size"] == 64
    assert config["alignment"] == "con" and config["layer_combination"] == "mean" and config["fast_loader"] is True
    assert config["load_col"]["inter"] == ["user_id", "item_id", "rating", "timestamp"]
    plain = Config("LightGCN", "ml-100k", config_dict={"gpu_id": ""})
    assert plain["fast_loader"] is False and plain["test_mask"] == "train_valid" and plain["alignment"] is None


@pytest.mark.parametrize("model", ["FM", "DIN", "CKE", "SASRec", "BPR"])
def test_models_of_recbole_keep_their_own_defaults(model, monkeypatch):
    options = {"gpu_id": "", **({"train_neg_sample_args": None} if model == "SASRec" else {})}
    ours = Config(model, "ml-100k", config_dict=dict(options))
    monkeypatch.setattr(Config, "_load_internal_config_dict", defaults._original_load_defaults)
    theirs = Config(model, "ml-100k", config_dict=dict(options))
    for key, value in theirs.final_config_dict.items():
        if key != "checkpoint_dir":
            assert ours.final_config_dict[key] == value, key


def test_options_that_nobody_knows_are_named_once(caplog):
    defaults._warned.clear()
    options = {"gpu_id": "", "align_wieght": 1, "additional_feat_suffix": None, "benchmark_filename": None}
    for _ in range(2):
        Config("LightGCN_RLMRec", "ml-100k", config_dict=dict(options))
    warnings = [record.message for record in caplog.records if "knows the option" in record.message]
    assert len(warnings) == 1 and "align_weight" in warnings[0]


def test_trainers_go_by_the_backbone():
    assert issubclass(get_trainer(ModelType.GENERAL, "NCL_RLMRec"), (NCLTrainer, RLMRecTrainer))
    assert issubclass(get_trainer(ModelType.GENERAL, "NCL_RLMRec"), NCLTrainer)
    trainer = get_trainer(ModelType.GENERAL, "LightGCN_RLMRec")
    assert issubclass(trainer, RLMRecTrainer) and issubclass(trainer, Trainer) and not issubclass(trainer, NCLTrainer)
    assert get_trainer(ModelType.DECISIONTREE, "LightGBM") is LightGBMTrainer


def test_training_split_knows_the_held_out_ones(build):
    _, _, (train, valid, test) = build("BPR")
    heldout = train._dataset.rlmrec_heldout
    assert [len(part) for part in heldout] == [len(valid._dataset), len(test._dataset)]


def test_run_reload_and_case_study(run, workdir):
    result = run("LightGCN_RLMRec", alignment="con")
    checkpoint = next((workdir / "saved").glob("LightGCN_RLMRec-*.pth"))
    config, model, _, _, _, test = load_data_and_model(str(checkpoint))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    again = trainer.evaluate(test, load_best_model=False)
    assert dict(again) == dict(result["test_result"])
    users = test.uid_list[:3].tolist()
    scores, items = full_sort_topk(users, model, test, k=4, device=torch.device("cpu"))
    assert items.shape == (3, 4) and (items > 0).all() and scores.isfinite().all()


def test_objective_function(tiny):
    result = objective_function(config_dict={**tiny, "model": "LightGCN_RLMRec", "alignment": "gen"})
    assert result["model"] == "LightGCN_RLMRec" and result["best_valid_score"] >= 0


def test_hyper_tuning(tiny):
    pytest.importorskip("hyperopt")
    from recbole.trainer import HyperTuning

    fixed = {**tiny, "model": "LightGCN_RLMRec", "epochs": 1}
    tuning = HyperTuning(
        lambda params, files: objective_function({**fixed, **params}, files),
        params_dict={"choice": {"align_weight": [0.01, 0.1]}},
        algo="exhaustive",
    )
    tuning.run()
    assert len(tuning.params2result) == 2


def test_user_models_are_registered(build):
    class Mine(LightGCN):
        """A model of the user's own."""

    recbole_rlmrec.register_model(Mine)
    recbole_rlmrec.register_adapter("Mine", recbole_rlmrec.GraphAdapter())
    try:
        assert get_model("Mine") is Mine
        assert issubclass(get_model("Mine_RLMRec"), Mine)
    finally:
        lookup._registered.pop("Mine")
        lookup.aligned_model.cache_clear()
        recbole_rlmrec.model.adapters.ADAPTERS.pop("Mine")


def test_recboles_run_takes_our_processes(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(seams, "together", lambda plan, action, arguments, gpus: seen.append((plan, action, arguments)))
    options = {**tiny, "epochs": 1}
    alone = quick_start.run("BPR", "tiny", config_dict=options)
    assert not seen and alone["test_result"]
    quick_start.run("BPR", "tiny", config_dict=options, nproc=2, port="6789")
    (plan, action, arguments), *more = seen
    assert (plan.here, plan.port) == (2, 6789) and not more
    assert action(**arguments)["run"]["epochs"] == 1


def test_caches_of_other_loaders_are_not_reused(build, workdir):
    from recbole.data.utils import load_split_dataloaders

    config, _, _ = build("BPR", save_dataloaders=True)
    assert load_split_dataloaders(config) is not None
    config["test_mask"] = "train"
    assert load_split_dataloaders(config) is None


def test_model_names_in_a_fresh_process(tmp_path):
    script = (
        "import recbole_rlmrec, json; from recbole_rlmrec.model.lookup import model_names; print(json.dumps(model_names()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    names = json.loads(done.stdout.splitlines()[-1])
    assert {"LightGCN", "LightGCN_RLMRec", "BPR_RLMRec"} <= set(names) and "Pop_RLMRec" not in names
