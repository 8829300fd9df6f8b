"""``recbole-rlmrec recommend`` with sequential recommenders: histories, sequences that are given, what came later."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_rlmrec.cli import execute
from recbole_rlmrec.errors import ConfigError, DataError, ModelError
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.grown import _renumbered
from recbole_rlmrec.runs.new_sequences import extend_sequences
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.runs.unseen import Unseen

SEQUENTIAL = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "train_neg_sample_args": None,
    "MAX_ITEM_LIST_LENGTH": 6,
    "epochs": 1,
    "hidden_size": 8,
    "eval_batch_size": 64,
}


def recommend(capsys, *argv) -> list[dict]:
    assert execute(["recommend", "--format", "jsonl", "--topk", "30", *map(str, argv)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def order(found: dict) -> list[str]:
    return [one["item"] for one in found["items"]]


@pytest.fixture
def trained(run):
    run("GRU4Rec", **SEQUENTIAL)
    return last_record().checkpoint


@pytest.fixture
def history(workdir):
    """What every user of the small data set did, in the order of time."""
    rows = [line.split("\t") for line in (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()[1:]]
    found: dict[str, list[str]] = {}
    for user, item, _, _ in sorted(rows, key=lambda row: float(row[3])):
        found.setdefault(user, []).append(item)
    return found


def ranked(known, items: list[str], hidden: set[str]) -> list[str]:
    """The model's own order after a sequence."""
    ids = [known.dataset.field2token_id["item_id"][item] for item in items[-6:]]
    row = torch.zeros(1, 6, dtype=torch.long)
    row[0, : len(ids)] = torch.tensor(ids)
    with torch.no_grad():
        scores = known.model.full_sort_predict(Interaction({"item_id_list": row, "item_length": torch.tensor([len(ids)])}))
    names = known.tokens("item")
    return [names[n] for n in np.argsort(-scores.view(-1).numpy(), kind="stable") if n and names[n] not in hidden]


def test_users_are_ranked_by_all_that_is_known_of_them_or_up_to_a_split(trained, history, capsys):
    known = load_trained(trained)
    users = ["u3", "u11", "u20"]
    for argv, kept, hidden in (
        ([], None, lambda items: set(items)),
        (["--keep", "heldout"], -2, lambda items: set(items[:-2])),
        (["--until", "valid", "--keep", "all"], -1, lambda items: set()),
        (["--until", "train", "--keep", "all"], -2, lambda items: set()),
    ):
        answers = recommend(capsys, "--checkpoint", trained, "--user", ",".join(users), *argv)
        for user, found in zip(users, answers, strict=True):
            assert order(found) == ranked(known, history[user][:kept], hidden(history[user]))


def test_a_sequence_that_is_given_counts_in_its_order_and_with_its_repeats(trained, capsys):
    known = load_trained(trained)
    one, other = (["i4", "i9", "i4"], ["i9", "i4", "i4"])
    found = [recommend(capsys, "--checkpoint", trained, "--items", ",".join(items))[0] for items in (one, other)]
    assert [order(answer) for answer in found] == [ranked(known, items, {"i4", "i9"}) for items in (one, other)]
    assert found[0]["user"] == "who chose i4, i9, i4"
    repeated = recommend(capsys, "--checkpoint", trained, "--items", "i4", "--items", "i9", "--keep", "all")[0]
    assert order(repeated) == ranked(known, ["i4", "i9"], set())


def test_new_users_and_later_interactions_come_from_files(trained, history, workdir, capsys):
    known = load_trained(trained)
    people = [{"user_id": "new", "history": ["i7", "i2"]}, {"user_id": "u3", "history": ["i1", "i0"]}]
    (workdir / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in people))
    lines = ["user_id:token\titem_id:token\ttimestamp:float", "u5\ti8\t9002", "u5\ti6\t9001", "new\ti5\t9000"]
    (workdir / "later.inter").write_text("\n".join(lines) + "\n")
    files = ("--new-users", workdir / "people.jsonl", "--interactions", workdir / "later.inter")
    new, known_one = recommend(capsys, "--checkpoint", trained, *files)
    assert (new["user"], order(new)) == ("new", ranked(known, ["i7", "i2", "i5"], {"i7", "i2", "i5"}))
    whole = [*history["u3"], "i1", "i0"]
    assert order(known_one) == ranked(known, whole, set(whole))
    other = recommend(capsys, "--checkpoint", trained, *files, "--user", "u5")[0]
    assert order(other) == ranked(known, [*history["u5"], "i6", "i8"], {*history["u5"], "i6", "i8"})


