"""``recbole-rlmrec advise``: what is measured, which rule counts, and that the page explains every rule."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recbole_rlmrec.cli import execute
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import LeakageError, SemanticError
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.experiments import rules
from recbole_rlmrec.experiments.advice import Measures, measure_dataset
from recbole_rlmrec.experiments.cells.options import parse_options, read_options
from recbole_rlmrec.experiments.cells.study import Study
from recbole_rlmrec.experiments.rules import RULES, advise, said
from recbole_rlmrec.model.lookup import find_model
from recbole_rlmrec.runs.split import draw_split, make_config

OPTIONS = {"gpu_id": ""}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "choose.md"
PLAIN = Measures(
    users=100, items=200, interactions=3000, density=0.15, per_user=30, per_item=15, unseen=0.0, texts="tag x",
    covered_items=1.0, covered_users=1.0, words=40, popularity=0.05, knn=0.2, text=0.1, blend=0.2, share=0.0,
)  # fmt: skip


def test_measures_of_a_small_data_set(tiny):
    found = measure_dataset("tiny", OPTIONS)
    data, splits = draw_split(make_config("LightGCN_RLMRec", "tiny", OPTIONS))
    train = splits[0].inter_matrix(form="csr").toarray() > 0
    assert (found.users, found.items, found.interactions) == (24, data.item_num - 1, train.sum())
    assert found.per_user == np.median(train[1:].sum(axis=1)) and found.per_item == np.median(train[:, 1:].sum(axis=0))
    held = np.concatenate([split.inter_feat["item_id"].numpy() for split in splits[1:]])
    assert found.unseen == pytest.approx((train.sum(axis=0)[held] == 0).mean())
    assert found.covered_items == 1.0 and found.covered_users == 0.0 and found.words > 5
    assert found.blend == max(found.blend, found.knn, found.text) and 0 <= found.share <= 1
    assert all(0 <= value <= 1 for value in (found.popularity, found.knn, found.text))


def test_no_text(tiny, workdir):
    (workdir / "dataset/tiny/tiny.item").unlink()
    found = measure_dataset("tiny", OPTIONS)
    assert (found.covered_items, found.text, found.gain, found.words) == (0.0, 0.0, 0.0, 0.0)
    assert advise(found)[0].name == "no text"


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"covered_items": 0.0, "unseen": 0.9}, "no text"),
        ({"unseen": 0.3}, "new items"),
        ({"per_item": 1, "blend": 0.25, "share": 0.5}, "thin and telling"),
        ({"per_item": 1, "blend": 0.25, "share": 0.5, "popularity": 0.24}, "popular"),
        ({"per_item": 15, "blend": 0.25, "share": 0.5}, "telling"),
        ({"blend": 0.202}, "level"),
        ({"knn": 0.0, "blend": 0.0}, "level"),
        ({"knn": 0.0, "per_item": 1, "share": 1.0}, "thin and telling"),
    ],
)
def test_which_rule_counts(changes, name):
    measures = replace(PLAIN, **changes)
    rule, _ = advise(measures)
    assert rule.name == name and "inf" not in said(rule, measures)


def test_remarks():
    names = [one.name for one in advise(replace(PLAIN, covered_items=0.3, words=3, popularity=0.5))[1]]
    assert names == ["coverage", "few words", "popularity"] and not advise(PLAIN)[1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_comparison_has_the_run_that_is_advised(rule, tiny, workdir):
    """One of its cells has the model and the options of the advice."""
    compare, advised = (dict(re.findall(r"--(\w+) (\S+)", text)) for text in (rule.compare, rule.use))
    options = [f"--{key}={value}" for key, value in compare.items() if key != "variants"]
    place = type("Runner", (), {"folder": (workdir / "out").resolve(), "jobs": 1})()
    given = frozenset(read_options(options))
    study = Study("compare", "tiny", place, ["LightGCN"], [2020], parse_options(options), given)
    defaults = {"loss": "softmax" if advised["model"] == "AlphaRec" else "bpr", "alignment": "none"}
    wanted = {"initial_embeddings": None, **defaults, **advised}
    found = []
    for variant in compare["variants"].split(","):
        cell = study.cell("LightGCN", variant, 2020)
        mine = {"initial_embeddings": None, **defaults, **cell.options, "model": cell.runs}
        found.append({key: mine[key] for key in wanted})
    assert wanted in found


def test_the_models_exist_and_the_page_has_every_rule_and_threshold():
    for rule in RULES:
        assert find_model(rule.use.split("--model ")[1].split()[0])
    page = PAGE.read_text()
    for rule in (*RULES, *rules.REMARKS):
        assert f"**{rule.name}**" in page
        assert not rule.use or rule.use in page
    for share in (rules.UNSEEN, rules.GAIN_LARGE, rules.GAIN_SMALL, rules.COVERAGE):
        assert f"{share:.0%}" in page
    assert f"{rules.THIN} training interactions" in page and f"{rules.WORDS} words" in page


def test_the_command(tiny, workdir, capsys):
    assert execute(["advise", "--dataset", "tiny", "--gpu_id="]) == 0
    text = capsys.readouterr().out
    assert (
        "users, items" in text and "Begin with: recbole-rlmrec run --dataset tiny --gpu_id= --model" in text and "Why (" in text
    )
    for tag in ("one", "two"):
        (workdir / "p.jsonl").write_text('{"item_id": "i1", "profile": "A quiet drama about a cook."}\n')
        import_profiles(workdir / "p.jsonl", workdir / "dataset/tiny/semantic", "tiny", tag)
    with pytest.raises(SemanticError, match="several sets of profiles"):
        execute(["advise", "--dataset", "tiny", "--gpu_id="])
    assert execute(["advise", "--dataset", "tiny", "--gpu_id=", "--tag", "two", "--encoding", "latin 1"]) == 0
    said = capsys.readouterr().out
    assert "tag two" in said
    for command in ("run", "experiment compare"):
        assert f"recbole-rlmrec {command} --dataset tiny --semantic_tag=two --gpu_id= '--encoding=latin 1' --" in said


@pytest.mark.parametrize("encoded", [False, True])
def test_profiles_that_quote_what_the_run_holds_out_are_not_measured(tiny, workdir, encoded):
    _, splits = draw_split(make_config("LightGCN_RLMRec", "tiny", OPTIONS))
    feat = splits[2].inter_feat
    user, item = (splits[2].id2token(name, feat[name][0].item()) for name in ("user_id", "item_id"))
    (workdir / "p.jsonl").write_text(json.dumps({"item_id": item, "profile": "Loved.", "pairs": [[user, item]]}) + "\n")
    root = workdir / "dataset/tiny/semantic"
    import_profiles(workdir / "p.jsonl", root, "tiny", "told")
    if encoded:
        encode_tag(root / "told", "lsa", show_progress=False)
    with pytest.raises(LeakageError, match="1 interaction of this run's validation or test split"):
        measure_dataset("tiny", OPTIONS, "told")
