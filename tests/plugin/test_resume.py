"""Training that is interrupted and taken up again ends as if nothing had happened."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer

from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.plugin import resume
from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.runs.run import main

AUTOENCODER = {"train_neg_sample_args": None, "train_batch_size": 8, "latent_dimension": 8, "mlp_hidden_size": [16]}
AUTOENCODER |= {"hidden_dimension": 16, "encoder_hidden_size": [16], "stopping_step": 20}
NEGATIVES = {"distribution": "uniform", "sample_num": 3, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
SEQUENCES = {"train_neg_sample_args": None, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
SEQUENCES |= {"hidden_size": 8, "embedding_size": 8, "MAX_ITEM_LIST_LENGTH": 8}
MASKED = {
    "alignment": "gen",
    "mask_ratio": 0.5,
    "hidden_size": 8,
    "inner_size": 8,
    "MAX_ITEM_LIST_LENGTH": 8,
    "stopping_step": 9,
}
MODELS = {
    "con": ("LightGCN_RLMRec", {"alignment": "con", "align_negatives": 5}),
    "gen": ("LightGCN_RLMRec", {"alignment": "gen"}),
    "none": ("LightGCN_RLMRec", {"alignment": "none"}),
    "init": ("LightGCN_RLMRec", {"alignment": "none", "initial_embeddings": "semantic"}),
    "slow loader": ("LightGCN_RLMRec", {"fast_loader": False}),
    "rows": ("BPR_RLMRec", {"learner": "sparse_adam"}),
    "SGL_RLMRec": ("SGL_RLMRec", {}),
    "SimGCL_RLMRec": ("SimGCL_RLMRec", {}),
    "DCCF_RLMRec": ("DCCF_RLMRec", {}),
    "AutoCF_RLMRec": ("AutoCF_RLMRec", {"n_seeds": 5}),
    "NCL_RLMRec": ("NCL_RLMRec", {"num_clusters": 3, "m_step": 3}),
    "MultiVAE_RLMRec": ("MultiVAE_RLMRec", AUTOENCODER),
    "RecVAE_RLMRec": ("RecVAE_RLMRec", AUTOENCODER),
    "BPR": ("BPR", {}),
    "LightGCN": ("LightGCN", {}),
    "SGL": ("SGL", {}),
    "NCL": ("NCL", {"num_clusters": 3, "m_step": 3}),
    "MultiVAE": ("MultiVAE", AUTOENCODER),
    "RecVAE": ("RecVAE", AUTOENCODER),
    "MacridVAE": ("MacridVAE", AUTOENCODER),
    "NeuMF": ("NeuMF", {}),
    "DMF": ("DMF", {}),
    "DGCF": ("DGCF", {}),
    "NGCF": ("NGCF", {}),
    "ENMF": ("ENMF", AUTOENCODER),
    "CDAE": ("CDAE", AUTOENCODER),
    "SpectralCF": ("SpectralCF", {}),
    "GCMC": ("GCMC", {}),
    "LINE": ("LINE", {}),
    "NNCF": ("NNCF", {}),
    "SimpleX": ("SimpleX", {"train_neg_sample_args": NEGATIVES}),
    "GRU4Rec": ("GRU4Rec", SEQUENCES),
    "BERT4Rec_RLMRec": ("BERT4Rec_RLMRec", MASKED),
    "dynamic": ("BPR", {"train_neg_sample_args": {**NEGATIVES, "sample_num": 1, "dynamic": True, "candidate_num": 3}}),
}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    monkeypatch.setattr(resume, "SHARE", 1e9)


@pytest.fixture
def options(tiny, workdir):
    """``options(model, **more)``: the command line of a run, the foreign options in a file."""

    def make(model: str, **more) -> list[str]:
        Path("run.yaml").write_text(json.dumps({**tiny, "epochs": 7, "dropout_prob": 0.2, "stopping_step": 3, **more}))
        return [f"--model={model}", "--config_files=run.yaml", "--result_file=result.json"]

    return make


@pytest.fixture
def interrupt(monkeypatch):
    """``interrupt(epoch)``: the next run ends within that epoch, after its first step."""

    def at(epoch: int) -> None:
        original = Trainer._check_nan
        steps = [0]

        def check(self, loss):
            original(self, loss)
            if self._epoch == epoch:
                steps[0] += 1
                if steps[0] == 2:
                    monkeypatch.setattr(Trainer, "_check_nan", original)
                    raise Killed

        monkeypatch.setattr(Trainer, "_check_nan", check)

    return at


def shown(result: dict) -> dict:
    """What must be the same."""
    run = json.loads(Path("result.json").read_text())["run"]
    about = {name: result[name] for name in ("test_result", "best_valid_result", "best_valid_score")}
    series = {name: run["series"][name] for name in ("losses", "valid")}
    return {**about, **series, "best_epoch": run["best_epoch"], "epochs": run["epochs"]}


def best(result: dict) -> dict:
    return best_of(result["run"]["checkpoint"])


def best_of(path: str) -> dict:
    return load_checkpoint(path, map_location="cpu")


def assert_equal(left, right) -> None:
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left.detach(), right.detach())
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for pair in zip(left, right):
            assert_equal(*pair)
    else:
        assert left == right


@pytest.mark.parametrize("case", MODELS)
def test_it_ends_as_if_nothing_had_happened(options, interrupt, case, workdir):
    model, more = MODELS[case]
    argv = options(model, **more)
    whole = main(argv)
    expected, weights = shown(whole), best(whole)
    for position, epoch in enumerate((2, 5)):
        interrupt(epoch)
        with pytest.raises(Killed):
            main([*argv, "--resume"] if position else argv)
    resumed = main([*argv, "--resume"])
    assert resumed["run"]["resumed_from"] == [2, 5]
    assert_equal(shown(resumed), expected)
    assert resumed["run"]["profiles"] == whole["run"]["profiles"]
    found = best(resumed)
    assert resumed["run"]["checkpoint"] != whole["run"]["checkpoint"]
    for name in ("state_dict", "optimizer", "epoch", "cur_step", "best_valid_score", "other_parameter"):
        assert_equal(found[name], weights[name])
    assert [path.name for path in (workdir / "saved" / "resume").glob("*/*")] == ["ended.json"]
    assert len(list((workdir / "saved").glob("*.pth"))) == 2


def test_nothing_to_resume_is_said_and_a_run_that_has_ended_too(options, caplog, capsys, workdir):
    argv = [*options("BPR", epochs=3), "--resume"]
    result = main(argv)
    assert "nothing to resume in saved" in caplog.text and result["run"]["resumed_from"] == []
    Path("result.json").unlink()
    assert main(argv)["test_result"] == result["test_result"]
    said = capsys.readouterr().out
    assert "This run has ended" in said and result["run"]["checkpoint"] in said
    assert json.loads(Path("result.json").read_text())["run"]["epochs"] == 3
    assert len(list((workdir / "saved").glob("*.pth"))) == 1
    with pytest.raises(ConfigError, match="has ended.*--per_user_file"):
        main([*argv, "--per_user_file=users.json"])
    assert main(argv[:-1])["run"]["checkpoint"] != result["run"]["checkpoint"]


def test_other_options_or_other_data_are_another_run(options, interrupt, caplog, workdir):
    argv = options("BPR")
    interrupt(3)
    with pytest.raises(Killed):
        main(argv)
    assert main([*argv, "--resume", "--learning_rate=0.05"])["run"]["resumed_from"] == []
    lines = Path("dataset/tiny/tiny.inter").read_text().splitlines()
    lines[5] = lines[5].replace("u", "new", 1)
    Path("dataset/tiny/tiny.inter").write_text("\n".join(lines) + "\n")
    assert main([*argv, "--resume"])["run"]["resumed_from"] == []
    assert caplog.text.count("nothing to resume") == 2


@pytest.mark.parametrize("case", ["init", "con"])
def test_other_profiles_of_the_same_tag_are_another_run(options, case, workdir):
    model, more = MODELS[case]
    argv = [*options(model, **more, epochs=2, semantic_tag="mine"), "--resume"]
    losses = []
    for kinds in (3, 5):
        root = workdir / "dataset/tiny/semantic"
        shutil.rmtree(root / "mine", ignore_errors=True)
        texts = [{"user_id": f"u{n}", "profile": f"likes kind {n % kinds}, number {n}", "pairs": []} for n in range(24)]
        texts += [
            {"item_id": f"i{n}", "profile": f"is of kind {n % kinds}, number {n * kinds}", "pairs": []} for n in range(30)
        ]
        Path("mine.jsonl").write_text("\n".join(map(json.dumps, texts)))
        import_profiles(Path("mine.jsonl"), root, "tiny", "mine")
        encode_tag(root / "mine", "lsa", dim=8, show_progress=False)
        losses.append(main(argv)["run"]["series"]["losses"])
    assert losses[0] != losses[1]


def test_a_run_at_work_is_not_resumed_and_two_of_one_kind_do_not_meet(options, interrupt, monkeypatch, workdir):
    argv = options("BPR", epochs=4)
    seen = []

    def epoch(self, *args, **kwargs):
        if self._epoch == 2 and not seen:
            seen.append(self.saved_model_file)
            with pytest.raises(ConfigError, match="is at work"):
                main([*argv, "--resume"])
            seen.append(main(argv)["run"]["checkpoint"])
        return original(self, *args, **kwargs)

    original = Trainer._train_epoch
    monkeypatch.setattr(Trainer, "_train_epoch", epoch)
    main(argv)
    assert len(seen) == 2 and seen[0] != seen[1] and all(map(best_of, seen))


def test_a_damaged_last_checkpoint_is_told_and_passed_over(options, interrupt, caplog, workdir):
    argv = options("BPR")
    interrupt(3)
    with pytest.raises(Killed):
        main(argv)
    (last,) = workdir.glob("saved/resume/*/*.last")
    last.write_bytes(last.read_bytes()[:1000])
    assert main([*argv, "--resume"])["run"]["resumed_from"] == []
    assert "cannot be read as a checkpoint" in caplog.text


def test_a_best_model_that_is_newer_than_the_last_checkpoint_is_not_the_runs(options, interrupt, monkeypatch, workdir):
    """Killed after a better model was saved and before the last checkpoint: the epoch is trained again."""
    argv = options("BPR")
    whole = main(argv)
    interrupt(3)
    with pytest.raises(Killed):
        main(argv)
    (last,) = workdir.glob("saved/resume/*/*.last")
    saved = load_checkpoint(last)
    other = Path("other.pth")
    other.write_bytes(b"of an epoch that is not the run's")
    other.replace(Path("saved", saved["file"]))
    assert main([*argv, "--resume"])["test_result"] == whole["test_result"]


@pytest.mark.parametrize("value", [-1, 1.5, "often", True])
def test_checkpoint_every_is_a_number_of_epochs(options, value):
    with pytest.raises(ConfigError, match="checkpoint_every is"):
        main(options("BPR", checkpoint_every=value))


def test_last_checkpoints_are_written_as_often_as_said(options, interrupt, monkeypatch, workdir):
    for number, expected in ((0, []), (2, [4]), (3, [3])):
        interrupt(5)
        argv = options("BPR", checkpoint_every=number, seed=number, stopping_step=50)
        with pytest.raises(Killed):
            main(argv)
        assert main([*argv, "--resume"])["run"]["resumed_from"] == expected


def test_writing_takes_no_more_than_its_share(options, monkeypatch):
    monkeypatch.setattr(resume, "SHARE", 0.05)
    written = []
    original = resume.LastCheckpoint._write

    def slow(self, epoch):
        written.append(epoch)
        original(self, epoch)
        time.sleep(0.5)

    monkeypatch.setattr(resume.LastCheckpoint, "_write", slow)
    main(options("BPR", epochs=20, stopping_step=50))
    assert written == [1]


def test_the_last_checkpoint_holds_plain_values(options, interrupt, workdir):
    interrupt(3)
    with pytest.raises(Killed):
        main(options("LightGCN_RLMRec"))
    (last,) = workdir.glob("saved/resume/*/*.last")

    def look(value) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                look(key)
                look(part)
        elif isinstance(value, (list, tuple)):
            for part in value:
                look(part)
        else:
            plain = (torch.Tensor, np.ndarray, np.generic, bool, int, float, str, type(None))
            assert isinstance(value, plain), type(value)

    look(load_checkpoint(last))


def test_pretrained_models_have_names_of_their_own_beside_recboles(options, workdir):
    for seed in (1, 2):
        argv = options("RaCT", **AUTOENCODER, train_stage="actor_pretrain", pretrain_epochs=2, save_step=1, seed=seed)
        assert Path(main(argv)["run"]["checkpoint"]).name.startswith("RaCT-tiny-2-")
    names = sorted(path.name for path in (workdir / "saved").glob("*.pth"))
    assert {"RaCT-tiny-1.pth", "RaCT-tiny-2.pth"} < set(names) and len(names) == 6