def test_interactions_that_a_sequence_has_do_not_come_again(trained, history, workdir, capsys, caplog):
    """The run's own file with two rows more, one of them a repeat, says no more than these two."""
    caplog.set_level("INFO")
    known, own = load_trained(trained), (workdir / "dataset/tiny/tiny.inter").read_text().rstrip("\n")
    again = history["u5"][-1]
    grown, untimed = workdir / "grown.inter", workdir / "untimed.inter"
    grown.write_text(f"{own}\nu5\ti8\t5\t9001\nu5\t{again}\t5\t9002\n")
    whole = [*history["u5"], "i8", again]
    for until in ("test", "train"):
        found = recommend(capsys, "--checkpoint", trained, "--user", "u5", "--interactions", grown, "--until", until)
        assert order(found[0]) == ranked(known, whole, set(whole))
    assert "interactions of" in caplog.text and "are in the run's sequences already" in caplog.text
    untimed.write_text(f"user_id:token\titem_id:token\nu5\t{again}\n")
    found = recommend(capsys, "--checkpoint", trained, "--user", "u5", "--interactions", untimed)
    assert order(found[0]) == ranked(known, [*history["u5"], again], set(history["u5"]))
    assert "1 of the 1 interactions" in caplog.text and "taken for repeats" in caplog.text


REFUSED = [
    (["--items", "i3,i99"], "tiny has no item 'i99'"),
    (["--items", " , "], "--items needs at least one id"),
    (["--new-users", "quiet.jsonl"], "New user 'quiet' has no history, and GRU4Rec ranks by nothing else"),
    (["--user", "u3", "--new-items", "items.jsonl"], "GRU4Rec knows items by their ids alone.*SASRec_Semantic"),
    (["--user", "u3", "--interactions", "other.inter"], "'u3' with item 'i99' names one that neither the run"),
]


def test_what_cannot_be_served_is_said(trained, workdir):
    (workdir / "quiet.jsonl").write_text('{"user_id": "quiet", "profile": "likes tea"}\n')
    (workdir / "items.jsonl").write_text('{"item_id": "tea", "profile": "a tea"}\n')
    (workdir / "other.inter").write_text("user_id:token\titem_id:token\nu3\ti99\n")
    for argv, said in REFUSED:
        with pytest.raises((ConfigError, DataError, ModelError), match=said):
            execute(["recommend", "--checkpoint", str(trained), *argv])


def late_users(workdir, way: str) -> dict:
    """Options of a run with users who begin in validation and in test, in three files or in one that is split by time."""
    folder = workdir / "dataset" / "late"
    folder.mkdir(parents=True)
    rows = [(f"u{user}", f"i{(user + place) % 10}", 10 * place + user) for user in range(8) for place in range(5)]
    parts = {"train": rows, "valid": [("new", "i1", 60)], "test": [("new", "i2", 70), ("last", "i5", 80), ("last", "i6", 81)]}
    parts["valid"] += [("u1", "i6", 61)]
    if way == "files":
        options = {"benchmark_filename": [*parts]}
    else:
        options = {"eval_args": {"split": {"RS": [0.88, 0.04, 0.08]}, "order": "TO", "group_by": None, "mode": "full"}}
        parts = {"": [row for part in parts.values() for row in part]}
    for part, rows in parts.items():
        lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(map(str, row)) for row in rows)]
        (folder / f"late{part and '.'}{part}.inter").write_text("\n".join(lines) + "\n")
    return {**SEQUENTIAL, "dataset": "late", "topk": [3], "valid_metric": "Recall@3", **options}


