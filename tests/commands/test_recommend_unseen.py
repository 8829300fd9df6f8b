"""``recbole-rlmrec recommend`` with users and items that training never saw."""

from __future__ import annotations

import json

import pytest

from recbole_rlmrec.cli import execute
from recbole_rlmrec.errors import ConfigError, DataError, EncoderError, LeakageError, ModelError, SemanticError
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.runs.unseen import semantic_tag


@pytest.fixture
def checkpoint(run):
    run("AlphaRec", epochs=1)
    return last_record().checkpoint


def recommend(capsys, checkpoint, *argv):
    arguments = ["recommend", "--checkpoint", checkpoint, "--format", "jsonl", "--topk", "40", *map(str, argv)]
    assert execute(arguments) == 0
    return {one["user"]: one["items"] for one in map(json.loads, capsys.readouterr().out.splitlines())}


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


ITEM = "item_id:token\ttitle:token_seq\trelease_year:token\tgenre:token_seq\tdescription:token_seq"


def test_rows_of_item_beyond_the_runs(checkpoint, workdir, capsys):
    before = recommend(capsys, checkpoint, "--user", "u1")
    path = workdir / "dataset/tiny/tiny.item"
    path.write_text(path.read_text() + "n1\tThe comedy number 0\t1980\tcomedy\tA story of comedy.\n")
    found = recommend(capsys, checkpoint, "--user", "u1", "--new-items", path)
    (new,) = [one for one in found["u1"] if one["item"] == "n1"]
    assert new["title"] == "The comedy number 0"
    assert [one["item"] for one in found["u1"] if one is not new] == [one["item"] for one in before["u1"]]
    scores = {one["item"]: one["score"] for one in found["u1"]}
    assert all(scores[one["item"]] == pytest.approx(one["score"], abs=1e-5) for one in before["u1"])


def test_a_copy_of_a_known_item_is_placed_by_the_same_text(checkpoint, workdir, capsys):
    rows = (workdir / "dataset/tiny/tiny.item").read_text().splitlines()
    copied = [row.replace("i7\t", "n7\t", 1) for row in rows if row.startswith("i7\t")]
    items = write(workdir / "new.item", ITEM, *copied)
    trained = load_trained(checkpoint)
    from recbole_rlmrec.runs.newcomers import read_unseen
    from recbole_rlmrec.semantic.load import load_semantic

    unseen, titles, users = read_unseen(trained, items=items)
    known = load_semantic(trained.config, trained.splits[0], report=False).item
    row = known.rows(trained.dataset.field2token_id["item_id"]["i7"] + 0 * known.ids[:1])[0]
    assert unseen.items == ["n7"] and titles == {"n7": "The thriller number 7"} and users == []
    assert unseen.vectors["item"][1][0] == pytest.approx(row.numpy(), abs=1e-4)


def test_new_users_by_history_by_profile_and_both(checkpoint, workdir, capsys):
    items = write(workdir / "items.jsonl", {"item_id": "n1", "profile": "A western drama of 1999.", "title": "Dust"})
    users = write(
        workdir / "users.jsonl",
        {"user_id": "fresh", "history": ["i3", "i5", "n1"]},
        {"user_id": "u2", "history": ["n1"]},
    )
    found = recommend(capsys, checkpoint, "--new-users", users, "--new-items", items)
    assert list(found) == ["fresh", "u2"]
    shown = {one["item"] for one in found["fresh"]}
    assert not shown & {"i3", "i5", "n1"} and len(shown) == 28
    assert "n1" not in {one["item"] for one in found["u2"]}
    everyone = recommend(capsys, checkpoint, "--all-users", "--new-items", items)
    assert len(everyone) == 24 and any(one["title"] == "Dust" for one in everyone["u1"])


def test_new_users_of_a_run_by_profile(run, workdir, capsys):
    run("AlphaRec", epochs=1, user_text="profile")
    users = write(workdir / "users.jsonl", {"user_id": "fresh", "profile": "Watches comedy and drama."})
    found = recommend(capsys, last_record().checkpoint, "--new-users", users)
    assert len(found["fresh"]) == 30
    other = write(
        workdir / "new.user", "user_id:token\tprofile:token_seq\thistory:token_seq", "one\tLikes western.\ti3 i4", "two\t\ti9"
    )
    found = recommend(capsys, last_record().checkpoint, "--new-users", other)
    assert "i4" not in {one["item"] for one in found["one"]} and len(found["two"]) == 29


