"""Instructions by the name of the model, for users and for items."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding.base import TextEncoder
from recbole_rlmrec.encoding.embeddings import read_embeddings
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.encoding.instructions import Instructed, instructions
from recbole_rlmrec.encoding.registry import register_encoder, same_encoder


@pytest.mark.parametrize(
    "name, user, item",
    [
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("intfloat/multilingual-e5-large", "query: ", "passage: "),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("mixedbread-ai/mxbai-embed-large-v1", "Represent this sentence for searching relevant passages: ", ""),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("Snowflake/snowflake-arctic-embed-m-long", "Represent this sentence for searching relevant passages: ", ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("BAAI/bge-m3", "", ""),
        ("sentence-transformers/all-MiniLM-L6-v2", "", ""),
        ("text-embedding-3-small", "", ""),
        ("models\\e5-small", "query: ", "passage: "),
        ("/data/e5/all-MiniLM-L6-v2", "", ""),
    ],
)
def test_by_name(name, user, item):
    assert instructions(name) == {"user": user, "item": item}


@pytest.mark.parametrize("name", ["intfloat/multilingual-e5-large-instruct", "intfloat/e5-mistral-7b-instruct"])
def test_instruct_models_get_a_task_for_users_alone(name):
    found = instructions(name)
    assert found["user"].startswith("Instruct: ") and found["user"].endswith("\nQuery: ") and found["item"] == ""
    assert instructions("Qwen/Qwen3-Embedding-0.6B")["user"].endswith("\nQuery:")


class Echo(Instructed):
    """Encodes a text as the bytes that it would send to a model, and remembers them."""

    seen: list[str] = []

    def __init__(self, name: str, prompt: str | dict | None = None):
        self.name = name
        self._instruct(name.partition(":")[2], prompt)

    def encode(self, texts):
        texts = [self._prompt + text for text in texts]
        self.seen.extend(texts)
        return np.array([[len(text), sum(text.encode())] for text in texts], dtype=np.float32)

    def info(self):
        return {"encoder": self.name, "prompt": self._told_prompt()}


@pytest.fixture
def tag(tmp_path):
    Echo.seen = []
    register_encoder("echo", Echo)
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("user", [Profile("u0", "likes drama"), Profile("u1", "the same")])
    store.write("item", [Profile("i0", "a drama"), Profile("i1", "the same")])
    return store.folder


def vectors(folder):
    found = read_embeddings(folder, "tiny")
    return {token: row.tolist() for side in found.tokens for token, row in zip(found.tokens[side], found.matrices[side])}


def expected(text):
    return [len(text), sum(text.encode())]


def test_each_side_gets_its_own(tag):
    found = vectors(encode_tag(tag, "echo:e5-base", show_progress=False))
    assert sorted(Echo.seen) == ["passage: a drama", "passage: the same", "query: likes drama", "query: the same"]
    assert found["u0"] == expected("query: likes drama") and found["i0"] == expected("passage: a drama")
    assert found["u1"] == expected("query: the same") and found["i1"] == expected("passage: the same")


def test_a_text_of_both_sides_does_not_depend_on_which_came_first(tag):
    whole = vectors(encode_tag(tag, "echo:e5-base", show_progress=False))
    items = (tag / "items.jsonl").read_bytes()
    shutil.rmtree(tag / "embeddings")
    (tag / "items.jsonl").unlink()
    encode_tag(tag, "echo:e5-base", show_progress=False)
    (tag / "items.jsonl").write_bytes(items)
    Echo.seen.clear()
    assert vectors(encode_tag(tag, "echo:e5-base", show_progress=False)) == whole
    assert sorted(Echo.seen) == ["passage: a drama", "passage: the same"]  # users' were there


def test_the_manifest_says_it_and_the_same_encoder_is_made_again(tag):
    folder = encode_tag(tag, "echo:e5-base", show_progress=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["prompt"] == {"user": "query: ", "item": "passage: "}
    encoder = same_encoder(manifest)
    encoder.prepare("user")
    assert encoder.encode(["likes drama"])[0].tolist() == expected("query: likes drama")


def test_a_prompt_of_ones_own_or_none_is_another_encoding(tag):
    first = json.loads((encode_tag(tag, "echo:e5-base", show_progress=False) / "manifest.json").read_text())
    for prompt in ("", "text: "):
        Echo.seen.clear()
        folder = encode_tag(tag, "echo:e5-base", prompt=prompt, show_progress=False)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["prompt"] == prompt and manifest["fingerprint"] != first["fingerprint"]
        assert sorted(Echo.seen) == [prompt + text for text in ("a drama", "likes drama", "the same")]


def test_encoders_that_just_look_like_one_are_never_asked(tag):
    class Plain:
        name, needs_fit, truncated = "plain", False, 0

        def encode(self, texts):
            return np.array([expected(text) for text in texts], dtype=np.float32)

        def info(self):
            return {"encoder": "plain"}

    assert not hasattr(Plain, "prepare") and TextEncoder.sided is False
    assert vectors(encode_tag(tag, "plain", encoder=Plain(), show_progress=False))["u0"] == expected("likes drama")
