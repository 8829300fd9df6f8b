"""Transformers run by ONNX Runtime or OpenVINO, and batches by number of tokens: a small transformer with random weights."""

from __future__ import annotations

import json
import os
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest

from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding import compiled
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.encoding.registry import get_encoder, same_encoder
from recbole_rlmrec.encoding.sentence_transformer import batches
from recbole_rlmrec.errors import ConfigError, EncoderError

WORDS = [f"word{n}" for n in range(60)]
TEXTS = [" ".join(WORDS[n % 60] for n in range(start, start + length)) for start, length in ((0, 3), (7, 11), (30, 1), (5, 40))]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A BERT of one layer with a tokenizer of words and mean pooling, as sentence-transformers saves it."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("small")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 256}
    BertModel(BertConfig(vocab_size=65, max_position_embeddings=64, **sizes)).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    layers = models.Transformer(str(folder / "bert"), max_seq_length=32)
    SentenceTransformer(modules=[layers, models.Pooling(128)], device="cpu").save(str(folder / "model"))
    return str(folder / "model")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder of exported models, in place of the user's."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_cache", lambda: folder)
        yield folder


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (found * expected).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1))


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_backend_gives_the_vectors_of_torch(model, cache, backend):
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    expected = get_encoder(model, device="cpu").encode(TEXTS)
    exact = get_encoder(model, backend=backend).encode(TEXTS)
    assert np.abs(exact - expected).max() < 1e-4
    small = get_encoder(model, backend=backend, precision="int8")
    vectors = small.encode(TEXTS)
    assert 1e-5 < np.abs(vectors - expected).max() and cosines(vectors, expected).min() > 0.99
    alone = np.concatenate([small.encode([text]) for text in TEXTS])
    assert np.abs(alone - vectors).max() < 1e-4, "a vector must not depend on what is in its batch"
    assert small.truncated == 2 and small.max_tokens == 32
    assert len(list(cache.iterdir())) == 1 and not list(cache.rglob("*.tmp"))


def test_vectors_of_another_precision_are_never_used_again(model, cache, tmp_path):
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("item", [Profile(f"i{n}", text) for n, text in enumerate(TEXTS)])

    def encode(**options):
        folder = encode_tag(store.folder, model, show_progress=False, **options)
        return np.load(folder / "items.npy"), json.loads((folder / "manifest.json").read_text())

    exact, told = encode(device="cpu")
    assert "backend" not in told  # so that what was encoded before there were backends counts
    small, told_small = encode(backend="onnx", precision="int8")
    assert (told_small["backend"], told_small["precision"]) == ("onnx", "int8")
    assert told["fingerprint"] != told_small["fingerprint"] and (exact != small).any(axis=1).all()
    assert np.abs(same_encoder(told_small).encode(TEXTS) - small).max() < 1e-6
    assert same_encoder(told).info() == get_encoder(model, device="cpu").info()


def test_new_texts_are_encoded_by_the_weights_that_encoded_the_others(model, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(model, tmp_path / "model")
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("item", [Profile(f"i{n}", text) for n, text in enumerate(TEXTS)])
    encoded = encode_tag(store.folder, str(folder), device="cpu", show_progress=False)
    told = json.loads((encoded / "manifest.json").read_text())
    assert np.abs(same_encoder(told).encode(TEXTS) - np.load(encoded / "items.npy")).max() < 1e-6
    weights = load_file(folder / "model.safetensors")
    save_file({name: values * 1.5 for name, values in weights.items()}, folder / "model.safetensors")
    with pytest.raises(EncoderError, match="other weights or settings than the one that made the embeddings"):
        same_encoder(told)
    assert same_encoder({**told, "revision": None}).encode(TEXTS).shape == (4, 128)  # where nothing is told, nothing is checked


def test_another_pooling_is_another_model(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("item", [Profile(f"i{n}", text) for n, text in enumerate(TEXTS[:2])])
    encode_tag(store.folder, str(folder), device="cpu", show_progress=False)
    (pooling,) = folder.glob("*Pooling/config.json")
    settings = json.loads(pooling.read_text())
    changed = {**settings, "pooling_mode": "cls"} if "pooling_mode" in settings else {
        **settings, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}  # fmt: skip
    pooling.write_text(json.dumps(changed))
    store.write("item", [Profile(f"i{n}", text) for n, text in enumerate(TEXTS)])
    rows = np.load(encode_tag(store.folder, str(folder), device="cpu", show_progress=False) / "items.npy")
    assert np.abs(rows - get_encoder(str(folder), device="cpu").encode(TEXTS)).max() < 1e-6  # none of before
    assert np.abs(rows - get_encoder(model, device="cpu").encode(TEXTS)).max() > 1e-2


def test_a_prompt_that_the_model_has_itself_is_told_and_an_empty_one_is_none(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "config_sentence_transformers.json"
    settings = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**settings, "prompts": {"search": "word9 word8 "}, "default_prompt_name": "search"}))
    plain, longer = (
        get_encoder(model, device="cpu").encode([start + text for text in TEXTS]) for start in ("", "word9 word8 ")
    )
    own, none = get_encoder(str(folder), device="cpu"), get_encoder(str(folder), device="cpu", prompt="")
    assert own.info()["prompt"] == "word9 word8 " and none.info()["prompt"] == ""
    assert np.abs(own.encode(TEXTS) - longer).max() < 1e-6 and np.abs(none.encode(TEXTS) - plain).max() < 1e-6
    assert np.abs(plain - longer).max() > 1e-2


