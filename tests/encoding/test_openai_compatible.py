"""Embeddings over HTTP, from a server on loopback."""

from __future__ import annotations

import time

import numpy as np
import pytest
from loopback import Loopback, seeded_faults, vector

from recbole_rlmrec.data.store import Profile, ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.encoding.openai_compatible import OpenAICompatibleEncoder
from recbole_rlmrec.encoding.registry import get_encoder
from recbole_rlmrec.errors import ConfigError, EncoderError

NAME = "openai:test-embedder"
TEXTS = [f"text number {number}" for number in range(30)]


def encoder(server: Loopback, name: str = NAME, **options) -> OpenAICompatibleEncoder:
    return get_encoder(name, base_url=server.url, first_wait=0.01, timeout=5.0, **options)


def test_rows_come_in_the_order_of_the_texts():
    with Loopback() as server:
        found = encoder(server, batch_size=7, normalize=False)
        vectors = found.encode(TEXTS)
        assert server.requests == 5
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.array([vector(text, 8) for text in TEXTS], dtype=np.float32))
    assert found.info()["encoder"] == NAME and found.truncated == 0


def test_faults_are_survived():
    plan = seeded_faults(3, 0.4, ("429-after", "500", "503", "reset", "truncated", "malformed"))
    with Loopback(plan) as server:
        vectors = encoder(server, batch_size=2).encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_dimensions_and_prompt_reach_the_server():
    with Loopback() as server:
        vectors = encoder(server, dimensions=3, prompt="query: ").encode(["a"])
        assert server.payloads[0]["dimensions"] == 3 and server.payloads[0]["input"] == ["query: a"]
    assert vectors.shape == (1, 3)


def test_long_texts_are_cut_between_words_and_counted():
    with Loopback() as server:
        found = encoder(server, max_tokens=10)
        found.encode(["short", "long words " * 40])
        sent = server.payloads[0]["input"]
        assert sent[0] == "short" and sent[1] == "long words long words long words long"
        assert found.truncated == 1 and found.info()["max_tokens"] == 10
        assert encoder(server, "openai:text-embedding-3-small").max_tokens == 8191


def test_vectors_that_are_missing_are_noticed():
    with Loopback(lambda number, payload: "schema") as server, pytest.raises(EncoderError, match="one vector for each"):
        encoder(server).encode(TEXTS)


def test_what_was_paid_for_before_a_refusal_is_kept(tmp_path):
    store = ProfileStore(tmp_path / "tag")
    store.write_manifest({"dataset": "tiny", "tag": "tag", "by": "template"})
    store.write("item", [Profile(str(number), f"{'x' * (40 - number)}") for number in range(30)])
    bad = "x" * 25

    def refuse(number, payload):
        return "schema" if bad in payload["input"] else None

    with Loopback(refuse) as server:
        options = {"encoder": encoder(server, batch_size=2, concurrency=1), "show_progress": False}
        with pytest.raises(EncoderError):
            encode_tag(store.folder, NAME, **options)
        asked = server.requests
        assert asked < 15
        server.fault = lambda number, payload: None
        encode_tag(store.folder, NAME, **{**options, "encoder": encoder(server, batch_size=2, concurrency=1)})
    assert server.requests == asked + 15 - (asked - 1)


def test_no_request_begins_after_the_vectors_are_no_longer_wanted():
    with Loopback(lambda number, payload: time.sleep(0.02)) as server:
        found = encoder(server, batch_size=1, concurrency=1)
        vectors = found.stream([f"text {number}" for number in range(50)])
        next(vectors)
        vectors.close()
        assert server.requests < 50
        assert len(found.encode(TEXTS)) == len(TEXTS)


def test_a_server_that_refuses():
    with Loopback() as server:
        found = encoder(server)
        found._endpoint.base_url += "/nothing"
        with pytest.raises(EncoderError, match="404"):
            found.encode(TEXTS)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"concurrency": -1}, {"dimensions": -3}])
def test_unusable_options(options):
    with pytest.raises(ConfigError, match="positive integer"):
        OpenAICompatibleEncoder(NAME, "http://127.0.0.1:9/v1", **options)


def test_unusable_names():
    for name in ("openai", "openai:"):
        with pytest.raises(ConfigError, match="openai:MODEL"):
            OpenAICompatibleEncoder(name, "http://127.0.0.1:9/v1")
