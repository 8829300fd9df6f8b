"""Folders of embeddings: one for each encoder, whatever the folders of the models are called."""

from __future__ import annotations

import json
from pathlib import Path

from recbole_rlmrec.data.paths import encoder_slug


def model(path: Path, weights: bytes) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(weights)
    return path


def made(embeddings: Path, folder: Path) -> str:
    """Make the embeddings of a model, as far as their names are concerned."""
    from recbole_rlmrec.data.files import hash_model

    slug = encoder_slug(str(folder), embeddings)
    (embeddings / slug).mkdir(parents=True, exist_ok=True)
    (embeddings / slug / "manifest.json").write_text(json.dumps({"encoder": str(folder), "revision": hash_model(folder)}))
    return slug


def test_two_folders_of_one_name(tmp_path):
    first, second, third = (model(tmp_path / name / "model", name.encode()) for name in "abc")
    embeddings = tmp_path / "embeddings"
    names = [made(embeddings, folder) for folder in (first, second, third)]
    assert names[0] == "model" and len(set(names)) == 3 and all(name.startswith("model") for name in names)
    assert [encoder_slug(str(folder), embeddings) for folder in (first, second, third)] == names
    assert [made(embeddings, folder) for folder in (third, first, second)] == [names[2], names[0], names[1]]


def test_a_model_that_was_moved_is_the_same(tmp_path, monkeypatch):
    first, embeddings = model(tmp_path / "a" / "model", b"w"), tmp_path / "embeddings"
    assert made(embeddings, first) == "model"
    (tmp_path / "b").mkdir()
    moved = first.rename(tmp_path / "b" / "model")
    assert encoder_slug(str(moved), embeddings) == "model"
    monkeypatch.chdir(tmp_path / "b")
    assert encoder_slug("model", embeddings) == "model"


def test_names_on_the_hub_stay(tmp_path):
    assert encoder_slug("sentence-transformers/all-MiniLM-L6-v2", tmp_path) == "sentence-transformers--all-MiniLM-L6-v2"
    assert encoder_slug("openai:text-embedding-3-small", tmp_path) == "openai-text-embedding-3-small"