def test_what_no_backend_can_do_is_one_sentence(model, cache, monkeypatch, tmp_path):
    for options, message in (
        ({"precision": "int8"}, "int8 is for the backend onnx or openvino"),
        ({"backend": "onnx", "precision": "bfloat16"}, "precision must be one of float32, int8"),
        ({"backend": "tensorrt"}, "backend must be one of torch, onnx, openvino"),
        ({"backend": "onnx", "device": "cuda"}, "runs on the processor"),
        ({"batch_tokens": 0}, "batch_tokens must be a positive integer"),
    ):
        with pytest.raises(ConfigError, match=message):
            get_encoder("nobody/no-such-model", **options)
    with monkeypatch.context() as patch:
        (tmp_path / "model.onnx").write_bytes(b"no model")
        patch.setattr(compiled, "_exported", lambda *arguments: tmp_path / "model.onnx")
        with pytest.raises(EncoderError, match="onnx cannot run .*model.onnx .*; delete .* and encode again"):
            get_encoder(model, backend="onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(EncoderError, match=r"not installed.*pip install 'recbole-rlmrec\[onnx\]'") as error:
        get_encoder(model, backend="onnx")
    assert "\n" not in str(error.value)


def test_a_static_model_is_an_encoder(tmp_path, model):
    from sentence_transformers import SentenceTransformer, models

    tokenizer = SentenceTransformer(model, device="cpu").tokenizer
    table = np.random.default_rng(0).normal(size=(65, 8)).astype(np.float32)
    static = models.StaticEmbedding(tokenizer._tokenizer, embedding_weights=table.copy())
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    encoder = get_encoder(str(tmp_path / "static"), device="cpu", normalize=False)
    assert np.allclose(encoder.encode(["word2 word5", "word1"]), [(table[7] + table[10]) / 2, table[6]], atol=1e-6)
    assert encoder.max_tokens is None and encoder.truncated == 0
    json.dumps(encoder.info(), allow_nan=False)
    with pytest.raises(EncoderError, match="has no transformer"):
        get_encoder(str(tmp_path / "static"), backend="onnx")


def test_batches_hold_so_many_tokens():
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    parts = batches(lengths, 1024)
    assert sorted(np.concatenate(parts).tolist()) == list(range(500))
    held = [len(part) * lengths[part].max() for part in parts]
    assert max(held) <= 1024 and np.mean(held[:-1]) > 700
    assert [part.tolist() for part in batches(np.array([3, 9, 2000, 9]), 18)] == [[2], [1, 3], [0]]
    assert [len(part) for part in batches(lengths, None, 200)] == [200, 200, 100]


def test_batches_do_not_change_vectors(model):
    one = get_encoder(model, device="cpu", batch_size=1).encode(TEXTS)
    for options in ({}, {"batch_tokens": 40}, {"batch_size": 3}):
        assert np.abs(get_encoder(model, device="cpu", **options).encode(TEXTS) - one).max() < 1e-5
