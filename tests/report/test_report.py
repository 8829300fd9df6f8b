"""``recbole-rlmrec report`` from results folders to the page."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from launchers import QUICK, HereLauncher, run_experiment

from recbole_rlmrec.cli import main
from recbole_rlmrec.data.files import write_json
from recbole_rlmrec.errors import DataError, ModelError, StoreError
from recbole_rlmrec.report import browser as browser_module
from recbole_rlmrec.report.build import write_report
from recbole_rlmrec.report.sources import experiment_command, read_sources


class Page(HTMLParser):
    """Elements with what their scripts say, and all text outside scripts and styles."""

    def __init__(self, source: str):
        super().__init__()
        self.elements, self.scripts, self.text, self.inside = [], [], "", None
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inside = tag
            self.scripts.append("") if tag == "script" else None

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside is None:
            self.text += data

    def data(self) -> dict:
        return json.loads(self.scripts[0])

    def sections(self) -> list[str]:
        return [attributes["id"] for tag, attributes in self.elements if tag == "section"]


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_every_section_whose_data_is_there(page):
    order = ["glance", "results", "curves", "ablation", "noise", "groups", "efficiency", "map", "profiles", "missing"]
    assert page.sections() == order
    assert "recbole-rlmrec experiment pretrain --dataset nasty --models LightGCN --seeds 2" in page.text
    assert "experiment noise --dataset" not in page.text


def test_nothing_from_data_is_markup(page, report):
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not [tag for tag, _ in page.elements if tag in ("img", "b")]
    source = report.read_text(encoding="utf-8")
    assert "\u2028" not in page.scripts[0] and "<" not in page.scripts[0]
    assert "<script>window.broken" not in source
    assert "<b>&</b>" in page.text


def test_nothing_is_loaded_from_elsewhere(page):
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data"):
            assert re.match(r"#|data:,", attributes.get(name, "#")), attributes
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_the_browser_shows_what_the_cells_found(page, results):
    browser = page.data()["browser"]
    assert browser["variants"] == ["base", "con", "gen"] and browser["spaces"] == ["semantic", "base", "con", "gen"]
    cells = json.loads((results / "compare" / "results.json").read_text())["cells"]
    users, items = browser["names"]["user"], browser["names"]["item"]
    for variant in browser["variants"]:
        (cell,) = [c for c in cells if (c["variant"], c["seed"]) == (variant, 2020)]
        about = json.loads((results / cell["folder"] / "users.json").read_text())
        ranked = np.load(results / cell["folder"] / "users.top.npy")
        values = np.load(results / cell["folder"] / "users.values.npy")
        for entry in browser["entries"]["user"]:
            if users[entry["i"]] in about["users"]:
                row = about["users"].index(users[entry["i"]])
                assert [items[i] for i, _ in entry["top"][variant]] == [about["items"][i] for i in ranked[row]]
                shares = sum(hit for _, hit in entry["top"][variant]) / entry["tests"]
                assert shares == pytest.approx(values[row, about["metrics"].index("recall@10")], abs=1e-6)
    (first,) = [entry for entry in browser["entries"]["item"] if items[entry["i"]] == "i1"]
    assert "window.broken = 1" in browser["texts"][first["p"]]
    assert browser["titles"][first["i"]] == "<img src=x onerror='window.broken = 3'"


def test_kar_is_on_the_map_and_in_the_browser(results, tmp_path, monkeypatch):
    monkeypatch.chdir(results.parent)
    data = ("--dataset", "nasty", "--output", str(tmp_path / "kar"), "--semantic_tag=made", "--gpu_id=")
    assert run_experiment(HereLauncher(), "compare", "--variants", "base,kar", "--seeds", "1", *data, *QUICK) == 0
    missing = write_report([tmp_path / "kar"], tmp_path / "r.html", projection="pca")
    assert not [one for one in missing if "map" in one.what.lower()]
    browser = Page((tmp_path / "r.html").read_text(encoding="utf-8")).data()["browser"]
    assert browser["variants"] == ["base", "kar"] and browser["spaces"] == ["semantic", "base", "kar"]


def test_a_variant_without_texts_does_not_hide_the_profiles_of_the_others(results, tmp_path, monkeypatch):
    monkeypatch.chdir(results.parent)
    folder = tmp_path / "two words"
    data = ("--dataset", "nasty", "--output", str(folder), "--semantic_tag=made", "--gpu_id=")
    assert run_experiment(HereLauncher(), "compare", "--variants", "base,softmax,con", "--seeds", "1", *data, *QUICK) == 0
    missing = write_report([folder], tmp_path / "r.html", projection="pca")
    assert not [one for one in missing if "no profiles" in one.why or "None" in one.why or "map" in one.what.lower()]
    browser = Page((tmp_path / "r.html").read_text(encoding="utf-8")).data()["browser"]
    assert browser["spaces"] == ["semantic", "base", "softmax", "con"] and any("p" in one for one in browser["entries"]["item"])
    assert {shlex.split(one.command)[-1] for one in missing if "--output" in one.command} == {str(folder)}


def test_what_is_missing_is_run_with_the_options_of_what_is_there(results, tmp_path, monkeypatch):
    monkeypatch.chdir(results.parent)
    (params := tmp_path / "my best.yaml").write_text("LightGCN: {con: {align_weight: 0.1}}", encoding="utf-8")
    options = ["--variants", "con", "--seeds=1", "--params", str(params), "--semantic-tag", "made", "--gpu_id=", "--resplit"]
    words = ["compare", "--dataset", "nasty", "-o", str(tmp_path / "r"), *options, "--item_inter_num_interval=[1, inf)", *QUICK]
    monkeypatch.setattr("sys.argv", ["recbole-rlmrec", "experiment", *words])
    assert run_experiment(HereLauncher(), *words) == 0
    missing = write_report([tmp_path / "r"], tmp_path / "r.html", projection="pca")
    commands = [shlex.split(one.command) for one in missing if "--output" in one.command]
    assert commands
    for command in commands:
        shared = {f"--params={params}", "--semantic-tag=made", "--gpu_id=", "--resplit", "--item_inter_num_interval=[1, inf)"}
        assert shared <= set(command)
        assert not {"con", "--variants=con", "-o", "--prune"} & set(command)
        assert command.count("--dataset") == 1 and not [word for word in command if word.startswith("--dataset=")]


def test_limit_is_kept_and_said(results, report, tmp_path):
    write_report([results], tmp_path / "r.html", projection="pca", limit=5)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    browser = page.data()["browser"]
    assert [len(browser["entries"][side]) for side in ("user", "item")] == [5, 5]
    assert "5 of 16 users and 5 of 20 items" in page.text and "first in each order of the list" in page.text
    whole = Page(report.read_text(encoding="utf-8")).data()["browser"]
    for side in ("user", "item"):
        counts = [sorted(entry["n"] for entry in found["entries"][side]) for found in (whole, browser)]
        assert counts[1][-1] == counts[0][-1] and counts[1][0] == counts[0][0]
        assert browser["known"][side] == len(whole["entries"][side]) and not whole["lacking"][side]


def test_equal_texts_are_stored_once_and_long_ones_make_fewer(results, tmp_path, monkeypatch, page):
    texts = page.data()["browser"]["texts"]
    assert len(set(texts)) == len(texts) and all(texts)
    monkeypatch.setattr(browser_module, "BYTES", 12_000)
    write_report([results], tmp_path / "r.html", projection="pca")
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    browser = Page(source).data()["browser"]
    assert 0 < len(browser["entries"]["user"]) < 16 and 0 < len(browser["entries"]["item"]) < 20
    assert len(json.dumps(browser)) < 40_000


def test_curves_keep_base_and_alignment_loss_apart(page):
    figures = [f for f in page.data()["figures"] if "LightGCN" in f and f["LightGCN"][0]["title"].endswith("at validation")]
    valid, *losses = figures[0]["LightGCN"]
    names = {figure["title"]: {trace["name"] for trace in figure["data"]} for figure in losses}
    aligned = names.pop("Alignment loss")
    assert aligned == {"con", "gen"} and names
    assert all(variants == {"base", "con", "gen"} for variants in names.values())
    assert {len(trace["y"]) for trace in valid["data"]} == {2}


def test_an_experiment_that_was_stopped(results, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results / "data", out / "data")
    shutil.copy(results / "folder.json", out)
    cells = json.loads((results / "compare" / "results.json").read_text())["cells"]
    for cell in cells[:2]:
        shutil.copytree(results / cell["folder"], out / cell["folder"])
    write_json(out / "compare" / "plan.json", {"format": 1, "cells": cells})
    assert main(["report", str(out), "-o", str(tmp_path / "r.html"), "--projection", "pca"]) == 0
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.sections() == ["glance", "results", "curves", "map", "profiles", "missing"]
    assert f"not finished: these are 2 of its {len(cells)} cells" in page.text
    command = "recbole-rlmrec experiment compare --variants base,con --seeds 9 --models LightGCN --embedding_size=8 --output x"
    write_json(out / "compare" / "plan.json", {"format": 1, "command": command, "cells": cells})
    words = shlex.split(experiment_command(read_sources([out]), "compare", " --checkpoints first"))
    seeds = len({cell["seed"] for cell in cells})
    assert {"--embedding_size=8", "--variants=base,con"} <= set(words) and words[words.index("--seeds") + 1] == str(seeds)


def test_a_stopped_search_is_no_comparison(results, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(results / "cells", out / "cells")
    shutil.copy(results / "folder.json", out)
    cells = json.loads((results / "compare" / "results.json").read_text())["cells"]
    write_json(out / "tune" / "plan.json", {"format": 1, "cells": cells})
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 2
    assert "no finished cell of an experiment that can be shown half-done" in capsys.readouterr().err


def test_cells_are_named_as_their_experiment_names_them(results, tmp_path):
    """A cell that another experiment ran first has that one's setting in its own record."""
    out = tmp_path / "out"
    shutil.copytree(results, out)
    for cell in json.loads((results / "compare" / "results.json").read_text())["cells"]:
        path = out / cell["folder"] / "cell.json"
        write_json(path, {**json.loads(path.read_text()), "setting": {"noise": "0%"}})
    assert [one.what for one in write_report([out], tmp_path / "r.html", projection="pca")] == ["Pretraining"]
    sections = Page((tmp_path / "r.html").read_text(encoding="utf-8")).sections()
    assert {"curves", "map", "profiles"} < set(sections)