def test_later_interactions_fold_items_in(checkpoint, workdir, capsys):
    items = write(
        workdir / "items.jsonl", {"item_id": "n1", "profile": "A western drama of 1999."}, {"item_id": "n2", "profile": ""}
    )
    later = write(workdir / "later.inter", "user_id:token\titem_id:token", "u1\tn1", "u3\tn2", "u4\tn2")
    with pytest.raises(SemanticError, match="New item 'n2' has no text and no interaction"):
        recommend(capsys, checkpoint, "--user", "u5", "--new-items", items)
    found = recommend(capsys, checkpoint, "--user", "u1,u5", "--new-items", items, "--interactions", later)
    assert "n1" not in {one["item"] for one in found["u1"]}
    assert {"n1", "n2"} <= {one["item"] for one in found["u5"]}


def test_bad_input(checkpoint, run, workdir, capsys):
    items = write(workdir / "items.jsonl", {"item_id": "n1", "profile": "A western."})
    with pytest.raises(ConfigError, match="for whom"):
        recommend(capsys, checkpoint, "--new-items", items)
    lines = {
        "neither the run nor --new-items has": {"user_id": "x", "history": ["i3", "nothing"]},
        "'history' must be a list": {"user_id": "x", "history": "i3"},
        "'user_id' and 'profile' are required": {"item_id": "x"},
    }
    for message, line in lines.items():
        with pytest.raises(DataError, match=message):
            recommend(capsys, checkpoint, "--new-users", write(workdir / "users.jsonl", line))
    with pytest.raises(DataError, match="line 2: not a JSON object"):
        recommend(capsys, checkpoint, "--new-users", write(workdir / "users.jsonl", {"user_id": "x", "history": []}, "x y"))
    with pytest.raises(DataError, match="comes a second time"):
        recommend(
            capsys,
            checkpoint,
            "--user",
            "u1",
            "--new-items",
            write(workdir / "two.jsonl", *[{"item_id": "n", "profile": "a"}] * 2),
        )
    with pytest.raises(DataError, match="holds no item that the run does not have"):
        recommend(capsys, checkpoint, "--user", "u1", "--new-items", "dataset/tiny/tiny.item")
    with pytest.raises(DataError, match="is not there"):
        recommend(capsys, checkpoint, "--user", "u1", "--new-items", "nowhere.item")
    with pytest.raises(SemanticError, match="New user 'x' has no text and no interaction"):
        recommend(capsys, checkpoint, "--new-users", write(workdir / "users.jsonl", {"user_id": "x", "history": []}))
    with pytest.raises(DataError, match="neither a column history"):
        recommend(capsys, checkpoint, "--new-users", write(workdir / "new.user", "user_id:token\tage:token", "x\t20"))
    run("BPR")
    with pytest.raises(ModelError, match="BPR knows users and items by their ids alone"):
        recommend(capsys, last_record().checkpoint, "--user", "u1", "--new-items", items)


def test_texts_made_from_held_out_interactions(checkpoint, workdir, capsys):
    trained = load_trained(checkpoint)
    test = trained.splits[2].inter_feat
    pair = [str(trained.tokens(side)[int(test[f"{side}_id"][0])]) for side in ("user", "item")]
    items = write(workdir / "items.jsonl", {"item_id": "n1", "profile": "As good as another one.", "pairs": [pair]})
    with pytest.raises(LeakageError, match="quote 1 interaction"):
        recommend(capsys, checkpoint, "--user", "u1", "--new-items", items)


def test_embeddings_of_a_server_are_not_made_here(checkpoint, workdir, capsys):
    tag = semantic_tag(load_trained(checkpoint))
    manifest = workdir / "dataset/tiny/semantic" / tag / "embeddings/lsa/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "server": "somewhere"}))
    items = write(workdir / "items.jsonl", {"item_id": "n1", "profile": "A western."})
    with pytest.raises(EncoderError, match="behind a server or elsewhere"):
        recommend(capsys, checkpoint, "--user", "u1", "--new-items", items)


def test_conditions_see_the_columns_of_new_items_and_ids(checkpoint, workdir, capsys):
    items = write(workdir / "new.item", ITEM, "n1\tThe comedy number 0\t2050\tcomedy\tA story of comedy.")
    found = recommend(capsys, checkpoint, "--user", "u1", "--new-items", items, "--where", "release_year >= 2009")
    assert {one["item"] for one in found["u1"]} == {"n1", "i29"}
    found = recommend(capsys, checkpoint, "--user", "u1", "--new-items", items, "--where", "item_id in ('n1', 'i29')")
    assert {one["item"] for one in found["u1"]} == {"n1", "i29"}
    lines = write(workdir / "new.jsonl", {"item_id": "n2", "profile": "A comedy."})
    command = ["recommend", "--checkpoint", checkpoint, "--user", "u1", "--new-items", str(lines)]
    assert execute([*command, "--where", "release_year > 0"]) == 0
    said = capsys.readouterr()
    assert "n2" not in said.out and "1 of 31 items have no row with columns" in said.err
