"""properties/paper: one file per data set, backbone and variant, against the paper's constants."""

import shutil
from itertools import product
from pathlib import Path

import pytest
import yaml
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, init_seed

from recbole_rlmrec.data.properties import PROPERTIES
from recbole_rlmrec.runs.run import check_data

DATASETS = ("amazon", "yelp", "steam")
VARIANTS = ("base", "con", "gen")
PAPER = PROPERTIES / "paper"

EVERYWHERE = {
    "benchmark_filename": ["train", "valid", "test"],
    "embedding_size": 32,
    "learner": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "train_batch_size": 4096,
    "epochs": 3000,
    "eval_step": 3,
    "stopping_step": 4,
    "metrics": ["Recall", "NDCG"],
    "topk": [5, 10, 20],
    "valid_metric": "Recall@20",
    "metric_decimal_place": 10,
    "test_mask": "train",
}
UNIFORM = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}

# One value, or one for each of amazon, yelp, steam; what con and gen do not name is the base's.
LIGHTGCN = {"layer_combination": "sum", "edge_keep_rate": 0.8, "reg_scope": "all"}
SGL = {"layer_combination": "sum", "type": "ED", "drop_ratio": 0.2, "n_layers": 3}
AUTOCF = {"n_heads": 4, "n_seeds": 100, "mask_depth": 2, "random_ratio": 0.2, "fix_steps": 10}
SGL_ALIGNED = {"reg_weight": 1e-5, "ssl_weight": 0.1, "ssl_tau": (0.2, 0.2, 0.5)}
AUTOCF_ALIGNED = {"reg_weight": (1e-6, 1e-8, 1e-6), "ssl_weight": (1, 1, 0.5), "n_layers": 2}
BASE = {
    "GCCF": {"reg_weight": 1e-6, "n_layers": 2, "self_loops": True},
    "LightGCN": {"reg_weight": 1e-6, "n_layers": (3, 3, 2), **LIGHTGCN},
    "SGL": {**SGL, "reg_weight": (1e-5, 1e-6, 1e-5), "ssl_weight": (0.1, 1e-3, 0.1), "ssl_tau": (0.2, 0.1, 0.5)},
    "SimGCL": {**SGL_ALIGNED, "layer_combination": "sum", "n_layers": 3, "eps": (0.9, 0.9, 0.2)},
    "DCCF": {
        "reg_weight": (1e-4, 1e-4, 1e-3),
        "ssl_weight": 1e-3,
        "ssl_tau": 0.1,
        "n_layers": (2, 2, 3),
        "n_intents": 128,
    },
    "AutoCF": {**AUTOCF, "reg_weight": (1e-6, 1e-7, 1e-6), "ssl_weight": (5, 2, 0.5), "n_layers": (2, 3, 2)},
}
CON = {
    "GCCF": {"align_weight": (1e-3, 1e-3, 1e-2), "align_temperature": (0.1, 0.2, 0.5), "self_loops": False},
    "LightGCN": {
        "align_weight": (1e-2, 1e-2, 1e-3),
        "align_temperature": (0.2, 0.2, 0.1),
        "reg_weight": (1e-7, 1e-7, 1e-8),
    },
    "SGL": {"align_weight": 1e-2, "align_temperature": (0.5, 1, 1), **SGL_ALIGNED},
    "SimGCL": {"align_weight": 1e-2, "align_temperature": (0.2, 0.1, 0.2)},
    "DCCF": {"align_weight": 1e-2, "align_temperature": (0.5, 0.2, 0.5)},
    "AutoCF": {"align_weight": (0.1, 1e-2, 1e-2), "align_temperature": (0.5, 0.1, 0.2), **AUTOCF_ALIGNED},
}
GEN = {
    "GCCF": {
        "mask_ratio": (0.1, 0.05, 0.1),
        "align_weight": 0.01,
        "align_temperature": (0.1, 1, 0.1),
        "reg_weight": (1e-7, 1e-6, 1e-6),
        "self_loops": False,
    },
    "LightGCN": {
        "mask_ratio": (0.15, 0.05, 0.15),
        "align_weight": (0.1, 0.01, 0.1),
        "align_temperature": (0.5, 0.1, 0.5),
        "reg_weight": (1e-7, 1e-7, 1e-6),
        "n_layers": 2,
    },
    "SGL": {"mask_ratio": (0.2, 0.15, 0.1), "align_weight": 0.1, "align_temperature": 0.2, **SGL_ALIGNED},
    "SimGCL": {
        "mask_ratio": (0.05, 0.01, 0.05),
        "align_weight": (0.1, 0.01, 0.01),
        "align_temperature": (0.2, 0.05, 0.1),
    },
    "DCCF": {
        "mask_ratio": (0.05, 0.05, 0.1),
        "align_weight": (0.1, 0.01, 0.01),
        "align_temperature": (0.2, 0.1, 0.2),
    },
    "AutoCF": {
        "mask_ratio": 0.2,
        "align_weight": (1, 0.1, 1),
        "align_temperature": (0.5, 0.1, 0.2),
        **AUTOCF_ALIGNED,
    },
}


