"""Tables of a trained model for a service, and similar items."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recbole_rlmrec.cli import execute, main
from recbole_rlmrec.errors import ConfigError, ModelError, StoreError
from recbole_rlmrec.exchange.serving import export_tables
from recbole_rlmrec.plugin.record import last_record
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.semantic.load import load_semantic


def test_tables_and_similar_items(run, workdir, capsys):
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    run("LightGCN_RLMRec")
    checkpoint = last_record().checkpoint
    trained = load_trained(checkpoint)
    execute(["recommend", "--checkpoint", checkpoint, "--user", "u3", "--format", "jsonl", "--topk", "5"])
    listed = json.loads(capsys.readouterr().out)["items"]

    assert execute(["export", "--checkpoint", checkpoint, "-o", "tables"]) == 0
    assert "24 users and 30 items, 8 dimensions, as parquet" in capsys.readouterr().out
    users, items = (pq.read_table(f"tables/{side}s.parquet").to_pylist() for side in ("user", "item"))
    vectors = {row["id"]: np.array(row["vector"]) for row in items}
    (mine,) = [np.array(row["vector"]) for row in users if row["id"] == "u3"]
    assert [vectors[one["item"]] @ mine for one in listed] == pytest.approx([one["score"] for one in listed], abs=1e-5)
    assert {row["id"]: row["title"] for row in items}["i4"] == "The romance number 4"
    about = json.loads((workdir / "tables/about.json").read_text())
    assert about["model"] == "LightGCN_RLMRec" and len(about["split_hash"]) == 64 and about["dim"] == 8

    assert execute(["export", "--checkpoint", checkpoint, "-o", "other", "--format", "safetensors"]) == 0
    found = load_file("other/tables.safetensors")
    tokens = json.loads((workdir / "other/items.tokens.json").read_text())
    assert np.array_equal(found["items"][tokens.index("i4")], vectors["i4"].astype(np.float32))
    assert main(["export", "--checkpoint", checkpoint, "-o", "other"]) == 2
    assert "exists already" in capsys.readouterr().err

    _check_index(trained, workdir, checkpoint, capsys)
    _check_similar(trained, checkpoint, vectors, capsys)


def _check_index(trained, workdir, checkpoint, capsys):
    faiss = pytest.importorskip("faiss")
    assert execute(["export", "--checkpoint", checkpoint, "-o", "indexed", "--index", "HNSW8"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    about = json.loads((workdir / "indexed/about.json").read_text())["index"]
    assert said.startswith(f"items.faiss: HNSW8, recall@10 {about['recall@10']:.4f} of 24 users")
    index = faiss.read_index("indexed/items.faiss")
    users, items = (table[1:].numpy() for table in trained.tables)
    exact = np.argsort(-users @ items.T, axis=1)[:, :10]
    hits = [len(set(row) & set(best)) for row, best in zip(index.search(users, 10)[1].tolist(), exact.tolist())]
    assert about["recall@10"] == pytest.approx(np.mean(hits) / 10, abs=0.02)
    with pytest.raises(ConfigError, match="faiss cannot make the index 'Nothing'"):
        export_tables(trained, workdir / "none", index="Nothing")
    assert not list(workdir.glob("*none*"))


def _check_similar(trained, checkpoint, vectors, capsys):
    start = ["similar", "--checkpoint", checkpoint]
    tokens = [str(token) for token in trained.tokens("item")[1:]]
    table = np.stack([vectors[token] for token in tokens])
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    trained.config["semantic_tag"] = None
    texts = load_semantic(trained.config, trained.splits[0], report=False).item
    rows = texts.rows(texts.ids).numpy()
    rows = rows - rows.mean(0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    place = tokens.index("i4")
    expected = {"behaviour": unit @ unit[place], "text": rows @ rows[place]}
    expected["both"] = (expected["behaviour"] + expected["text"]) / 2
    for by, cosines in expected.items():
        assert (
            execute(["similar", "--checkpoint", checkpoint, "--item", "i4", "--by", by, "--format", "jsonl", "--topk", "4"])
            == 0
        )
        found = json.loads(capsys.readouterr().out)
        best = np.sort(np.delete(cosines, place))[::-1][:4]
        assert found["item"] == "i4" and [one["score"] for one in found["items"]] == pytest.approx(best.tolist(), abs=1e-5)
        assert [cosines[tokens.index(one["item"])] for one in found["items"]] == pytest.approx(best.tolist(), abs=1e-5)
    assert (
        execute(["similar", "--checkpoint", checkpoint, "--all-items", "--format", "csv", "-o", "all.csv", "--topk", "2"]) == 0
    )
    capsys.readouterr()
    with open("all.csv") as file:
        assert file.readline() == "item,rank,similar,title,score\n" and len(file.readlines()) == 60
    for argv, wanted in (
        ((), "similar needs to know"),
        (("--item", "nothing"), "no item 'nothing'"),
        (("--item", "i4", "--topk", "0"), "--topk"),
        (("--item", "i4", "--by", "text", "--tag", "none"), "none"),
        (("--item", "i4", "--format", "parquet"), "--output"),
    ):
        assert main([*start, *argv]) == 2
        assert wanted in capsys.readouterr().err.splitlines()[-1]


def test_models_without_tables_are_refused(run, workdir):
    run("ItemKNN", epochs=1)
    trained = load_trained(last_record().checkpoint)
    with pytest.raises(ModelError, match="ItemKNN are no products"):
        export_tables(trained, workdir / "tables")
    assert not (workdir / "tables").exists()
    with pytest.raises(StoreError, match="exists"):
        export_tables(trained, workdir / "dataset")


def test_texts_of_another_tag_are_compared_whatever_the_model_has_read(run, workdir, capsys):
    run("AlphaRec", epochs=1, semantic_dim=8)
    lines = [json.dumps({"item_id": f"i{item}", "profile": f"Word{item % 3} of {item}."}) for item in range(30)]
    (workdir / "mine.jsonl").write_text("\n".join(lines))
    where = ("--dataset", "tiny", "--tag", "mine")
    assert execute(["import", "mine.jsonl", *where]) == 0 and execute(["encode", *where, "--encoder", "lsa"]) == 0
    start = ["similar", "--checkpoint", last_record().checkpoint, "--item", "i4", "--by", "text", "--format", "jsonl"]
    capsys.readouterr()
    found = [[execute([*start, *more]), capsys.readouterr().out] for more in ([], ["--tag", "mine"])]
    assert found[0][0] == found[1][0] == 0 and found[0][1] != found[1][1]
