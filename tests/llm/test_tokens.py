"""Counting and cutting."""

from __future__ import annotations

import sys

import pytest

from recbole_rlmrec.llm.tokens import TokenCounter, cut

COUNTER = TokenCounter("no such model")


def test_without_tiktoken_it_says_that_it_estimates():
    assert not COUNTER.exact
    assert "estimated" in COUNTER.how
    assert COUNTER.count("a" * 400) == 100
    assert COUNTER.count("\u0436" * 100) == 80
    assert COUNTER.count("") == 0


def test_with_tiktoken_it_counts(monkeypatch):
    class Encoding:
        def encode(self, text, disallowed_special):
            return text.split()

    class Tiktoken:
        @staticmethod
        def encoding_for_model(model):
            if model != "known":
                raise KeyError(model)
            return Encoding()

    monkeypatch.setitem(sys.modules, "tiktoken", Tiktoken)
    counter = TokenCounter("known")
    assert counter.exact and "tiktoken" in counter.how
    assert counter.count("three short words") == 3 and cut("three short words", 2, counter) == "three short"
    assert not TokenCounter("other").exact


@pytest.mark.parametrize("most", [1, 3, 10, 40])
def test_cuts_end_between_words(most):
    text = "Some words are short, others incomprehensibilities; all of them stay whole. " * 5
    short = cut(text, most, COUNTER)
    assert COUNTER.count(short) <= most
    assert text.startswith(short)
    assert not short or text[len(short)].isspace()


def test_a_word_that_does_not_fit_is_left_out():
    assert cut("incomprehensibilities and more", 2, COUNTER) == ""


def test_scripts_without_spaces_are_cut_between_characters():
    short = cut("\u6771\u4eac\u7269\u8a9e" * 20, 8, COUNTER)
    assert 4 <= len(short) <= 10


def test_short_texts_stay():
    assert cut("two words", 10, COUNTER) == "two words"
