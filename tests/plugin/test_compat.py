"""RecBole on today's packages: the repairs, and checkpoints that run nothing."""

from __future__ import annotations

import datetime
import importlib
import os
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.model.general_recommender import BPR, NCL
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.trainer import HyperTuning, Trainer
from recbole.utils import ModelType

from recbole_rlmrec.errors import CheckpointError
from recbole_rlmrec.plugin import compat, repairs


class OwnBPR(BPR):
    """A model that a user defines outside of RecBole."""


class Call:
    """Pickles as a call, with state and list items to be set on its result if there are any."""

    def __init__(self, function, *args, state=None, items=None):
        self.parts = function, args, state, items

    def __reduce__(self):
        function, args, state, items = self.parts
        return function, args, state, items and iter(items)


# --- running --------------------------------------------------------------------------------------------------------


def test_bpr_gives_the_figures_of_recbole_on_the_packages_of_its_time(workdir):
    options = {"epochs": 2, "seed": 2020, "gpu_id": "", "show_progress": False, "eval_batch_size": 400000}
    result = run_recbole(model="BPR", dataset="ml-100k", config_dict=options)["test_result"]
    assert {name: float(result[name]) for name in ("recall@10", "ndcg@10", "hit@10")} == {
        "recall@10": 0.0147,
        "ndcg@10": 0.0199,
        "hit@10": 0.1474,
    }


@pytest.mark.parametrize("model", ["LightGCN", "NGCF", "EASE", "ItemKNN", "MultiDAE", "SpectralCF"])
def test_models_train_save_and_reload(run, model):
    options = {"train_neg_sample_args": None} if model in ("EASE", "ItemKNN", "MultiDAE") else {}
    result = run(model, epochs=1, **options)
    assert 0 <= result["test_result"]["recall@10"] <= 1


def test_applying_again_changes_nothing():
    made, load = repairs.active(), torch.load
    repairs.apply()
    assert repairs.active() == made
    assert torch.load is load
    assert all(repair.name and repair.reason for repair in made)
    assert {repair.own for repair in made} == {True, False}


def test_numpy_has_the_names_that_recbole_uses():
    assert np.zeros(1, dtype=np.float).dtype == np.float64
    assert np.float_ is np.float64
    assert np.unicode_ is np.str_


def test_dok_matrix_takes_many_entries_at_once():
    matrix = sp.dok_matrix((2, 3), dtype=np.float32)
    matrix._update({(0, 1): 1, (1, 2): 4})
    np.testing.assert_array_equal(matrix.toarray(), [[0, 1, 0], [0, 0, 4]])


def test_without_ray_only_ray_says_what_is_missing():
    tune = compat._NoTune("ray.tune", "no module named ray")
    assert tune.report(recall=0.1) is None
    with pytest.raises(ImportError, match=r"ray.tune.run needs Ray.*no module named ray"):
        tune.run()


def test_reports_reach_newer_ray_as_one_dict(monkeypatch):
    reported = []
    quick_start = importlib.import_module("recbole.quick_start.quick_start")
    for tune, train in (
        (SimpleNamespace(report=lambda metrics, *, checkpoint=None: reported.append(metrics)), None),
        (SimpleNamespace(), SimpleNamespace(report=lambda metrics, *, checkpoint=None: reported.append(metrics))),
    ):
        monkeypatch.setattr(quick_start, "tune", tune)
        monkeypatch.setitem(sys.modules, "ray.train", train)
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(train=train))
        assert compat._ray_report()
        quick_start.tune.report(recall=0.5)
    assert reported == [{"recall": 0.5}] * 2


def test_hyper_tuning(tiny, workdir):
    pytest.importorskip("hyperopt")
    Path("fixed.yaml").write_text("\n".join(f"{key}: {value!r}" for key, value in {**tiny, "model": "BPR"}.items()))
    tuning = HyperTuning(
        objective_function, params_dict={"choice": {"learning_rate": [0.01, 0.001]}}, fixed_config_file_list=["fixed.yaml"]
    )
    tuning.run()
    assert len(tuning.params2result) == 2


# --- missing values -------------------------------------------------------------------------------------------------

