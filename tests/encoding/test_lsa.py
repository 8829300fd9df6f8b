"""LSA on texts of any size and language."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_rlmrec.encoding import lsa
from recbole_rlmrec.encoding.encode import get_encoder
from recbole_rlmrec.encoding.lsa import LSA
from recbole_rlmrec.errors import ConfigError, EncoderError

TEXTS = [f"word{i} word{i + 1} word{i % 3} shared" for i in range(20)]


def fitted(texts, **options) -> np.ndarray:
    encoder = LSA(**options)
    encoder.fit(texts)
    return encoder.encode(texts)


def test_rows_have_length_one_and_the_same_texts_give_the_same_numbers():
    vectors = fitted(TEXTS, dim=8)
    assert vectors.shape == (20, 8) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors, fitted(TEXTS, dim=8))


@pytest.mark.parametrize("texts", [["one"], ["one", "one"], ["one two", "two three"], ["solo word", ""], ["same same"] * 5])
def test_tiny_vocabularies_reduce_the_size(texts):
    vectors = fitted(texts)
    assert 1 <= vectors.shape[1] <= max(len(texts) - 1, 1)
    assert np.isfinite(vectors).all()


def test_texts_without_a_known_word_become_zero_and_no_words_at_all_are_an_error():
    encoder = LSA()
    encoder.fit(TEXTS)
    assert not encoder.encode(["", "?!"]).any()
    with pytest.raises(EncoderError, match="no word"):
        LSA().fit(["", "..."])


def test_a_word_of_every_text_hardly_counts_and_shared_rare_words_do():
    texts = [f"and of the {word} {word}s" for word in ("drama", "comedy", "western") for _ in range(6)]
    vectors = fitted(texts, dim=3)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.99 and similarity[0, 7] < 0.1


def test_scripts_without_spaces_are_compared_by_their_signs():
    texts = ["\u6050\u6016\u7535\u5f71", "\u7231\u60c5\u7535\u5f71", "\u7231\u60c5\u6545\u4e8b", "\u6050\u6016\u6545\u4e8b"]
    vectors = fitted(texts)
    assert vectors[1] @ vectors[2] > vectors[0] @ vectors[2]


def test_options_are_checked():
    assert get_encoder("lsa", dim=3, device=None).name == "lsa"
    with pytest.raises(ConfigError, match="'lsa' does not know device"):
        get_encoder("lsa", device="cpu")
    for dim in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match="positive integer"):
            get_encoder("lsa", dim=dim)


def test_of_many_texts_it_is_fitted_to_some(monkeypatch):
    monkeypatch.setattr(lsa, "FITTED", 5)
    asked = []

    class Watched(list):
        def __getitem__(self, place):
            asked.append(int(place))
            return super().__getitem__(place)

    many = LSA(dim=3)
    many.fit(Watched(TEXTS))
    assert asked == [0, 4, 9, 14, 19]
    few = LSA(dim=3)
    few.fit([TEXTS[place] for place in asked])
    assert np.array_equal(many.encode(TEXTS), few.encode(TEXTS))
