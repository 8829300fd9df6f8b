"""Tokens and matrices of a tag are bound to each other by the digests in the manifest."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import SemanticError, StoreError
from recbole_rlmrec.exchange.archive import export_archive, import_archive

WORDS = ("comic", "tragic", "quiet", "noisy", "western", "romantic", "silent")


@pytest.fixture
def folder(tmp_path):
    """A tag and its embeddings by LSA."""
    store = ProfileStore(tmp_path / "tiny" / "semantic" / "mine")
    store.write("user", [Profile(f"u{n}", f"likes {WORDS[n % 4]} films and {WORDS[n % 7]} too", pairs=[]) for n in range(12)])
    store.write("item", [Profile(f"i{n}", f"a {WORDS[n % 5]} film with {WORDS[n % 3]} parts", pairs=[]) for n in range(9)])
    store.write_manifest({"dataset": "tiny", "tag": "mine", "by": "import x", "split_hash": None})
    return encode_tag(store.folder, "lsa", show_progress=False)


def swap_tokens(folder):
    path = folder / "users.tokens.json"
    listed = json.loads(path.read_text())
    listed["tokens"][0], listed["tokens"][1] = listed["tokens"][1], listed["tokens"][0]
    path.write_text(json.dumps(listed))
    return path.name


def swap_rows(folder):
    matrix = np.load(folder / "items.npy")
    matrix[[0, 1]] = matrix[[1, 0]]
    np.save(folder / "items.npy", matrix)
    return "items.npy"


def swap_sides_of_names(folder):
    path = folder / "items.tokens.json"
    listed = json.loads(path.read_text())
    path.write_text(json.dumps({**listed, "tokens": [*listed["tokens"][1:], listed["tokens"][0]]}))
    return path.name


@pytest.mark.parametrize("change", [swap_tokens, swap_rows, swap_sides_of_names])
def test_a_file_that_was_changed_is_named(folder, change):
    assert read_embeddings(folder, "tiny").dim > 1
    name = change(folder)
    with pytest.raises(SemanticError, match=f"{name} is not the file that its manifest was written for; run .*encode"):
        read_embeddings(folder, "tiny")


def test_encoding_again_mends_it(folder):
    before = {side: np.array(matrix) for side, matrix in read_embeddings(folder, "tiny").matrices.items()}
    swap_tokens(folder)
    swap_rows(folder)
    encode_tag(folder.parents[1], "lsa", show_progress=False)
    after = read_embeddings(folder, "tiny")
    assert after.tokens["user"] == sorted(after.tokens["user"])
    assert all(np.array_equal(after.matrices[side], before[side]) for side in before)


def test_a_manifest_without_digests_is_read_and_said_once(folder, caplog):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    assert sorted(manifest.pop("files")) == ["items.npy", "items.tokens.json", "users.npy", "users.tokens.json"]
    path.write_text(json.dumps(manifest))
    with caplog.at_level("INFO"):
        read_embeddings(folder, "tiny")
        read_embeddings(folder, "tiny")
    assert caplog.text.count("bound no tokens to matrices") == 1


@pytest.mark.parametrize("listed", [{}, [], "x", {"users.npy": None}])
def test_a_manifest_that_binds_something_else_is_refused(folder, listed):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": listed}))
    with pytest.raises(SemanticError, match="is not the file"):
        read_embeddings(folder, "tiny")


def test_archives_are_checked_on_the_way_in(folder, tmp_path):
    export_archive(folder.parents[1], tmp_path / "good.tar.gz")
    import_archive(tmp_path / "good.tar.gz", tmp_path / "else" / "tiny" / "semantic", "tiny")
    swap_tokens(folder)
    with pytest.raises(SemanticError, match="users.tokens.json"):
        export_archive(folder.parents[1], tmp_path / "bad.tar.gz")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({key: manifest[key] for key in manifest if key != "files"}))
    export_archive(folder.parents[1], tmp_path / "old.tar.gz")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises((SemanticError, StoreError)):
        export_archive(folder.parents[1], tmp_path / "bad.tar.gz")