GAPS = {
    "inter": """user_id:token item_id:token rating:float place:token context:token_seq signal:float_seq
u1|i1|1|home|a b|0.5 1.5
u1|i2||||
u2|i1|3|work|b|2.5""",
    "user": """user_id:token age:float job:token tags:token_seq vector:float_seq
u1|20|cook|x y|1 2
u2||||
u4|40|007|y|3 4""",
    "item": """item_id:token price:float brand:token words:token_seq sizes:float_seq
i1|1.5|acme|red hat|1 2 3
i2||||
i3|2.5|1|blue|4""",
}


def gaps(**options):
    folder = Path("dataset/gaps")
    folder.mkdir(parents=True)
    for kind, text in GAPS.items():
        head, *rows = text.split("\n")
        (folder / f"gaps.{kind}").write_text("\n".join([head.replace(" ", "\t"), *(row.replace("|", "\t") for row in rows)]))
    dataset = create_dataset(Config("BPR", "gaps", config_dict={"gpu_id": "", "load_col": None, **options}))
    dataset._change_feat_format()
    feats = dataset.inter_feat, dataset.user_feat, dataset.item_feat
    return dataset, {str(name): values for feat in feats for name, values in feat.interaction.items()}


def test_missing_values_are_filled(workdir):
    dataset, values = gaps()
    expected = {
        "rating": [1, 2, 3],
        "place": [1, 0, 2],
        "context": [[1, 2], [0, 0], [2, 0]],
        "signal": [[0.5, 1.5], [0, 0], [2.5, 0]],
        "age": [30, 20, 30, 40],
        "job": [0, 1, 0, 2],
        "tags": [[0, 0], [1, 2], [0, 0], [2, 0]],
        "vector": [[0, 0], [1, 2], [0, 0], [3, 4]],
        "price": [2, 1.5, 2, 2.5],
        "brand": [0, 1, 0, 2],
        "words": [[0, 0], [1, 2], [0, 0], [3, 0]],
        "sizes": [[0, 0, 0], [1, 2, 3], [0, 0, 0], [4, 0, 0]],
    }
    assert {name: values[name].tolist() for name in expected} == expected
    assert list(dataset.field2id_token["job"]) == ["[PAD]", "cook", "007"]
    assert list(dataset.field2id_token["words"]) == ["[PAD]", "red", "hat", "blue"]


@pytest.mark.parametrize(
    "options",
    [
        {"normalize_all": True},
        {
            "normalize_all": False,
            "numerical_features": ["age", "price", "sizes", "vector"],
            "discretization": {"price": {"method": "ED", "bucket": 3}, "sizes": {"method": "LD"}},
        },
    ],
)
def test_no_nan_gets_through(workdir, options):
    _, values = gaps(**options)
    assert not any(torch.isnan(column.float()).any() for column in values.values())
    assert values["sizes"].shape[:2] == (4, 3)


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(build, workdir):
    """``trained(model)`` -> (path of a checkpoint, trainer, loaders)."""

    def make(model="BPR", **options):
        config, recommender, loaders = build(model, epochs=1, **options)
        trainer = Trainer(config, recommender)
        trainer.fit(loaders[0], loaders[1], show_progress=False)
        return trainer.saved_model_file, trainer, loaders

    return make


def rewrite(path, protocol=4, **entries):
    """Put entries into a checkpoint as someone else might have."""
    checkpoint = {**compat.load_checkpoint(path), **entries}
    torch.save(checkpoint, path, pickle_protocol=protocol)


def test_a_checkpoint_holds_what_was_saved(trained):
    path, trainer, _ = trained()
    checkpoint = compat.load_checkpoint(path)
    config = checkpoint["config"]
    assert type(config) is Config
    assert str(config) == str(trainer.config)
    assert config["MODEL_TYPE"] is ModelType.GENERAL
    assert config.model_class is BPR
    assert config.yaml_loader is trainer.config.yaml_loader
    assert config["device"] == torch.device("cpu")
    assert type(checkpoint["best_valid_score"]) is type(trainer.best_valid_score)
    assert checkpoint["best_valid_score"] == trainer.best_valid_score
    assert type(checkpoint["state_dict"]) is OrderedDict
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][name], weight)


