"""Profiles -> matrices: what is on disk, what is used again, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from recbole_rlmrec.data import store as store_module
from recbole_rlmrec.data.files import write_json
from recbole_rlmrec.data.profile import text_digest
from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding import encode as encode_module, registry
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.encoding.encode import encode_tag, get_encoder, register_encoder
from recbole_rlmrec.encoding.journal import Journal
from recbole_rlmrec.encoding.shards import parse_shard
from recbole_rlmrec.errors import ConfigError, EncoderError, StoreError
from recbole_rlmrec.semantic.reduction import reduce


class Letters:
    """An encoder that counts letters, remembers what it was asked and can break down."""

    needs_fit = False
    truncated = 0

    def __init__(self, name: str = "letters", fail_after: int | None = None, **info):
        self.name, self.asked, self._left, self._info = name, [], fail_after, info

    def encode(self, texts):
        if self._left is not None:
            if self._left <= 0:
                raise EncoderError("out of order")
            self._left -= 1
        self.asked += texts
        return np.array([[text.count(letter) for letter in "abcde"] for text in texts], dtype=np.float64)

    def info(self):
        return {"encoder": self.name, "revision": None, "normalised": False, **self._info}


class Lengths(Letters):
    """An encoder that keeps nothing."""

    def encode(self, texts):
        return np.array([[len(text)] for text in texts])


@pytest.fixture
def store(tmp_path) -> ProfileStore:
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("user", [Profile("u2", "aab"), Profile("u1", "c"), Profile("u3", "ab" * 4)])
    store.write("item", [Profile("i1", "ee"), Profile("i2", "c"), Profile("i3", " ")])
    return store


def encode(store, encoder, **options):
    return encode_tag(store.folder, encoder.name, encoder=encoder, show_progress=False, **options)


def vectors(folder) -> dict:
    found = read_embeddings(folder, "tiny")
    return {t: row.tolist() for side in found.tokens for t, row in zip(found.tokens[side], found.matrices[side], strict=True)}


def test_rows_are_in_token_order_with_a_manifest(store):
    folder = encode(store, Letters(), dtype="float16")
    assert folder == store.folder / "embeddings" / "letters"
    found = read_embeddings(folder, "tiny")
    assert found.tokens == {"user": ["u1", "u2", "u3"], "item": ["i1", "i2"]}
    assert found.matrices["user"].tolist() == [[0, 0, 1, 0, 0], [2, 1, 0, 0, 0], [4, 4, 0, 0, 0]]
    assert found.matrices["item"].dtype == np.float16
    manifest = found.manifest
    assert (manifest["dim"], manifest["dtype"], manifest["users"], manifest["items"]) == (5, "float16", 3, 2)
    assert (manifest["encoder"], manifest["dataset"], manifest["tag"]) == ("letters", "tiny", "tag")
    assert manifest["digests"] == {side: store.digest(side) for side in ("user", "item")}
    names = {path.name for path in folder.iterdir()}
    assert names == {".lock", "manifest.json", *(f"{s}.{e}" for s in ("users", "items") for e in ("npy", "tokens.json"))}


def test_identical_texts_are_encoded_once_and_the_longest_come_first(store):
    encoder = Letters()
    encode(store, encoder)
    assert encoder.asked == ["abababab", "aab", "ee", "c"]


def test_growth_encodes_only_what_changed(store):
    encode(store, Letters())
    store.write("user", [Profile("u1", "ddd"), Profile("u3", "ab" * 4), Profile("u4", "c"), Profile("u5", "e")])
    encoder = Letters()
    folder = encode(store, encoder)
    assert sorted(encoder.asked) == ["ddd", "e"]
    assert vectors(folder)["u4"] == [0, 0, 1, 0, 0] and vectors(folder)["u1"] == [0, 0, 0, 3, 0]
    encoder = Letters()
    encode(store, encoder)
    assert encoder.asked == []


def test_another_setting_encodes_anew(store):
    encode(store, Letters())
    for encoder, options in ((Letters(prompt="query:"), {}), (Letters(prompt="query:"), {"dtype": "float16"})):
        encode(store, encoder, **options)
        assert len(encoder.asked) == 4


def test_a_killed_encoding_goes_on_where_it_was(store, monkeypatch):
    monkeypatch.setattr(encode_module, "BLOCK", 1)
    with pytest.raises(EncoderError, match="out of order"):
        encode(store, Letters(fail_after=3))
    folder = store.folder / "embeddings" / "letters"
    with open(folder / ".journal", "ab") as file:
        file.write(b"half a record")
    encoder = Letters()
    encode(store, encoder)
    assert encoder.asked == ["c"]
    assert vectors(folder)["u2"] == [2, 1, 0, 0, 0] and vectors(folder)["i2"] == [0, 0, 1, 0, 0]
    assert not (folder / ".journal").exists()


@pytest.mark.parametrize("calls", range(8))
def test_a_kill_while_matrices_are_put_in_place_costs_nothing(store, monkeypatch, calls):
    folder = encode(store, Letters())
    store.write("user", [Profile("u1", "ddd"), Profile("u2", "aab")])
    steps = []

    def killed(original):
        def call(*arguments):
            if len(steps) == calls:
                raise KeyboardInterrupt
            steps.append(arguments[0])
            return original(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("write_lists", "write_json"):  # tokens of two sides, what is to be done, the manifest
            patch.setattr(encode_module, name, killed(getattr(encode_module, name)))
        patch.setattr(Path, "replace", killed(Path.replace))  # matrix and tokens of two sides
        with pytest.raises(KeyboardInterrupt):
            encode(store, Letters())
    encoder = Letters()
    encode(store, encoder)
    assert encoder.asked == []
    assert vectors(folder) == {"u1": [0, 0, 0, 3, 0], "u2": [2, 1, 0, 0, 0], "i1": [0, 0, 0, 0, 2], "i2": [0, 0, 1, 0, 0]}
    names = {path.name for path in folder.iterdir()}
    assert names == {".lock", "manifest.json", *(f"{s}.{e}" for s in ("users", "items") for e in ("npy", "tokens.json"))}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_no_file_is_replaced_or_removed_while_it_is_mapped(store, monkeypatch):
    """Windows refuses it."""
    touched = []

    def watched(name, original):
        def call(first, *rest, **options):
            mapped = Path("/proc/self/maps").read_text()
            touched.append(str(first))
            assert not any(str(path) + "\n" in mapped for path in (first, *rest))
            return original(first, *rest, **options)

        monkeypatch.setattr(*name, call)

    watched((os, "replace"), os.replace)
    watched((Path, "replace"), Path.replace)
    watched((Path, "unlink"), Path.unlink)
    encode(store, Letters())
    store.write("user", [Profile("u1", "ddd"), Profile("u2", "aab")])
    folder = encode(store, Letters())
    reduce(read_embeddings(folder, "tiny"), 2)
    assert any(path.endswith(".journal") for path in touched) and any("pca" in path for path in touched)


def test_a_commit_of_an_earlier_version_is_passed_over(store):
    folder = encode(store, Letters())
    (folder / ".commit.json").write_text('{"tokens": {}, "manifest": {}}')
    encode(store, encoder := Letters())
    assert not encoder.asked and vectors(folder)["u2"] == [2, 1, 0, 0, 0]


def test_fingerprints_and_lists_of_tokens_are_the_json_that_they_are_said_to_be(store, monkeypatch):
    for module in (store_module, encode_module):
        for name in ("_BLOCK", "_COPY_BLOCK"):
            monkeypatch.setattr(module, name, 2, raising=False)
    store.write("user", [Profile(token, text) for token, text in (("b", "x"), ('a"', "z"), ("\uffff", "y"), ("b", "later"))])
    with open(store.path("user"), "ab") as file:
        file.write(b'{"user_id": "\\ud800", "profile": "half of a sign"}\n')
    found = {token: text_digest(text) for token, text in store.texts("user").items()}
    assert store.stored_texts("user").tokens == sorted(found) == ['a"', "b", "\ud800", "\uffff"]
    for encoder in (get_encoder("lsa"), Letters()):
        folder = encode_tag(store.folder, encoder.name, encoder=encoder, show_progress=False)
        sides = [sorted(map(text_digest, store.texts(side).values())) for side in ("user", "item")]
        sides = sides if encoder.needs_fit else None
        made_of = json.dumps([encoder.info(), "float32", sides], sort_keys=True, default=str)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["fingerprint"] == hashlib.sha256(made_of.encode()).hexdigest()
        assert manifest["digests"]["user"] == store.digest("user")
        listed = {"tokens": sorted(found), "digests": [found[token] for token in sorted(found)]}
        write_json(folder / "expected", listed)
        assert (folder / "users.tokens.json").read_bytes() == (folder / "expected").read_bytes()


def test_a_failed_encoding_leaves_the_finished_one_alone(store):
    folder = encode(store, Letters())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    store.write("user", [Profile("u1", "new")])
    with pytest.raises(EncoderError):
        encode(store, Letters(fail_after=0))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_side_that_has_gone_is_removed(store):
    encode(store, Letters())
    store.path("user").unlink()
    folder = encode(store, Letters())
    assert not (folder / "users.npy").exists() and set(vectors(folder)) == {"i1", "i2"}


def test_lsa_is_fitted_anew_when_a_text_changes(store):
    first = vectors(encode_tag(store.folder, "lsa", show_progress=False))
    assert vectors(encode_tag(store.folder, "lsa", show_progress=False)) == first
    store.write("user", [Profile("u1", "words of all kinds"), Profile("u2", "kinds of words"), Profile("u3", "other")])
    store.write("item", [Profile("i1", "a kind of word"), Profile("i2", "another word")])
    folder = encode_tag(store.folder, "lsa", show_progress=False)
    assert json.loads((folder / "manifest.json").read_text())["normalised"] is True
    assert all(abs(np.linalg.norm(row) - 1) < 1e-5 for row in vectors(folder).values())


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (lambda n: np.zeros(n), "returned shape"),
        (lambda n: np.zeros((n + 1, 3)), "returned shape"),
        (lambda n: np.full((n, 3), np.nan), "not a finite float32"),
        (lambda n: np.full((n, 3), 1e39), "not a finite float32"),
    ],
)
def test_unusable_vectors_are_refused(store, result, reason):
    encoder = Letters()
    encoder.encode = lambda texts: result(len(texts))
    with pytest.raises(EncoderError, match=reason):
        encode(store, encoder)
    assert not (store.folder / "embeddings" / "letters" / "manifest.json").exists()


def test_bad_options_and_empty_stores(store, tmp_path):
    with pytest.raises(ConfigError, match="float32, float16, not 'int8'"):
        encode(store, Letters(), dtype="int8")
    with pytest.raises(StoreError, match="manifest.json is missing"):
        encode(ProfileStore(tmp_path / "nothing"), Letters())
    for side in ("user", "item"):
        store.write(side, [])
    with pytest.raises(StoreError, match="no profiles to encode"):
        encode(store, Letters())


def test_encoders_of_ones_own_go_by_a_prefix(store, monkeypatch):
    monkeypatch.setattr(registry, "ENCODERS", dict(registry.ENCODERS))
    register_encoder("mine", Letters)
    folder = encode_tag(store.folder, "mine:small", show_progress=False)
    assert folder.name == "mine-small" and vectors(folder)["u1"] == [0, 0, 1, 0, 0]
    assert get_encoder("mine", fail_after=3).name == "mine"


def test_two_processes_do_not_encode_the_same(store):
    class Nested(Letters):
        def encode(self, texts):
            encode(store, Letters())

    with pytest.raises(StoreError, match="Another process is encoding"):
        encode(store, Nested())


def test_a_journal_of_another_setting_is_discarded(tmp_path):
    digests = np.array(["0" * 32, "1" * 32], dtype="S32")
    journal = Journal(tmp_path / "j", "one")
    journal.append(digests, np.arange(8, dtype=np.float32).reshape(2, 4))
    found, rows = Journal(tmp_path / "j", "one").rows()
    assert found.tolist() == digests.tolist() and rows.shape == (2, 4)
    assert rows.take(np.array([1, 0, 1])).tolist() == [[4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]]
    found, rows = Journal(tmp_path / "j", "two").rows()
    assert not len(found) and rows is None
    assert list(tmp_path.iterdir()) == []


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path, monkeypatch) -> ProfileStore:
    """A store of texts that make seven blocks."""
    monkeypatch.setattr(encode_module, "BLOCK", 3)
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("user", [Profile(f"u{n}", "ab" * n) for n in range(1, 12)])
    store.write("item", [Profile(f"i{n}", "dec" * n) for n in range(1, 9)])
    return store


class Batched(Letters):
    """An encoder whose vectors depend on what they are encoded with."""

    def encode(self, texts):
        return super().encode(texts) + len("".join(texts)) / 1000


def matrices(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*s.*")) if path.is_file()}


def test_shards_make_what_one_machine_makes(many, tmp_path):
    folder = encode(many, Batched())
    expected = matrices(folder)
    shutil.rmtree(folder)
    asked = []
    for shard in ((2, 3), (3, 3), (1, 3)):
        encoder = Batched()
        place = encode(many, encoder, shard=shard)
        asked.append(encoder.asked)
        assert place.name == f"{shard[0]}-of-3" and not (folder / "manifest.json").exists()
    assert sum(map(len, asked)) == 19 and not set(asked[0]) & set(asked[1]) and min(map(len, asked)) > 3
    assert encode(many, merged := Batched(), merge=True) == folder
    assert not merged.asked and matrices(folder) == expected and not (folder / ".shards").exists()


def test_a_shard_that_broke_down_goes_on(many):
    expected = matrices(encode(many, Batched()))
    shutil.rmtree(many.folder / "embeddings")
    with pytest.raises(EncoderError):
        encode(many, Batched(fail_after=1), shard=(1, 2))
    encode(many, again := Batched(), shard=(1, 2))
    assert 3 < len(again.asked) < 10
    with pytest.raises(StoreError, match="lacks shard 2/2; encode with --shard 2/2"):
        encode(many, Batched(), merge=True)
    encode(many, Batched(), shard=(2, 2))
    with pytest.raises(StoreError, match="Shard 1/2 was encoded with other settings"):
        encode(many, Batched(revision="other"), merge=True)
    assert matrices(encode(many, Batched(), merge=True)) == expected


def test_shards_that_cannot_be_merged_are_told(many):
    with pytest.raises(StoreError, match="There are no shards"):
        encode(many, Letters(), merge=True)
    with pytest.raises(EncoderError):
        encode(many, Letters(fail_after=1), shard=(1, 1))
    with pytest.raises(StoreError, match="16 texts are in no shard"):
        encode(many, Letters(), merge=True)
    encode(many, Letters(), shard=(1, 2))
    with pytest.raises(StoreError, match="shards of several numbers"):
        encode(many, Letters(), merge=True)
    with pytest.raises(ConfigError, match="lsa is fitted to all texts"):
        encode_tag(many.folder, "lsa", shard=(1, 2))
    for text in ("0/2", "3/2", "1", "a/b"):
        with pytest.raises(ConfigError, match=f"--shard={text} is no part"):
            parse_shard(text)


def test_the_memory_does_not_grow_with_the_texts(store):
    peaks = []
    for length in (100, 20_000):
        store.write("item", (Profile(f"i{n}", f"{n} " + "ab" * length) for n in range(600)))
        tracemalloc.start()
        folder = encode(store, Lengths())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert store.path("item").stat().st_size > 24e6 and peaks[1] < 24e6 + 2e6, peaks
    assert vectors(folder)["i123"] == [40_004.0]


def test_profiles_that_change_while_they_are_read_are_refused(store):
    texts = store.stored_texts("user")
    assert (texts.tokens, [*texts], len(texts)) == (["u1", "u2", "u3"], ["c", "aab", "abababab"], 3)
    assert texts.lengths.tolist() == [1, 3, 8]
    assert texts.digests.astype(str).tolist() == [*map(text_digest, texts)]
    texts = store.stored_texts("user")
    store.write("user", [Profile("u1", "other")])
    with pytest.raises(StoreError, match="has changed while it was read; encode again"):
        texts[1]