@pytest.mark.parametrize("way", ["files", "times"])
def test_the_first_item_of_a_user_who_begins_late_is_read_and_not_shown_again(run, workdir, capsys, way):
    run("GRU4Rec", **late_users(workdir, way))
    checkpoint = last_record().checkpoint
    known = load_trained(checkpoint)
    (new,) = known.user_ids(["new"]).tolist()
    test = known.splits[2].inter_feat
    read = test["item_id_list"][test["user_id"] == new]
    if way == "files":
        assert torch.equal(known.histories.inputs(torch.tensor([new]))["item_id_list"], read)  # up to the end of validation
    tests = [order(found) for found in recommend(capsys, "--checkpoint", checkpoint, "--user", "new,last")]
    assert tests == [ranked(known, ["i1", "i2"], {"i1", "i2"}), ranked(known, ["i5", "i6"], {"i5", "i6"})]


def test_texts_that_scores_do_not_come_from_serve_no_new_items(run, workdir):
    run("RepeatNet_Semantic", **SEQUENTIAL, semantic_input="replace")
    checkpoint = str(last_record().checkpoint)
    (workdir / "items.jsonl").write_text('{"item_id": "tea", "profile": "a tea"}\n')
    with pytest.raises(ModelError, match="RepeatNet_Semantic reads texts in sequences but .* train a NAME_Semantic such as"):
        execute(["recommend", "--checkpoint", checkpoint, "--user", "u3", "--new-items", "items.jsonl"])
    with pytest.raises(ModelError, match="RepeatNet_Semantic reads texts in sequences"):
        extend_sequences(load_trained(checkpoint), Unseen(items=["tea"]))


def test_models_that_know_their_users_serve_no_others(run, capsys):
    run("HGN", **SEQUENTIAL)
    checkpoint = last_record().checkpoint
    assert len(order(recommend(capsys, "--checkpoint", checkpoint, "--user", "u3")[0])) > 5
    with pytest.raises(ModelError, match="HGN knows users by their ids beside their sequences"):
        execute(["recommend", "--checkpoint", str(checkpoint), "--items", "i3"])


def test_options_of_sequences_are_refused_for_other_models(run):
    run("BPR", epochs=1)
    with pytest.raises(ConfigError, match="BPR ranks by no sequences; leave --items out"):
        execute(["recommend", "--checkpoint", str(last_record().checkpoint), "--items", "i3"])
    with pytest.raises(ConfigError, match="leave --until out"):
        execute(["recommend", "--checkpoint", str(last_record().checkpoint), "--user", "u3", "--until", "valid"])


@pytest.mark.parametrize("model", ["GRU4Rec", "GRU4Rec_RLMRec"])
def test_what_a_sequential_model_represents_users_and_items_by_gives_its_scores(run, model):
    run(model, **SEQUENTIAL)
    known = load_trained(last_record().checkpoint).until("test")
    users, items = known.representations()
    torch.testing.assert_close(users[1:] @ items.T, known.scores(torch.arange(1, known.dataset.user_num)), atol=1e-5, rtol=1e-4)
    assert not users[0].any()


def test_a_user_with_one_interaction_is_ranked_after_it(run, tiny, workdir, capsys):
    path = workdir / "dataset/tiny/tiny.inter"
    path.write_text(path.read_text() + "once\ti5\t4\t5000\n")
    run("GRU4Rec", **SEQUENTIAL)
    checkpoint = last_record().checkpoint
    known = load_trained(checkpoint)
    assert known.dataset.field2token_id["user_id"]["once"] not in known.dataset.inter_feat["user_id"]
    for more, hidden in (((), {"i5"}), (("--keep", "all"), set()), (("--keep", "heldout"), {"i5"})):
        (found,) = recommend(capsys, "--checkpoint", checkpoint, "--user", "once", *more)
        assert order(found) == ranked(known, ["i5"], hidden)
    assert len(recommend(capsys, "--checkpoint", checkpoint, "--all-users")) == 25
    (workdir / "later.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nonce\ti9\t6000\n")
    (found,) = recommend(capsys, "--checkpoint", checkpoint, "--user", "once", "--interactions", "later.inter")
    assert order(found) == ranked(known, ["i5", "i9"], {"i5", "i9"})