def test_dates_that_yaml_makes_are_read(trained):
    path, _, _ = trained()
    made = {"day": datetime.date(2024, 1, 5), "time": datetime.datetime(2024, 1, 5, 12, 30)}
    rewrite(path, other_parameter=made)
    assert compat.load_checkpoint(path)["other_parameter"] == made


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_traditional_models_are_read(trained, protocol):
    path, _, _ = trained()
    dense = np.arange(6, dtype="f4").reshape(2, 3)
    saved = {
        "row_major": dense,
        "other_byte_order": dense.astype(">f4"),
        "column_major": np.asfortranarray(dense),
        "matrix": np.matrix(dense),
        "empty": np.zeros((0, 2), dtype=np.int64),
        "csr": sp.csr_matrix(dense),
        "csc": sp.csc_matrix(dense),
        "lil": sp.lil_matrix(dense),
        "score": np.float32(0.5),
        "names": np.array(["a", "bc"]),
        "seen": {1, 2},
    }
    rewrite(path, protocol, other_parameter=saved)
    loaded = compat.load_checkpoint(path)["other_parameter"]
    assert loaded.keys() == saved.keys()
    for name, value in saved.items():
        assert type(loaded[name]) is type(value)
        if sp.issparse(value):
            np.testing.assert_array_equal(loaded[name].toarray(), value.toarray())
        else:
            np.testing.assert_array_equal(loaded[name], value)


def test_recbole_loads_its_own_checkpoints(trained):
    path, trainer, loaders = trained()
    result = trainer.evaluate(loaders[2])
    config, model, _, _, _, test_data = load_data_and_model(path)
    again = Trainer(config, model)
    assert again.evaluate(test_data, load_best_model=False) == result
    again.resume_checkpoint(path)
    assert again.start_epoch == 1


def test_a_users_own_model_is_read_once_its_module_is_imported(trained):
    path, trainer, _ = trained()
    trainer.config.model_class = OwnBPR
    rewrite(path, config=trainer.config)
    assert compat.load_checkpoint(path)["config"].model_class is OwnBPR


def test_a_module_that_nobody_imported_is_not_imported(trained, monkeypatch):
    path, trainer, _ = trained()
    Path("stranger.py").write_text("import os; os.mkdir('ran')")
    monkeypatch.syspath_prepend(os.getcwd())
    stranger = ModuleType("stranger")
    stranger.Model = type("Model", (BPR,), {"__module__": "stranger"})
    monkeypatch.setitem(sys.modules, "stranger", stranger)
    trainer.config.model_class = stranger.Model
    rewrite(path, config=trainer.config)
    monkeypatch.delitem(sys.modules, "stranger")
    with pytest.raises(CheckpointError, match=r"holds stranger.Model.*import its module first"):
        compat.load_checkpoint(path)
    assert not Path("ran").exists()


