"""``recbole-rlmrec recommend`` where the data have changed since training, and lists of many users."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from recbole_rlmrec.cli import execute, main
from recbole_rlmrec.errors import CheckpointError, ModelError
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.plugin.vocabulary import KEY
from recbole_rlmrec.runs import list_files
from recbole_rlmrec.runs.trained import load_trained


def lists(capsys, checkpoint, *argv, k="40") -> tuple[dict, str]:
    assert execute(["recommend", "--checkpoint", checkpoint, "--format", "jsonl", "--topk", k, *map(str, argv)]) == 0
    said = capsys.readouterr()
    return {one["user"]: one["items"] for one in map(json.loads, said.out.splitlines())}, said.err


def names(found: dict) -> dict:
    return {user: [one["item"] for one in items] for user, items in found.items()}


def grow(workdir, *lines, shuffle=True, without=()) -> None:
    """Add lines to the interactions and put them into another order, so that RecBole counts everyone anew."""
    path = workdir / "dataset/tiny/tiny.inter"
    head, *rows = path.read_text().splitlines()
    rows = [row for row in [*rows, *lines] if not row.startswith(tuple(without))] if without else [*rows, *lines]
    random.Random(1).shuffle(rows)
    path.write_text("\n".join([head, *rows]) + "\n")


def test_known_ones_keep_their_rows_and_new_ones_are_named(run, workdir, capsys):
    run("BPR")
    checkpoint = last_record().checkpoint
    before, said = lists(capsys, checkpoint, "--all-users")
    assert "Since" not in said and set(torch.load(checkpoint, weights_only=False)[KEY]) == {"user", "item", "splits"}
    free = before["u3"][0]["item"]
    grow(
        workdir, f"u3\t{free}\t5\t9000", "fresh\ti4\t5\t9001", "u5\tnovel\t4\t9002", "fresh\tnovel\t4\t9003", without=("u7\t",)
    )
    after, said = lists(capsys, checkpoint, "--all-users")
    assert "gained 1 user (fresh), 1 item (novel) and 4 interactions and lost 1 user (u7)" in said
    assert "BPR knows ids alone" in said and set(after) == set(before)
    for user, items in before.items():
        expected = [one for one in items if (user, one["item"]) != ("u3", free)]
        assert after[user] == expected, user
    with pytest.raises(ModelError, match="'fresh' came after training"):
        lists(capsys, checkpoint, "--user", "u1,fresh")


def test_exported_tables_say_who_is_in_none(run, workdir, capsys):
    run("BPR", epochs=1)
    command = ["export", "--checkpoint", last_record().checkpoint, "--output"]
    grow(workdir)
    assert execute([*command, "before"]) == 0 and "gained" not in capsys.readouterr().out
    grow(workdir, "fresh\ti4\t5\t9001")
    assert execute([*command, "after"]) == 0
    said = capsys.readouterr().out
    assert "gained 1 user (fresh) and 1 interaction; the tables have those whom training knew." in said and "24 users" in said


def test_rows_in_another_order_are_no_change(run, workdir, capsys):
    run("LightGCN_RLMRec", alignment="none", load_col={"inter": ["user_id", "item_id", "rating", "timestamp"]})
    checkpoint = last_record().checkpoint
    before, _ = lists(capsys, checkpoint, "--all-users")
    trained = load_trained(checkpoint)
    grow(workdir)
    after, said = lists(capsys, checkpoint, "--all-users")
    assert "gained nothing" in said
    moved = load_trained(checkpoint)
    for part, now in zip(trained.splits, moved.splits):
        pairs = [sorted(zip(*(one.inter_feat[name].tolist() for name in ("user_id", "item_id")))) for one in (part, now)]
        assert pairs[0] == pairs[1]
    ratings = dict(zip(*(moved.dataset.inter_feat[name].tolist() for name in ("timestamp", "rating"))))
    assert ratings == dict(zip(*(trained.dataset.inter_feat[name].tolist() for name in ("timestamp", "rating"))))
    for user in before:
        assert [one["item"] for one in after[user]] == [one["item"] for one in before[user]]
        assert [one["score"] for one in after[user]] == pytest.approx([one["score"] for one in before[user]], abs=1e-6)


def test_a_model_of_texts_serves_new_ones(run, workdir, capsys):
    run("AlphaRec", epochs=1)
    checkpoint = last_record().checkpoint
    before, _ = lists(capsys, checkpoint, "--user", "u1")
    item = workdir / "dataset/tiny/tiny.item"
    item.write_text(item.read_text() + "novel\tThe western number 99\t2020\twestern\tA story of western.\n")
    grow(workdir, "fresh\ti4\t5\t9001", "fresh\tnovel\t4\t9003")
    after, said = lists(capsys, checkpoint, "--all-users")
    assert "gained 1 user (fresh), 1 item (novel) and 2 interactions." in said
    assert len(after) == 25 and len(after["fresh"]) == 29 and not {"i4", "novel"} & {one["item"] for one in after["fresh"]}
    (new,) = [one for one in after["u1"] if one["item"] == "novel"]
    assert new["title"] == "The western number 99"
    assert [one["item"] for one in after["u1"] if one is not new][:5] == [one["item"] for one in before["u1"]][:5]
    users = workdir / "users.jsonl"
    users.write_text(json.dumps({"user_id": "other", "history": ["novel", "i9"]}))
    found, _ = lists(capsys, checkpoint, "--new-users", users)
    assert list(found) == ["other"] and len(found["other"]) == 29


def test_reasons_and_lists_that_differ(run, workdir, capsys):
    run("LightGCN_RLMRec")
    checkpoint = last_record().checkpoint
    plain, _ = lists(capsys, checkpoint, "--all-users")
    found, _ = lists(capsys, checkpoint, "--all-users", "--reasons", "--diversify", "0")
    trained = load_trained(checkpoint)
    vectors = trained.representations()[1].numpy()
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    number = trained.dataset.field2token_id["item_id"]
    rows = [line.split("\t") for line in (workdir / "dataset/tiny/tiny.inter").read_text().splitlines()[1:]]
    tag = next((workdir / "dataset/tiny/semantic").glob("template-lsa-*/users.jsonl"))
    profiles = {one["user_id"]: one["profile"] for one in map(json.loads, tag.read_text().splitlines())}
    for user, items in found.items():
        assert [(one["item"], one["score"]) for one in items] == [(one["item"], one["score"]) for one in plain[user]]
        history = [row[1] for row in rows if row[0] == user]
        for one in items:
            cosines = {item: vectors[number[one["item"]]] @ vectors[number[item]] for item in history}
            assert sorted((cosines[item] for item in one["because"]), reverse=True) == pytest.approx(
                sorted(cosines.values(), reverse=True)[:2], abs=1e-6
            )
            assert one["profile"] in profiles[user]
    execute(["recommend", "--checkpoint", checkpoint, "--user", "u1", "--topk", "1", "--reasons"])
    assert capsys.readouterr().out.splitlines()[2].lstrip().startswith("because of i")
    different, _ = lists(capsys, checkpoint, "--all-users", "--diversify", "0.7", k="5")
    assert any([one["item"] for one in different[user]] != [one["item"] for one in plain[user][:5]] for user in plain)
    assert all(different[user][0]["item"] == plain[user][0]["item"] for user in plain)
    assert main(["recommend", "--checkpoint", checkpoint, "--user", "u1", "--diversify", "2"]) == 2
    assert "--diversify" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_interrupted_call_goes_on(run, workdir, capsys, monkeypatch, form):
    if form == "csv":
        run("BPR", epochs=1)
        checkpoint = last_record().checkpoint
    else:
        run("Pop")
        checkpoint = last_record().checkpoint
    start = ["recommend", "--checkpoint", checkpoint, "--all-users", "--topk", "4", "--reasons", "--format", form]
    assert execute([*start, "-o", f"whole.{form}"]) == 0
    monkeypatch.setattr(list_files, "LISTS_PER_PART", 10)
    written = list_files._write_parquet if form == "parquet" else list_files._write_text

    def interrupted(path, *rest):
        if calls:
            raise KeyboardInterrupt
        calls.append(path)
        written(path, *rest)

    calls: list = []
    with monkeypatch.context() as patched:
        patched.setattr(list_files, written.__name__, interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute([*start, "-o", f"parts.{form}"])
    assert not (workdir / f"parts.{form}").exists()
    capsys.readouterr()
    assert execute([*start, "-o", f"parts.{form}"]) == 0
    assert "lists of 10 users were there" in capsys.readouterr().err
    if form == "parquet":
        import pyarrow.parquet as pq

        assert pq.read_table("parts.parquet").equals(pq.read_table("whole.parquet"))
    else:
        assert (workdir / f"parts.{form}").read_bytes() == (workdir / f"whole.{form}").read_bytes()
    assert not list(workdir.glob(".parts*"))


def test_parts_of_other_lists_are_not_used(run, workdir, capsys, monkeypatch):
    run("Pop")
    monkeypatch.setattr(list_files, "LISTS_PER_PART", 10)
    folder = workdir / ".lists.csv.parts"
    folder.mkdir()
    for name in ("0000000000", "0000000000-0123456789abcdef"):
        (folder / name).write_text("wrong")
    start = ["recommend", "--checkpoint", last_record().checkpoint, "--all-users", "--topk", "4", "--format", "csv"]
    assert execute([*start, "-o", "lists.csv"]) == 0
    assert "wrong" not in (workdir / "lists.csv").read_text() and not folder.exists()
    assert len((workdir / "lists.csv").read_text().splitlines()) == 1 + 4 * 24


def test_a_checkpoint_whose_data_do_not_fit_together(run, workdir, capsys):
    run("BPR", epochs=1)
    checkpoint = last_record().checkpoint
    found = torch.load(checkpoint, weights_only=False)
    items = found[KEY]["splits"]["train"]["items"]
    for change in ({"items": items[:-1]}, {"items": items + 100}, {"items": [1, 2]}):
        splits = {**found[KEY]["splits"], "train": {**found[KEY]["splits"]["train"], **change}}
        torch.save({**found, KEY: {**found[KEY], "splits": splits}}, "damaged.pth")
        with pytest.raises(CheckpointError, match="damaged"):
            lists(capsys, "damaged.pth", "--user", "u1")


def test_models_that_read_more_than_ids_need_the_data_they_were_trained_on(run, workdir, capsys):
    columns = {"inter": ["user_id", "item_id", "rating"]}
    run("FM", epochs=1, load_col=columns, threshold={"rating": 3}, metrics=["AUC"], valid_metric="AUC")
    checkpoint = last_record().checkpoint
    grow(workdir, "fresh\ti4\t5\t9001")
    with pytest.raises(ModelError, match="FM reads more than ids, and since training the data have gained 1 user"):
        lists(capsys, checkpoint, "--user", "u1")


@pytest.mark.parametrize("change", ["interaction", "profiles"])
def test_parts_of_before_the_data_or_the_profiles_changed_are_not_used(run, workdir, capsys, monkeypatch, change):
    run("AlphaRec" if change == "interaction" else "BPR_RLMRec", epochs=1)
    checkpoint = last_record().checkpoint
    more = ("--keep", "all") if change == "interaction" else ("--reasons",)
    monkeypatch.setattr(list_files, "LISTS_PER_PART", 10)
    start = ["recommend", "--checkpoint", checkpoint, "--all-users", "--topk", "4", "--format", "jsonl", *more]
    written, calls = list_files._write_text, []

    def interrupted(path, *rest):
        if calls:
            raise KeyboardInterrupt
        calls.append(path)
        written(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(list_files, "_write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute([*start, "-o", "lists.jsonl"])
    if change == "interaction":
        known = (workdir / "dataset/tiny/tiny.inter").read_text()
        free = [f"u1\ti{item}" for item in range(1, 30) if f"u1\ti{item}\t" not in known]
        grow(workdir, *(f"{pair}\t5\t9000" for pair in free[:5]))
    else:
        items = workdir / "dataset/tiny/tiny.item"
        items.write_text(items.read_text().replace("A story of", "A tale about"))
        run("BPR_RLMRec", epochs=1)  # makes the offline default anew
    capsys.readouterr()
    assert execute([*start, "-o", "lists.jsonl"]) == 0
    assert "were there" not in capsys.readouterr().err


@pytest.mark.parametrize("model", ["NeuMF_RLMRec", "MultiVAE_RLMRec"])
def test_con_without_places_for_new_ones_serves_those_it_knows(run, workdir, capsys, model):
    run(model, epochs=1, train_neg_sample_args=None) if model.startswith("Multi") else run(model, epochs=1)
    checkpoint = last_record().checkpoint
    before, _ = lists(capsys, checkpoint, "--all-users")
    grow(workdir)
    after, said = lists(capsys, checkpoint, "--all-users")
    assert names(after) == names(before) and "gained nothing" in said and "served as" not in said
    free = before["u3"][0]["item"]
    grow(workdir, f"u3\t{free}\t5\t9000", "fresh\ti4\t5\t9001")
    after, said = lists(capsys, checkpoint, "--all-users")
    assert "are served as they were then" in said and set(after) == set(before)
    before["u3"] = before["u3"][1:]
    assert names(after) == names(before)
    with pytest.raises(ModelError, match=f"'fresh' came after training, and has no list. .*{model[:5]}"):
        lists(capsys, checkpoint, "--user", "fresh")


def test_texts_that_were_written_anew_keep_nobody_from_what_is_known(run, tiny, workdir, capsys):
    words = ["--dataset", "tiny", "--tag", "mine"]
    assert main(["profile", *words, "--chat-model", "template", "--gpu_id="]) == 0
    assert main(["encode", *words, "--encoder", "lsa", "--dim", "8"]) == 0
    run("LightGCN_RLMRec", semantic_tag="mine", epochs=1)
    checkpoint = last_record().checkpoint
    capsys.readouterr()
    before, _ = lists(capsys, checkpoint, "--all-users")
    assert main(["profile", *words, "--chat-model", "template", "--attribute-fields", "none", "--gpu_id="]) == 0
    assert main(["encode", *words, "--encoder", "lsa", "--dim", "8"]) == 0
    free = before["u3"][0]["item"]
    grow(workdir, f"u3\t{free}\t5\t9000")
    capsys.readouterr()
    after, said = lists(capsys, checkpoint, "--user", "u3")
    assert "not those that the model was trained with" in said and "are served as they were then" in said
    assert [one["item"] for one in after["u3"]] == [one["item"] for one in before["u3"]][1:]


def test_an_item_is_no_reason_for_itself(run, workdir, capsys):
    run("LightGCN_RLMRec", epochs=1)
    checkpoint = last_record().checkpoint
    trained = load_trained(checkpoint)
    tokens, number = trained.tokens("item"), trained.dataset.field2token_id["user_id"]
    for keep, parts in (("none", ("train", "valid", "test")), ("heldout", ("train",)), ("all", ("train", "valid", "test"))):
        found, _ = lists(capsys, checkpoint, "--all-users", "--reasons", "--keep", keep)
        known = trained.items_of(parts)
        for user, items in found.items():
            history = {str(tokens[item]) for item in known.rows(torch.tensor([number[user]]))[1]}
            for one in items:
                assert set(one["because"]) <= history - {one["item"]}
                assert len(one["because"]) == min(2, len(history - {one["item"]}))