@pytest.mark.parametrize("model", ["GRU4Rec", "SASRec_RLMRec", "FPMC"])
def test_sequences_of_a_file_in_another_order_are_those_of_the_run(run, tiny, workdir, capsys, model):
    path = workdir / "dataset/tiny/tiny.inter"
    path.write_text(path.read_text() + "once\ti5\t4\t5000\n")
    negatives = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}} if model == "FPMC" else {}
    run(model, **{**SEQUENTIAL, **negatives})
    checkpoint = last_record().checkpoint
    before = {one["user"]: order(one) for one in recommend(capsys, "--checkpoint", checkpoint, "--all-users")}
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert {one["user"]: order(one) for one in recommend(capsys, "--checkpoint", checkpoint, "--all-users")} == before
    path.write_text("\n".join([head, *rows, "u3\ti1\t4\t7000", "u3\ti2\t4\t7001"]) + "\n")
    with pytest.raises(ModelError, match="other interactions, or another order.*--interactions FILE"):
        recommend(capsys, "--checkpoint", checkpoint, "--user", "u1")
    path.write_text("\n".join([head, *rows, "novel\ti1\t4\t7000"]) + "\n")
    with pytest.raises(ModelError, match=r"gained 1 user \(novel\) .*--interactions FILE"):
        recommend(capsys, "--checkpoint", checkpoint, "--user", "u1")


def test_lists_that_are_an_alias_are_renumbered_once():
    config = {"LIST_SUFFIX": "_list", "alias_of_user_id": None, "alias_of_item_id": ["item_id_list", "next_item"]}
    base = SimpleNamespace(uid_field="user_id", iid_field="item_id", config=config)
    columns = {"user_id": [1, 2], "item_id": [1, 2], "item_id_list": [[2, 3, 0], [1, 0, 0]], "next_item": [3, 1]}
    rows = Interaction({name: torch.tensor(values) for name, values in columns.items()} | {"item_length": torch.tensor([2, 1])})
    found = _renumbered(base, rows, {"user": np.array([0, 2, 1]), "item": np.array([0, 2, 3, 1])}).interaction
    expected = {"user_id": [2, 1], "item_id": [2, 3], "item_id_list": [[3, 1, 0], [2, 0, 0]], "next_item": [1, 2]}
    assert {name: found[name].tolist() for name in expected} == expected and found["item_length"].tolist() == [2, 1]


def test_features_that_are_numbered_with_the_data_want_the_files_of_training(run, tiny, workdir, capsys):
    columns = {"load_col": {**SEQUENTIAL["load_col"], "item": ["item_id", "genre"]}}
    run("SASRecF", **{**SEQUENTIAL, **columns, "selected_features": ["genre"], "pooling_mode": "sum"})
    path = workdir / "dataset/tiny/tiny.inter"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    with pytest.raises(ModelError, match="reads more than ids"):
        recommend(capsys, "--checkpoint", last_record().checkpoint, "--user", "u1")


def test_sequences_may_hold_new_items_and_stand_beside_new_users(run, workdir, capsys):
    run("GRU4Rec_Semantic", **SEQUENTIAL, loss_type="CE")
    checkpoint = last_record().checkpoint
    rows = (workdir / "dataset/tiny/tiny.item").read_text().splitlines()
    (workdir / "new.item").write_text("\n".join([rows[0], rows[8].replace("i7\t", "n7\t", 1)]) + "\n")
    (workdir / "new.jsonl").write_text('{"user_id": "fresh", "history": ["i3", "n7"]}\n')
    files = ("--new-items", "new.item", "--new-users", "new.jsonl")
    fresh, given = recommend(capsys, "--checkpoint", checkpoint, *files, "--items", "i3,n7")
    assert (fresh["user"], given["user"]) == ("fresh", "who chose i3, n7") and order(fresh) == order(given)
    assert not {"i3", "n7"} & set(order(given)) and len(order(given)) == 29


def test_reasons_come_from_the_sequence_that_is_read(trained, history, capsys):
    for argv, kept in (([], None), (["--keep", "heldout"], -2), (["--until", "valid", "--keep", "all"], -1)):
        for found in recommend(capsys, "--checkpoint", trained, "--all-users", "--reasons", *argv):
            for one in found["items"]:
                assert set(one["because"]) <= set(history[found["user"]][:kept]) - {one["item"]}
