"""Experiments with sequential backbones: their split, their variants, their search spaces, what is measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from launchers import SMALL, run_experiment

from recbole_rlmrec.data.atomic import read_atomic
from recbole_rlmrec.errors import ConfigError, ModelError, StoreError
from recbole_rlmrec.experiments.cells.cell import Cell, Outcome
from recbole_rlmrec.experiments.cells.data import frozen_data
from recbole_rlmrec.experiments.cells.variants import VARIANTS
from recbole_rlmrec.experiments.groups import recall_of
from recbole_rlmrec.experiments.search.space import search_space, space_size
from recbole_rlmrec.plugin.per_user import _once, _ranks
from recbole_rlmrec.runs.trained import load_trained

SEQUENTIAL = ("base", "con", "gen", "init", "semantic", "text")
ONE = ("--epochs=1", "--eval_step=1", "--hidden_size=8", *SMALL)


def study(launcher, name, *more, models="GRU4Rec"):
    where = ("--dataset", "tiny", "--output", "out", "--seeds", "1", "--models", models)
    assert run_experiment(launcher, name, *where, *more, *ONE) == 0
    with open(f"out/{name}/results.json") as file:
        return json.load(file)


def test_sequential_and_other_backbones_share_a_split_that_leaves_the_last_two_out(tiny, workdir, here):
    results = study(here, "compare", "--variants", "con,text", models="GRU4Rec,BPR")
    folders = {(cell["model"], cell["variant"]): workdir / "out" / cell["folder"] for cell in results["cells"]}
    assert set(folders) == {(model, variant) for model in ("GRU4Rec", "BPR") for variant in ("con", "text")}
    rows = read_atomic(workdir / "dataset/tiny/tiny.inter").table
    rows = rows.sort_values("timestamp", key=lambda times: times.astype(float))
    own = {user: items.tolist() for user, items in rows.groupby("user_id")["item_id"]}
    for part, place in (("valid", -2), ("test", -1)):
        held = read_atomic(workdir / f"out/data/tiny-split/tiny-split.{part}.inter").table
        assert dict(zip(held["user_id"], held["item_id"])) == {user: items[place] for user, items in own.items()}
    settings = {key: json.loads((folder / "cell.json").read_text())["options"] for key, folder in folders.items()}
    assert "loss" not in settings["GRU4Rec", "text"] and settings["BPR", "text"]["loss"] == "softmax"
    assert settings["GRU4Rec", "text"]["semantic_input"] == "replace"
    users = json.loads((folders["GRU4Rec", "con"] / "users.json").read_text())["users"]
    assert len(users) == len(set(users)) == 24
    known = load_trained(folders["GRU4Rec", "con"] / "model.pth")
    history = known.histories.inputs(known.user_ids(["u3"]))["item_id_list"][0]
    assert [str(known.tokens("item")[item]) for item in history if item] == own["u3"][:-1]


def test_cold_items_are_served_by_texts_in_sequences(tiny, workdir, here):
    results = study(here, "cold", "--variants", "con,text", "--share", "0.3")
    means = {one["variant"]: one for one in results["means"]}
    assert means["con"]["recall@10 cold"] == 0 < means["text"]["recall@10 cold"]
    assert all(means[variant]["recall@10 warm"] > 0 for variant in ("con", "text"))
    with pytest.raises(ConfigError, match="GRU4Rec knows users by their sequences"):
        study(here, "cold", "--variants", "base", "--side", "users")


def test_what_scores_items_by_other_than_their_texts_is_no_variant_for_cold_items(tiny, here):
    with pytest.raises(ModelError, match="RepeatNet_Semantic .* scores an item by weights of its own"):
        study(here, "cold", "--variants", "base,text", models="GRU4Rec,RepeatNet")
    assert not here.started


def test_every_variant_of_a_sequential_backbone_has_as_many_points_and_only_options_that_it_takes(tiny, here):
    spaces = {variant: search_space("SASRec", variant) for variant in SEQUENTIAL}
    assert {space_size(space) for space in spaces.values()} == {4 * 60}
    assert not any({"loss", "softmax_temperature"} & set(space["choice"]) for space in spaces.values())
    assert all("loss" not in VARIANTS[variant].options_for("SASRec") for variant in SEQUENTIAL)
    assert space_size(search_space("LightGCN", "text")) == space_size(search_space("LightGCN", "semantic"))
    with pytest.raises(ModelError, match="GRU4Rec has no variant softmax: sequential recommenders have loss_type for that"):
        study(here, "compare", "--variants", "base,softmax")


def test_users_with_several_rows_count_once():
    rows = np.array([7, 2, 7, 9, 2, 7])
    ids, last, place, counts = _once(rows)
    assert (ids.tolist(), last.tolist(), counts.tolist()) == ([7, 2, 9], [5, 4, 3], [3, 2, 1])
    assert (ids[place] == rows).all()


SEVERAL = "--eval_args={'split': {'RS': [0.6, 0.2, 0.2]}, 'order': 'TO', 'mode': 'full', 'group_by': 'user'}"


def rows_of(workdir, cell):
    """The outcome of a cell, its test targets that have a sequence, and the training rows."""
    outcome = Outcome(Cell("GRU4Rec", "base", 2020, "GRU4Rec_RLMRec", "tiny-split", {}), workdir / "out" / cell["folder"])
    data = frozen_data(workdir / "out" / "data" / "tiny-split")
    return outcome, data.pairs("test"), data.pairs("train")


def test_each_test_row_is_looked_up_in_its_own_list(tiny, workdir, here):
    (cell,) = study(here, "compare", "--variants", "base", SEVERAL)["cells"]
    outcome, test, _ = rows_of(workdir, cell)
    assert test["user"].duplicated().any()
    recall = recall_of(outcome, test)
    for name in recall:
        assert np.allclose(recall[name].sort_index(), outcome.users[name].sort_index(), atol=1e-6)
    ranks = outcome.ranks_of(test)
    assert len(ranks) == len(test) and ranks["rank"].max() < 10
    first = outcome.ranks_of(test.drop_duplicates("user"))
    assert len(first) == test["user"].nunique() and first.merge(ranks).equals(first)
    last = test.drop_duplicates("user", keep="last").set_index("user")["item"]
    in_top = [item in set(outcome.top_items.loc[user]) for user, item in last.items()]
    assert (outcome.ranks_of(last.reset_index())["rank"].notna() == in_top).all()


def test_items_that_training_never_saw_have_a_group_of_their_own(tiny, workdir, here):
    """Test interactions by their items' training interactions, counted by hand; hits weighted by rows are those of the run."""
    results = study(here, "groups", "--variants", "base,text", "--groups", "3", SEVERAL)
    outcome, test, train = rows_of(workdir, results["cells"][0])
    counts = train["item"].value_counts().reindex(test["item"], fill_value=0).to_numpy()
    parts = [row for row in results["groups"] if row["by"] == "item popularity" and row["variant"] == "base"]
    assert {row["metric"] for row in parts} == {"recall@10"} and len(parts) >= 2
    assert (0 in counts) == ((parts[0]["from"], parts[0]["to"]) == (0, 0))
    for row in parts:
        mine = test[(counts >= row["from"]) & (counts <= row["to"])]
        hits = outcome.ranks_of(mine).assign(hit=lambda table: table["rank"].notna())
        assert row["values"] == pytest.approx([hits.groupby("user")["hit"].mean().mean()])


def test_cells_that_do_not_say_what_has_a_list_are_refused(tiny, workdir, here):
    (cell,) = study(here, "compare", "--variants", "base", SEVERAL)["cells"]
    path = workdir / "out" / cell["folder"] / "users.json"
    about = json.loads(path.read_text())
    del about["by_row"]
    path.write_text(json.dumps(about))
    outcome, test, _ = rows_of(workdir, cell)
    with pytest.raises(StoreError, match="does not say what has a list"):
        recall_of(outcome, test)


def test_places_in_the_lists():
    top = np.array([[4, 2, 9], [1, 3, 5], [7, 8, 6]])
    assert _ranks(top, np.array([9, 2, 7])).tolist() == [2, -1, 0]
