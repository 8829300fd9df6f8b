"""A small corpus of films and a store for its profiles."""

from __future__ import annotations

import pytest
from films import Setup, make_corpus

from recbole_rlmrec.data.corpus import Corpus


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus()


@pytest.fixture
def setup(tmp_path, corpus) -> Setup:
    return Setup(tmp_path / "dataset" / "films" / "semantic" / "test", corpus)