def expected(dataset: str, backbone: str, variant: str) -> dict:
    """Every option that the paper fixes for one of its cells."""
    own = {"alignment": "none"}
    if variant != "base":
        own = {"alignment": variant, "semantic_tag": "released", "describe_with": "description"}
        own |= (CON if variant == "con" else GEN)[backbone]
    if variant == "con":
        own |= {"align_negatives": "all", "align_schedule": "constant"}
    position = DATASETS.index(dataset)
    options = {**EVERYWHERE, "train_neg_sample_args": UNIFORM, **BASE[backbone], **own}
    options = {key: value[position] if isinstance(value, tuple) else value for key, value in options.items()}
    if backbone == "AutoCF":
        del options["train_neg_sample_args"]
    return {**options, "model": f"{backbone}_RLMRec", "dataset": dataset}


def load(file: Path, **options) -> Config:
    return Config(config_file_list=[str(file)], config_dict={"gpu_id": "", **options})


def test_there_is_a_file_for_every_cell_and_no_other():
    cells = {f"{dataset}/{backbone}_{variant}" for dataset, backbone, variant in product(DATASETS, BASE, VARIANTS)}
    assert {str(file.relative_to(PAPER).with_suffix("")) for file in PAPER.rglob("*.*")} == cells


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("backbone", BASE)
@pytest.mark.parametrize("variant", VARIANTS)
def test_options_are_the_papers_and_known(workdir, dataset, backbone, variant):
    file = PAPER / dataset / f"{backbone}_{variant}.yaml"
    config = load(file)
    wanted = expected(dataset, backbone, variant)
    assert {key: config[key] for key in wanted} == wanted
    known = set(config.internal_config_dict) | {key for keys in config.parameters.values() for key in keys}
    written = set(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert written - known <= {"model", "dataset"}
    assert set(wanted) - {"learner", "weight_decay"} <= written


def test_autocf_draws_no_negatives(workdir):
    for dataset, variant in product(DATASETS, VARIANTS):
        arguments = load(PAPER / dataset / f"AutoCF_{variant}.yaml")["train_neg_sample_args"]
        assert arguments["distribution"] == "none"


@pytest.mark.parametrize("backbone", BASE)
@pytest.mark.parametrize("variant", VARIANTS)
def test_models_take_them(tiny, workdir, backbone, variant):
    """The model is made and takes a step, on a small data set under the paper's name."""
    folder = workdir / "dataset" / "amazon"
    folder.mkdir()
    parts = {"item": "item", "user": "user", **{f"{part}.inter": "inter" for part in ("train", "valid", "test")}}
    for part, source in parts.items():
        shutil.copy(workdir / "dataset" / "tiny" / f"tiny.{source}", folder / f"amazon.{part}")
    semantic = {} if variant == "base" else {"semantic_tag": None}
    config = load(PAPER / "amazon" / f"{backbone}_{variant}.yaml", n_seeds=3, **semantic)
    check_data(config)
    init_seed(config["seed"], True)
    loaders = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, loaders[0]._dataset)
    if hasattr(model, "begin_epoch"):
        model.begin_epoch(0)
    losses = model.calculate_loss(next(iter(loaders[0])))
    assert all(loss.isfinite() for loss in losses)
    assert len(losses) == len(model.loss_names)