EVIL = {
    "a function of the system": lambda: Call(os.mkdir, "ran"),
    "code": lambda: Call(eval, "__import__('os').mkdir('ran')"),
    "Config, which evaluates its options": lambda: Call(Config, "BPR", "tiny", None, {"x": "__import__('os').mkdir('ran')"}),
    "a model, which reads files": lambda: Call(BPR, {}, {}),
    "a model behind append": lambda: Call(OrderedDict, state={"append": BPR, "extend": BPR}, items=[1]),
    "a change to an enum": lambda: Call(ModelType, 1, state={"_name_": "ran"}),
    "an attribute": lambda: Call(getattr, torch.Size([1]), "__class__"),
    "a function of RecBole": lambda: Call(importlib.import_module("recbole.utils").ensure_dir, "ran"),
    "a sparse matrix that points outside": lambda: Call(
        sp.csr_matrix, state={"_shape": (1, 1), "data": np.ones(1), "indices": np.array([9]), "indptr": np.array([0, 1])}
    ),
    "an array of objects that are called": lambda: np.array([Call(os.mkdir, "ran")], dtype=object),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("evil", EVIL)
def test_nothing_else_is_read_and_nothing_runs(trained, evil, protocol):
    path, _, _ = trained()
    rewrite(path, protocol, other_parameter={"x": EVIL[evil]()})
    with pytest.raises(CheckpointError, match=r"\.pth"):
        compat.load_checkpoint(path)
    assert not Path("ran").exists()
    assert ModelType.GENERAL.name == "GENERAL"


def test_recbole_loads_nothing_else_either(trained):
    path, trainer, loaders = trained()
    rewrite(path, other_parameter={"x": Call(os.mkdir, "ran")})
    for load in (
        lambda: load_data_and_model(path),
        lambda: trainer.resume_checkpoint(path),
        lambda: trainer.evaluate(loaders[2], model_file=path),
    ):
        with pytest.raises(CheckpointError, match=r"mkdir.*nothing in it was run"):
            load()
    assert not Path("ran").exists()


def test_torch_still_checks_what_others_load(trained):
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        pytest.skip("torch checks by default since 2.6")
    path, _, _ = trained()
    rewrite(path, other_parameter={"x": Call(os.mkdir, "ran")})
    with pytest.raises(Exception, match="[Ww]eights"):
        torch.load(path)
    assert not Path("ran").exists()
    torch.save({"a": torch.ones(2)}, path)
    assert torch.load(path)["a"].tolist() == [1, 1]


def write_legacy(path):
    torch.save({"x": Call(os.mkdir, "ran")}, path, _use_new_zipfile_serialization=False)


def write_script(path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(path)


def write_half(path):
    torch.save({"x": torch.ones(1000)}, path)
    Path(path).write_bytes(Path(path).read_bytes()[:900])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("write", [write_legacy, write_script, write_half, lambda path: Path(path).write_text("no")])
def test_other_files_are_refused(workdir, write):
    write("file.pth")
    with pytest.raises(CheckpointError, match="file.pth"):
        compat.load_checkpoint("file.pth")
    assert not Path("ran").exists()


def test_a_missing_checkpoint_is_named(workdir):
    with pytest.raises(CheckpointError, match="no checkpoint nowhere.pth"):
        compat.load_checkpoint("nowhere.pth")


# --- NCL ------------------------------------------------------------------------------------------------------------


class OwnNCL(NCL):
    """A model on top of NCL."""


def test_ncl_clusters_on_the_cpu(build):
    config, _, loaders = build("NCL", num_clusters=1000)
    model = OwnNCL(config, loaders[0]._dataset)
    state = np.random.get_state()[1].copy()
    model.e_step()
    first = model.user_centroids, model.user_2cluster
    model.e_step()
    assert np.array_equal(np.random.get_state()[1], state)
    assert torch.equal(first[0], model.user_centroids)
    assert torch.equal(first[1], model.user_2cluster)
    assert first[0].shape == (model.n_users, config["embedding_size"])
    assert first[0].dtype == torch.float32
    torch.testing.assert_close(first[0].norm(dim=1), torch.ones(model.n_users))
    assert first[1].shape == (model.n_users,)
    assert 0 <= first[1].min() <= first[1].max() < model.n_users


def test_ncl_trains(run):
    assert run("NCL", num_clusters=4, m_step=1, warm_up_step=1)["test_result"]["recall@10"] >= 0


def test_quotation_marks_in_text_are_text(tiny, workdir):
    file = workdir / "dataset/tiny/tiny.inter"
    lines = file.read_text().splitlines()
    reviews = ["review:token_seq"] + ['"Great' if number % 7 == 0 else "fine" for number in range(len(lines) - 1)]
    file.write_text("\n".join(f"{line}\t{review}" for line, review in zip(lines, reviews)) + "\n")
    config = Config("BPR", "tiny", config_dict={**tiny, "load_col": {"inter": ["user_id", "item_id", "review"]}})
    dataset = create_dataset(config)
    assert len(dataset) == len(lines) - 1
    assert set(dataset.field2id_token["review"]) == {"[PAD]", '"Great', "fine"}


def test_a_download_needs_no_process_group(tiny, workdir, monkeypatch):
    from recbole.data.dataset import dataset as module

    config = Config("BPR", "ml-1m", config_dict={"gpu_id": "", "data_path": "dataset/"})
    monkeypatch.setattr(module, "decide_download", lambda url: True)
    monkeypatch.setattr(module, "download_url", lambda url, path: workdir / "ml-1m.zip")
    monkeypatch.setattr(module, "rename_atomic_files", lambda *names: None)

    def extract(path, folder):
        path.touch()
        (Path(folder) / "ml-1m.inter").write_text((workdir / "dataset/tiny/tiny.inter").read_text())

    monkeypatch.setattr(module, "extract_zip", extract)
    assert len(create_dataset(config)) > 0


@pytest.mark.parametrize("metric", ["ItemCoverage", "GiniIndex", "AveragePopularity", "TailPercentage"])
def test_metrics_on_counts_of_items(run, metric):
    result = run("BPR", metrics=[metric], valid_metric=f"{metric}@10", epochs=2)
    assert result["test_result"][f"{metric.lower()}@10"] >= 0
