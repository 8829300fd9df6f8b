"""Several processes: losses, gradients, evaluation and resuming are those of one. One pair of them serves all tests."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import together
import torch
from recbole.utils import get_model

from recbole_rlmrec import cli
from recbole_rlmrec.errors import ConfigError, ProcessError, StoreError
from recbole_rlmrec.model import loss_kinds as loss_kinds_of, parallel
from recbole_rlmrec.model.loss_kinds import loss_kinds
from recbole_rlmrec.plugin import launch, meeting
from recbole_rlmrec.plugin.launch import Plan
from recbole_rlmrec.plugin.shards import shard_of
from recbole_rlmrec.runs import list_files, run

OPTIONS = {
    "dataset": "tiny",
    "gpu_id": "",
    "train_batch_size": 64,
    "embedding_size": 8,
    "show_progress": False,
    "topk": [5, 10],
    "valid_metric": "Recall@10",
    "align_schedule": "constant",
    "align_weight": 0.5,
    "reg_weight": 0.3,
}
NEGATIVES = {"distribution": "uniform", "sample_num": 2, "alpha": 1.0, "dynamic": False, "candidate_num": 0}


SEQUENCES = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": 8,
    "hidden_size": 8,
    "inner_size": 8,
    "train_neg_sample_args": None,
}
PAIRWISE = {"loss_type": "BPR", "train_neg_sample_args": {**NEGATIVES, "sample_num": 1}}


def _con(negatives, **more):
    return {"alignment": "con", "align_negatives": negatives, **more}


CASES = {
    **{
        f"{backbone} con {negatives}": (f"{backbone}_RLMRec", _con(negatives))
        for backbone in ("BPR", "LightGCN", "SGL", "NCL", "MultiVAE")
        for negatives in ("batch", "all", 7)
    },
    **{f"{name} gen": (f"{name}_RLMRec", {"alignment": "gen", "mask_ratio": 0.3}) for name in ("LightGCN", "SGL", "NCL")},
    "edges dropped, all parameters": ("LightGCN_RLMRec", _con("batch", edge_keep_rate=0.7, reg_scope="all")),
    "two negatives": ("BPR_RLMRec", _con("batch", train_neg_sample_args=NEGATIVES)),
    "softmax": ("LightGCN_RLMRec", _con("batch", loss="softmax", softmax_negatives="batch", softmax_logq=True)),
    "nodes once": ("DCCF_RLMRec", _con("batch")),
    "nodes once, gumbel": ("AutoCF_RLMRec", _con("batch", n_seeds=5)),
    "an alignment that does not spread": ("MultiVAE_RLMRec", {"alignment": "darec"}),
    "distance": ("LightGCN_RLMRec", {"alignment": "distance"}),
    "drawn anchors of con": ("LightGCN_RLMRec", _con("batch", align_anchors=9)),
    "drawn anchors, drawn negatives": ("MultiVAE_RLMRec", _con(7, align_anchors=5)),
    "one step of two": ("LightGCN_RLMRec", _con("batch", align_every=2)),
    "drawn anchors of gen": ("LightGCN_RLMRec", {"alignment": "gen", "mask_ratio": 0.3, "align_anchors": 5}),
    "two optimisers": ("RecVAE_RLMRec", _con("batch")),
    "a sum": ("CDAE_RLMRec", _con("batch")),
    "labels and dropout": ("NeuMF_RLMRec", _con("batch", dropout_prob=0.3)),
    **{name: (name, {}) for name in ("LightGCN", "SGL", "ENMF", "NGCF")},
    "autoencoder": ("MultiDAE_RLMRec", _con(7)),
    "graph with contrast": ("SimGCL_RLMRec", _con("batch")),
    "factors, drawn nodes": ("DGCF_RLMRec", _con("batch", n_factors=2)),
    "many negatives": ("SimpleX_RLMRec", _con("batch", train_neg_sample_args={**NEGATIVES, "sample_num": 3})),
    "AlphaRec, whose first gradient is small, in float64": ("AlphaRec", {"softmax_negatives": 9}),
    "KAR": ("LightGCN_KAR", {}),
    "texts as input": ("LightGCN_Semantic", {"semantic_dropout": 0.2, "id_dropout": 0.2}),
    **{
        f"softmax {negatives}": ("LightGCN_RLMRec", {"loss": "softmax", "softmax_negatives": negatives, "softmax_logq": True})
        for negatives in (9, "all")
    },
    "sequences, CE": ("SASRec_RLMRec", {**_con("batch"), **SEQUENCES}),
    "sequences, BPR": ("GRU4Rec_RLMRec", {**_con(7), **SEQUENCES, **PAIRWISE}),
    "sequences, gen": ("SASRec_RLMRec", {"alignment": "gen", "mask_ratio": 0.3, **SEQUENCES}),
    "sequences of texts": ("SASRec_Semantic", SEQUENCES),
    "a mean over targets": ("BERT4Rec_RLMRec", {**_con("batch"), **SEQUENCES}),
    "a mean over targets, BPR": ("BERT4Rec", {**SEQUENCES, **PAIRWISE}),
    "one target in a row": ("BERT4Rec_RLMRec", {**_con("all"), **SEQUENCES, "mask_ratio": 0.15}),
    "norms of rows": ("HGN", {**SEQUENCES, "reg_weight": [0.1, 0.3]}),
    "norms of rows, con": ("FOSSIL_RLMRec", {**_con("batch"), **SEQUENCES, "reg_weight": 0.3}),
    "norms of tables": ("GCSAN_RLMRec", {**_con("batch"), **SEQUENCES}),
    "a translation": ("TransRec", {**SEQUENCES, **PAIRWISE}),
}
EVALUATIONS = {
    "full": {"metrics": ["Recall", "NDCG", "MRR", "ItemCoverage", "GiniIndex", "ShannonEntropy", "TailPercentage"]},
    "RecBole's loader": {"fast_loader": False, "eval_batch_size": 70},
    "sampled": {"eval_args": {"mode": {"valid": "uni5", "test": "uni5"}}, "eval_batch_size": 40, "metrics": ["Recall", "GAUC"]},
    "labels": {
        "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "threshold": {"rating": 3},
        "load_col": {"inter": ["user_id", "item_id", "rating"]},
        "eval_batch_size": 7,
    },
}
FORMS = ["csv", "parquet"]
RUN = ["--model=LightGCN_RLMRec", "--dataset=tiny", "--epochs=3", "--stopping_step=9", "--config_files=run.yaml"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory, write_tiny):
    """What a pair of processes found, one entry for each step."""
    folder = tmp_path_factory.mktemp("pair")
    write_tiny(folder / "dataset" / "tiny")
    (folder / "run.yaml").write_text(json.dumps({**OPTIONS, "metric_decimal_place": 10}))
    steps = {
        "collectives": {},
        "differences": {"cases": CASES, "options": OPTIONS, "sizes": [23, 1]},
        "drawn_by_alignment": {"options": OPTIONS},
        "evaluations": {"cases": EVALUATIONS, "options": OPTIONS},
        "trainings": {"argv": RUN, "until": 2},
        "lists": {"forms": FORMS, "per_part": 7},
        "interrupted_for_later": {"argv": [*RUN, "--checkpoint_dir=later"], "until": 1},
    }
    plan = Plan(2, 2, 0, "localhost", 0, 120)
    found = launch.together(plan, together.run_all, {"folder": str(folder), "steps": list(steps.items())})
    return SimpleNamespace(folder=folder, **dict(zip(steps, found)))


def test_processes_tell_each_other(pair):
    assert pair.collectives == {
        "size": 2,
        "gathered": [0, 1, 2, 0, 1],
        "gradient": [3, 6, 9, 12, 15],  # position times (1 + 2), from both
        "equal draws": True,
        "empty": 0,
        "first fails": [1, 1],
        "on first": 0,
        "shares": [0, 1, 2, 3],
    }


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_one_process(pair, case):
    found = pair.differences[case]
    assert len(found) == (4 if case == "two optimisers" else 3 if "target" in case else 2)
    for loss, gradient in found:
        assert loss < 1e-5 and gradient < 1e-5


def test_alignments_draw_alike_where_recommenders_do_not(pair):
    (one, other) = pair.drawn_by_alignment
    assert one == other and one


@pytest.mark.parametrize("case", EVALUATIONS)
def test_evaluation_is_that_of_one_process_to_the_last_digit(pair, case):
    (alone, both), same_users = pair.evaluations[case]
    assert alone == both and same_users and len(alone) > 1


def test_a_run_that_is_interrupted_goes_on(pair):
    whole, resumed = pair.trainings["whole"], pair.trainings["resumed"]
    assert resumed["run"]["resumed_from"] == [2] and resumed["run"]["processes"] == 2
    assert resumed["test_result"] == whole["test_result"] and resumed["best_valid_result"] == whole["best_valid_result"]
    assert resumed["run"]["series"]["losses"] == whole["run"]["series"]["losses"]
    assert json.loads((pair.folder / "resumed.json").read_text())["run"]["epochs"] == 3
    assert pair.trainings["again"]["test_result"] == pytest.approx(whole["test_result"])
    assert pair.trainings["logs"] == (4, len(CASES) + len(EVALUATIONS) + 1 + 4)  # of the first process alone


def test_one_process_trains_the_same(pair, monkeypatch):
    monkeypatch.chdir(pair.folder)
    alone, both = run.main([*RUN, "--checkpoint_dir=alone"]), pair.trainings["whole"]
    assert alone["test_result"] == pytest.approx(both["test_result"], abs=0.02)
    for name, series in alone["run"]["series"]["losses"].items():
        assert both["run"]["series"]["losses"][name] == pytest.approx(series, rel=1e-4)
    with pytest.raises(ConfigError, match="with 2 processes, and this is 1; give --nproc=2"):
        run.main([*RUN, "--checkpoint_dir=later", "--resume"])


def test_lists_are_those_of_one_process_byte_by_byte(pair, monkeypatch):
    monkeypatch.chdir(pair.folder)
    monkeypatch.setattr(list_files, "LISTS_PER_PART", 7)
    checkpoint, said = pair.lists
    assert said.count("The lists of 24 users were there from a call that was interrupted.") == len(FORMS)
    for form in FORMS:
        output = f"alone.{form}"
        assert cli.execute(["recommend", "--checkpoint", checkpoint, "--all-users", "--format", form, "-o", output]) == 0
        assert (pair.folder / f"both.{form}").read_bytes() == (pair.folder / output).read_bytes()
    assert len((pair.folder / "both.csv").read_text().splitlines()) == 1 + 24 * 10
    assert not list(pair.folder.glob(".both*"))


# --- without processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nproc": "0"}, "--nproc=0 trains nothing"),
        ({"nproc": "two"}, "--nproc=two is no whole number"),
        ({"nproc": 2, "world_size": 1}, "--world_size=1 is the number of processes on all machines"),
        ({"group_offset": 1}, "--group_offset=1 is the number of this machine's first process, and with 1 of 1"),
        ({"nproc": 2, "world_size": 4, "group_offset": 3}, "it is 2 at most; give a smaller one"),
        ({"world_size": 2, "port": "abc"}, "--port=abc is no whole number"),
        ({"world_size": 2, "port": 70000}, "--port=70000 is no port"),
        ({"nproc": 2, "meeting_seconds": 0}, "--meeting_seconds=0 is no time to wait"),
    ],
)
def test_numbers_that_do_not_fit_are_told(options, said):
    with pytest.raises(ConfigError) as told:
        Plan.of_options(options)
    assert said in str(told.value)


def test_what_the_options_say():
    assert Plan.of_options({}) is None and Plan.of_options({"nproc": "1", "world_size": 1}) is None
    assert Plan.of_options({"nproc": 2}) == Plan(2, 2, 0, "localhost", 0, 300)
    expected = Plan(1, 3, 2, "10.0.0.1", 5678, 9)
    given = {"world_size": 3, "group_offset": "2", "ip": "10.0.0.1", "meeting_seconds": 9}
    assert Plan.of_options(given) == expected


def test_processes_that_do_not_come_are_told():
    store = launch._open_store(Plan(2, 2, 0, "localhost", 0, 1))
    with pytest.raises(ProcessError, match=r"1 of 2 processes did not come within 1 seconds \(number 1\)"):
        with meeting.meeting(store, "localhost", 0, 2, 0, 1, False):
            pass
    with pytest.raises(ProcessError, match=f"cannot meet at port {store.port}"):
        launch._open_store(Plan(1, 2, 0, "localhost", store.port, 1))
    assert not parallel.many()


@pytest.mark.parametrize(
    ("statuses", "errors", "said"),
    [
        ((2, 0), {0: ("said", "There is no such thing.")}, "There is no such thing."),
        ((75, -9), {0: ("lost", "gloo")}, "Process 1 of 2 was killed (SIGKILL)"),
        ((75, 1), {0: ("lost", "gloo"), 1: ("other", "KeyError: 'a'")}, "Process 1 of 2 failed (KeyError: 'a')"),
        ((75, -15), {0: ("lost", "gloo")}, "Process 1 of 2 was killed (SIGTERM)"),
        ((75, None), {0: ("lost", "gloo")}, "The processes lost each other"),
    ],
)
def test_what_failed_is_told(tmp_path, statuses, errors, said):
    for local, (kind, text) in errors.items():
        (tmp_path / f"error-{local}").write_text(json.dumps({"kind": kind, "text": text}))
    children = [SimpleNamespace(exitcode=status) for status in statuses]
    assert said in str(launch._failure(tmp_path, Plan(2, 2, 0, "localhost", 0, 1), children))


def test_a_gpu_has_one_process():
    launch.check_gpus(["0", "1"], 2)
    launch.check_gpus([], 4)
    for gpus in (["0"], ["0", "0"]):
        with pytest.raises(ConfigError, match=r"--nproc=2 needs 2 GPUs.*names 1 .*give --gpu_id=0,1, fewer"):
            launch.check_gpus(gpus, 2)


def test_rows_of_a_batch(monkeypatch):
    monkeypatch.setattr(parallel._Place, "size", 3)
    monkeypatch.setattr(parallel._Place, "rank", 2)
    part = shard_of(14, 2)  # seven interactions of two rows each
    assert part.positions.tolist() == [5, 6, 12, 13] and (part.count, part.total) == (2, 7)
    assert shard_of(2, 1).count == 0 and shard_of(2, 1).positions.tolist() == [0]
    assert [parallel.share(count) for count in (0, 2, 9)] == [slice(0, 0), slice(2, 2), slice(6, 9)]


def test_kinds_of_losses():
    class NCL:
        alignment_place = staticmethod(lambda number: number - 2)

    class Mine:
        adapter = SimpleNamespace(loss="sum")

    assert loss_kinds(NCL(), 4) == ("mean", "sum", "part", "sum") and loss_kinds(Mine(), 2) == ("sum", "sum")
    assert loss_kinds(object(), 1) == ("mean",)
    s3rec = type("S3Rec", (), {})()
    for s3rec.train_stage, kind in {"pretrain": "sum", "finetune": "mean"}.items():
        assert loss_kinds(s3rec, 1) == (kind,)


def test_what_several_processes_do_not_make_equal_is_said(build):
    tables = (loss_kinds_of._KINDS, loss_kinds_of._BESIDE, loss_kinds_of._COUNTED, loss_kinds_of._UNEQUAL)
    for name in (*loss_kinds_of._NORMS_OF_ROWS, *loss_kinds_of._NORMS_OF_TABLES, *(name for table in tables for name in table)):
        assert get_model(name).__name__ == name
    unequal = (Path(__file__).parents[2] / "docs" / "scale.md").read_text().split("### What is not\n")[1].split("###")[0]
    assert not [name for name in loss_kinds_of._UNEQUAL if name not in unequal]
    assert loss_kinds_of.unequal(build("MultiVAE")[1]) == "it draws noise for its rows"
    assert loss_kinds_of.unequal(build("BPR")[1]) is None
    assert loss_kinds_of.unequal(torch.nn.Sequential(torch.nn.BatchNorm1d(2))) == "it normalises over a process's rows"


def test_what_no_row_carries_is_added_beside_the_rows():
    parallel.at_work_on(part := parallel.Shard(torch.zeros(1, dtype=torch.long), 0, 3, 3))
    try:
        assert parallel.as_part_of_loss(torch.tensor(2.0)) == 0 and part.beside == [2.0]
        parallel.at_work_on(parallel.Shard(torch.zeros(1, dtype=torch.long), 1, 3, 3, weight=0.25))
        assert parallel.as_part_of_loss(torch.tensor(2.0)) == 8.0
    finally:
        parallel.at_work_on(None)


@pytest.mark.parametrize("extra", [["--nproc=2"], ["--port=1"]])
def test_torchrun_has_the_say(tiny, monkeypatch, extra):
    for name in meeting._TORCHRUN:
        monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigError, match=f"leave {extra[0].split('=')[0]} out"):
        run.main(["--dataset=tiny", *extra])
    with pytest.raises(ConfigError, match="leave --nproc out"):
        cli.execute(["recommend", "--checkpoint=a.pth", "--all-users", "--output=a.csv", "--nproc=2"])


def test_processes_of_recommend(monkeypatch, tmp_path):
    lists, seen = ["recommend", "--checkpoint=a.pth", "--all-users", "--nproc=2"], []
    with pytest.raises(ConfigError, match="name it with --output"):
        cli.execute(lists)
    monkeypatch.setattr(launch, "together", lambda *given: seen.append(given))
    assert cli.execute([*lists, "--output=a.csv"]) == 0
    plan, action, arguments, gpus, again = seen[0]
    assert (plan.here, gpus, action.__qualname__, str(arguments["args"].checkpoint)) == (2, [], "make", "a.pth")
    lost = launch._failure(tmp_path, plan, [SimpleNamespace(exitcode=-9)], again)
    assert str(lost).endswith("The same command goes on with the lists that are there.")
    with pytest.raises(StoreError, match="2 of 2 parts of a.csv are not in"):
        list_files._end(Path("a.csv"), tmp_path, [tmp_path / "0", tmp_path / "1"], None)


def test_processes_in_a_file_of_options(tiny, monkeypatch, workdir):
    (workdir / "run.yaml").write_text("nproc: 3\nepochs: 1\ngpu_id: ''\n")
    seen = {}
    monkeypatch.setattr(
        launch, "together", lambda plan, action, arguments, *more: seen.update(plan=plan, action=action, **arguments)
    )
    run.main(["--dataset=tiny", "--config_files=run.yaml"])
    assert seen["plan"].here == 3 and seen["action"] is run.train and seen["dataset"] == "tiny"
    with pytest.raises(ConfigError, match="XGBoost trains in one process"):
        launch.check_trainer({"MODEL_TYPE": _decision_tree(), "model": "XGBoost"})


def _decision_tree():
    from recbole.utils import ModelType

    return ModelType.DECISIONTREE


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files here")
def test_a_machine_without_a_sign_of_life_is_noticed():
    server = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(server.getsockname())
    far, pipe, before = server.accept()[0], os.pipe(), len(os.listdir("/proc/self/fd"))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        meeting.ask_for_signs_of_life(30)
        for end in (near, far):
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle = [end.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)]
            assert idle == [10, 5] and end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            end.sendall(b"still open")
        os.write(pipe[1], b"x")
        assert datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert len(os.listdir("/proc/self/fd")) == before + 1  # nothing is left open but the datagrams' socket
    finally:
        for end in (near, far, server, datagrams):
            end.close()
        for end in pipe:
            os.close(end)


def test_processes_that_met_and_cannot_reach_each_other(monkeypatch):
    assert meeting._interface_to("no.such.host.invalid") == "" and meeting._interface_to("127.0.0.1") != ""
    store = torch.distributed.HashStore()
    store.set("recbole-rlmrec-1", "the other")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "no-such-interface")
    with pytest.raises(ProcessError, match=r"met at localhost and cannot reach each other through no-such-interface .*=eth0"):
        with meeting.meeting(store, "localhost", 0, 2, 0, 1, False):
            pass