def test_without_trained_models_there_is_no_map(results, tmp_path, capsys):
    out = tmp_path / "moved"
    shutil.copytree(results, out, ignore=shutil.ignore_patterns("model.pth"))
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 0
    assert "no trained model was kept" in capsys.readouterr().out
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "map" not in page.sections() and page.data()["browser"]["spaces"] == ["semantic"]


def test_data_that_moved_with_the_folder_is_found(results, tmp_path):
    out = tmp_path / "moved"
    shutil.copytree(results, out)
    for path in out.glob("cells/*/cell.json"):
        record = json.loads(path.read_text())
        record["options"] |= {"data_path": "/nowhere", "semantic_path": "/nowhere"}
        write_json(path, record)
    missing = write_report([out], tmp_path / "r.html", projection="pca")
    assert [one.what for one in missing] == ["Pretraining"]


def test_without_profiles_the_rest_is_there(results, tmp_path):
    out = tmp_path / "bare"
    shutil.copytree(results, out)
    for path in out.glob("cells/*/cell.json"):
        record = json.loads(path.read_text())
        record["options"] |= {"semantic_path": str(tmp_path)}
        write_json(path, record)
    shutil.rmtree(next(out.glob("data/*/semantic")))
    missing = write_report([out], tmp_path / "r.html", projection="pca")
    assert "there are no profiles in" in missing[-1].why
    assert "results" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).sections()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder, results: None, "is no folder"),
        (lambda folder, results: folder.mkdir(), "is empty; fill it with `recbole-rlmrec experiment compare"),
        (lambda folder, results: (folder.mkdir(), (folder / "a.txt").write_text("a")), "holds no experiment"),
        (lambda folder, results: write_json(folder / "folder.json", {"dataset": "nasty"}), "has no finished cell of"),
        (lambda folder, results: write_json(folder / "folder.json", {}), "does not name a dataset"),
    ],
)
def test_bad_folders(results, tmp_path, make, said, capsys):
    make(tmp_path / "out", results)
    assert main(["report", str(tmp_path / "out"), "-o", str(tmp_path / "r.html")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_another_dataset_or_split_is_not_mixed_in(results, tmp_path):
    write_json(tmp_path / "a" / "folder.json", {"dataset": "other", "digest": "1"})
    with pytest.raises(DataError, match="holds results of dataset 'nasty' and .* of 'other'; make a report of each"):
        read_sources([results, tmp_path / "a"])
    write_json(tmp_path / "b" / "folder.json", {"dataset": "nasty", "digest": "1"})
    with pytest.raises(DataError, match="on different splits or files"):
        read_sources([results, tmp_path / "b"])


def test_part_of_a_folder_and_broken_files(results, tmp_path):
    with pytest.raises(DataError, match="is part of a results folder; give "):
        read_sources([results / "compare"])
    shutil.copy(shutil.copytree(results, tmp_path / "out") / "folder.json", tmp_path)
    (tmp_path / "out" / "noise" / "results.json").write_text("{")
    with pytest.raises(StoreError, match="results.json cannot be read"):
        read_sources([tmp_path / "out"])


def test_a_model_that_is_not_there(results, tmp_path):
    with pytest.raises(ModelError, match="no aligned run of 'SGL' here; models there: LightGCN"):
        write_report([results], tmp_path / "r.html", model="SGL")


def test_bad_options(results, tmp_path, capsys):
    assert main(["report", str(results), "--limit", "0"]) == 2
    assert main(["report", str(results), "-o", str(tmp_path)]) == 2
    assert main(["report", str(results), "--epohcs=3"]) == 2
    said = capsys.readouterr().err
    assert "--limit is 1 or more" in said and "is a folder; say which file" in said and "did you mean --epochs" in said
