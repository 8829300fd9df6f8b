"""The runner: options, the result file, checks before anything starts."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest

from recbole_rlmrec import cli
from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.errors import ConfigError, DataError, guarded
from recbole_rlmrec.runs.command_line import command_line, split_options
from recbole_rlmrec.runs.run import main
from recbole_rlmrec.runs.split import load_split

SCRIPT = Path(__file__).resolve().parents[2] / "run_recbole_rlmrec.py"


def options(tiny: dict, **more) -> list[str]:
    return [f"--{key}={value}" for key, value in {**tiny, **more}.items()]


def test_result_file_holds_what_a_report_needs(tiny, workdir):
    result = main(options(tiny, model="LightGCN_RLMRec", result_file="out/result.json"))
    kept = json.loads((workdir / "out" / "result.json").read_text())
    assert kept["test_result"] == dict(result["test_result"])
    assert (kept["model"], kept["dataset"], kept["alignment"], kept["seed"]) == ("LightGCN_RLMRec", "tiny", "con", 2020)
    run = kept["run"]
    assert run["epochs"] == 2 and run["parameters"] > 0 and run["median_epoch_seconds"] > 0
    assert set(run["series"]["losses"]) == {"bpr", "reg", "alignment"} and len(run["series"]["valid"]) == 2
    assert run["profiles"]["tag"].startswith("template-lsa-")
    assert kept["versions"]["recbole"] == "1.2.1" and kept["versions"]["torch"]
    assert kept["settings"]["embedding_size"] == 8
    assert [path.name for path in (workdir / "out").iterdir()] == ["result.json"]


@pytest.mark.parametrize("model", ["LightGCN", "BPR"])
def test_models_of_recbole_run_as_they_are(tiny, workdir, model):
    result = main(options(tiny, model=model, result_file="result.json"))
    kept = json.loads((workdir / "result.json").read_text())
    assert kept["alignment"] is None and kept["run"]["profiles"] is None and result["test_result"]


@pytest.mark.parametrize("model", ["Pop", "SemanticRecommender"])
def test_models_of_one_epoch_are_validated_whatever_eval_step_says(tiny, workdir, model):
    assert main(options(tiny, model=model, eval_step=3, epochs=9))["run"]["best_epoch"] == 0


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("BPR_RLMRec", {"align_negatives": "batch"}),
        ("BPR_RLMRec", {"align_negatives": "all"}),
        ("BPR_RLMRec", {"align_negatives": 5}),
        ("MultiVAE_RLMRec", {}),
        ("LightGCN_RLMRec", {}),
        ("LightGCN_RLMRec", {"alignment": "gen"}),
        ("LightGCN_RLMRec", {"alignment": "gen", "align_dtype": "bfloat16"}),
        ("SGL_RLMRec", {}),
        ("GCCF", {}),
        ("SimGCL_RLMRec", {}),
        ("DCCF_RLMRec", {}),
        ("AutoCF_RLMRec", {"alignment": "gen"}),
        ("LightGCN_KAR", {"kar_hidden_size": 8}),
    ],
)
def test_mixed_precision(tiny, workdir, model, more):
    if model == "MultiVAE_RLMRec" or model == "AutoCF_RLMRec":
        more = {**more, "train_neg_sample_args": None}
    losses = main(options(tiny, model=model, enable_amp=True, epochs=1, **more))["run"]["series"]["losses"]
    assert losses and all(math.isfinite(value) for values in losses.values() for value in values)


def test_configuration_files_name_model_and_dataset(tiny, workdir):
    rest = {key: value for key, value in tiny.items() if key != "dataset"}
    Path("run.yaml").write_text("model: LightGCN_RLMRec\ndataset: tiny\nalignment: none\nepochs: 1\n")
    del rest["epochs"]
    result = main([*options(rest), "--config_files=run.yaml"])
    assert result["alignment"] == "none" and result["run"]["epochs"] == 1


def test_the_script_and_the_module_do_the_same(tiny, workdir):
    common = options(tiny, model="LightGCN_RLMRec", epochs=1)
    commands = ([sys.executable, str(SCRIPT)], [sys.executable, "-m", "recbole_rlmrec"])
    results = []
    for position, command in enumerate(commands):
        done = subprocess.run([*command, *common, f"--result_file={position}.json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(Path(f"{position}.json").read_text()))
    assert results[0]["test_result"] == results[1]["test_result"]
    assert results[0]["run"]["series"]["losses"] == results[1]["run"]["series"]["losses"]


def test_the_module_knows_the_commands(workdir):
    done = subprocess.run([sys.executable, "-m", "recbole_rlmrec", "show", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--user" in done.stdout


def test_split_options():
    ours, rest = split_options(["--model=A", "--dataset", "b", "--epochs=3"], ("model", "dataset"))
    assert ours == {"model": "A", "dataset": "b"} and rest == ["--epochs=3"]
    with pytest.raises(ConfigError, match="--key=value"):
        split_options(["--epochs", "3"], ("model",))
    with pytest.raises(ConfigError, match="config_file"):
        split_options(["--url=http://a?b=c"], ("model",))


def test_command_line_is_given_back():
    before = list(sys.argv)
    with pytest.raises(KeyError), command_line(["--a=1"]):
        assert sys.argv[1:] == ["--a=1"]
        raise KeyError
    assert sys.argv == before


def test_load_split_is_the_split_of_the_run(build, tiny):
    _, _, (train, _, test) = build("LightGCN_RLMRec", alignment="none")
    _, _, splits = load_split("tiny", options({"gpu_id": ""}))

    def pairs(dataset):
        return sorted(zip(dataset.inter_feat["user_id"].tolist(), dataset.inter_feat["item_id"].tolist()))

    assert pairs(splits[0]) == pairs(train._dataset) and pairs(splits[2]) == pairs(test._dataset)
    assert splits[0].rlmrec_heldout == tuple(splits[1:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset=absent"], "absent is not at"),
        (["--dataset=tiny", "--benchmark_filename=['train','valid','test']"], "tiny.train.inter"),
        (["--dataset=tiny", "--config_files=none.yaml"], "none.yaml does not exist"),
        (["--dataset=tiny", "--model=LightGCM_RLMRec"], "Did you mean"),
        (["--dataset=tiny", "--model=Pop_RLMRec"], "cannot be aligned"),
        (["--dataset=tiny", "--alignment=both"], "set it to one of con, gen, darec, distance, none"),
        (["--dataset=tiny", "--result_file="], "--result_file needs"),
        (["--dataset=tiny", "epochs"], "is not understood"),
        (["--dataset=tiny", "--seed=1", "--seed=2"], "--seed is given twice"),
        (["--dataset=tiny", "--semantic_tag=absent"], "absent"),
        (["--dataset=tiny", "--nproc=two"], "--nproc=two is no whole number"),
        (["--dataset=tiny", "--seed=abc"], "seed is 'abc'; set it to a whole number"),
        (["--dataset=tiny", "--fast_loader=maybe"], "fast_loader is 'maybe'; set it to True or False"),
        (["--dataset=tiny", "--learning_rate=-1"], "learning_rate is -1; set it to a number above 0"),
        (["--dataset=tiny", "--embedding_size=0"], "embedding_size is 0"),
        (["--dataset=tiny", "--reg_weight=-1"], "reg_weight is -1"),
        (["--dataset=tiny", "--metrics=['Recal']"], "RecBole refuses the options: There is no metric named 'Recal'"),
        (["--dataset=tiny", "--valid_metric=Recall@20"], "valid_metric is Recall@20, which metrics and topk do not give"),
        (["--dataset=tiny", "--eval_args={'split': {'RS': [0.8, 0.2]}}"], "which are not the shares of training, validation"),
        (["--dataset=tiny", "--eval_args={'split': {'LS': 'valid_and_test'}, 'order': 'TO'}"], "leaves 'timestamp' out"),
        (["--dataset=tiny", "--user_inter_num_interval=[1000,inf)"], "No interaction of tiny is left"),
        (["--dataset=tiny", "--result_file=dataset/tiny/tiny.inter/result.json"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tiny, capsys, arguments, said):
    assert cli.run_model([*arguments, "--gpu_id=", "--epochs=1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1] and error[-1].startswith("recbole-rlmrec: ") and "Traceback" not in "".join(error)


def test_data_that_cannot_be_downloaded_is_one_sentence(workdir, capsys, monkeypatch):
    def unreachable(*_):
        raise URLError("no network")

    monkeypatch.setattr("recbole.data.dataset.dataset.decide_download", unreachable)
    assert cli.run_model(["--dataset=ml-1m", "--gpu_id="]) == 2
    assert "ml-1m is not here and cannot be downloaded (no network)" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_of_others_is_one_sentence(capsys):
    def write():
        raise PermissionError(13, "Permission denied", "/a/folder")

    assert guarded(write) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("recbole-rlmrec: /a/folder: permission denied; ") and "\n" not in error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.splitlines(keepends=True)[0], "No interaction of tiny is left"),
        (lambda text: text.replace(b"\t", b","), r"separated by '\t' (option field_separator)"),
        (lambda text: b"\xef\xbb\xbf" + text, "begins with a byte order mark"),
        (lambda text: text.replace(b":token", b"", 1), "does not start with a line of name:type fields"),
        (lambda text: text.replace(b"user_id", b"customer", 1), "has no column 'user_id' but customer, item_id"),
        (lambda text: text.replace(b"u1\t", b"\xfc1\t"), "is not in utf-8; convert it, or say how it is encoded"),
    ],
)
def test_malformed_files_are_one_sentence(tiny, workdir, capsys, change, said):
    path = workdir / "dataset/tiny/tiny.inter"
    path.write_bytes(change(path.read_bytes()))
    commands = (
        lambda: cli.run_model(["--dataset=tiny", "--model=BPR", "--gpu_id=", "--epochs=1"]),
        lambda: cli.main(["split", "--dataset", "tiny", "--name", "frozen"]),
    )
    for command in commands:
        assert command() == 2
        assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_empty_lines_that_end_in_cr_lf_are_nothing(tiny, workdir):
    path = workdir / "dataset/tiny/tiny.item"
    before = read_atomic(path).table
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert read_atomic(path).table.equals(before)


def test_filters_beside_a_given_split_are_refused(tiny, workdir):
    for part in ("train", "valid", "test"):
        text = (workdir / "dataset/tiny/tiny.inter").read_text()
        (workdir / f"dataset/tiny/tiny.{part}.inter").write_text(text)
    with pytest.raises(ConfigError, match="benchmark_filename"):
        split = "--benchmark_filename=['train','valid','test']"
        main(["--dataset=tiny", "--gpu_id=", split, "--val_interval={'rating':'[3,inf)'}"])


def test_no_text_stops_with_a_sentence(tiny, workdir):
    (workdir / "dataset/tiny/tiny.item").unlink()
    (workdir / "dataset/tiny/tiny.user").unlink()
    with pytest.raises(DataError, match=r"\.item"):
        main(options(tiny, model="LightGCN_RLMRec"))
    assert not list((workdir / "dataset/tiny").glob("semantic/[!.]*"))
    assert main(options(tiny, model="LightGCN_RLMRec", alignment="none"))["test_result"]


def test_help(capsys):
    with pytest.raises(SystemExit):
        cli.run_model(["--help"])
    assert "--model NAME" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "doctor" in capsys.readouterr().out


def test_doctor_names_data_and_profiles(tiny, workdir, capsys):
    main(options(tiny, model="LightGCN_RLMRec", epochs=1))
    capsys.readouterr()
    assert cli.main(["doctor", "--models"]) == 0
    text = capsys.readouterr().out
    assert "template-lsa-" in text and "tiny.inter" in text and "LightGCN_RLMRec" in text and "recbole" in text
    assert re.search(r"covers (\d+) of \1 users and (\d+) of \2 items of the interactions", text)
    assert cli.main(["doctor", "--what"]) == 2


def test_doctor_names_what_a_run_would_stop_at(tiny, workdir, capsys):
    data = workdir / "dataset"
    for name in ("noitems", "malformed", "nointer"):
        (data / name).mkdir()
        text = (data / "tiny/tiny.inter").read_text()
        (data / name / f"{name}.inter").write_text(text.replace(":token", "") if name == "malformed" else text)
    (data / "nointer/nointer.inter").rename(data / "nointer/nointer.item")
    (workdir / "p.jsonl").write_text('{"user_id": "u1", "profile": "likes drama"}\n')
    assert cli.main(["import", "p.jsonl", "--dataset=tiny", "--tag=mine"]) == 0
    (data / "noitems/semantic").mkdir()
    (data / "tiny/semantic/mine").rename(data / "noitems/semantic/mine")
    capsys.readouterr()
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.split("Data sets under dataset\n")[1].splitlines()
    assert "  nointer: nointer.item" in lines and any("MISSING nointer.inter" in line for line in lines)
    assert any("CHECK dataset/malformed/malformed.inter does not start" in line for line in lines)
    assert any("no text: add noitems.item" in line for line in lines)
    assert any("NOT of this data set but of tiny" in line for line in lines)
    assert not any("encode --dataset noitems" in line for line in lines)
    tiny_lines = lines[lines.index("  tiny: tiny.inter, tiny.item, tiny.user") :]
    assert not any(word in line for line in tiny_lines for word in ("MISSING", "CHECK", "no text"))


def test_doctor_counts_profiles_of_the_data_alone(tiny, workdir, capsys):
    lines = [json.dumps({"user_id": user, "profile": "likes drama"}) for user in ("u1", "u2", "stranger")]
    (workdir / "p.jsonl").write_text("\n".join(lines) + "\n")
    assert cli.main(["import", "p.jsonl", "--dataset=tiny", "--tag=mine"]) == 0
    users = {line.split("\t")[0] for line in (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()[1:]}
    (workdir / "dataset/tiny/semantic/.import-left").mkdir()
    capsys.readouterr()
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"covers 2 of {len(users)} users and 0 of" in text and "BROKEN" not in text


def test_import_says_when_the_data_set_is_not_there(tiny, workdir, capsys):
    (workdir / "p.jsonl").write_text('{"user_id": "u1", "profile": "likes drama"}\n')
    assert cli.main(["import", "p.jsonl", "--dataset=tinny", "--tag=mine"]) == 0
    assert "holds no interactions of tinny" in capsys.readouterr().out
    assert cli.main(["import", "p.jsonl", "--dataset=tiny", "--tag=mine"]) == 0
    assert "holds no interactions" not in capsys.readouterr().out
    assert cli.main(["import", "p.jsonl", "--dataset=../tiny", "--tag=mine"]) == 2
    assert "no name of a data set" in capsys.readouterr().err


@pytest.mark.parametrize(("eval_step", "said"), [(1, 1), (2, 2), (0, 1)])
def test_a_run_says_how_long_it_takes(tiny, caplog, eval_step, said):
    caplog.set_level("INFO")
    main(options(tiny, model="LightGCN_RLMRec", epochs=4, eval_step=eval_step, alignment="none"))
    estimates = [record.getMessage() for record in caplog.records if "An epoch takes" in record.getMessage()]
    assert len(estimates) == said and all("4 epochs take about" in estimate for estimate in estimates)
    assert ("and a validation" in estimates[-1]) == (eval_step > 0)


def test_import_encode_run(tiny, workdir, capsys):
    lines = [json.dumps({"item_id": f"i{i}", "profile": f"A film of kind {i % 4}."}) for i in range(20)]
    lines += [json.dumps({"user_id": f"u{u}", "profile": f"Likes kind {u % 4}."}) for u in range(20)]
    Path("profiles.jsonl").write_text("\n".join(lines) + "\n")
    assert cli.main(["import", "profiles.jsonl", "--dataset=tiny", "--tag=mine"]) == 0
    assert cli.main(["encode", "--dataset=tiny", "--tag=mine", "--encoder=lsa"]) == 0
    result = main(options(tiny, model="LightGCN_RLMRec", semantic_tag="mine"))
    profiles = result["run"]["profiles"]
    assert profiles["tag"] == "mine" and profiles["provenance"] == "unknown"
    assert cli.main(["import", "absent.jsonl", "--dataset=tiny", "--tag=mine"]) == 2
    capsys.readouterr()
    assert cli.main(["encode", "--dataset=tiny", "--tag=absent", "--encoder=lsa"]) == 2
    assert "no profiles with the tag 'absent' in dataset/tiny/semantic; there are: mine" in capsys.readouterr().err
    assert cli.main(["encode", "--dataset=tiny", "--tag=../tiny", "--encoder=lsa"]) == 2
    assert "cannot be a tag" in capsys.readouterr().err
