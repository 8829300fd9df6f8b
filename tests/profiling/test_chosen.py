"""A first part to be read before the rest is bought."""

from __future__ import annotations

import pytest
from films import Setup, chat_of, make_corpus
from loopback import Loopback

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.profiling.chosen import first, listed
from recbole_rlmrec.profiling.questions import SIDES


@pytest.fixture
def large(tmp_path) -> Setup:
    return Setup(tmp_path / "tag", make_corpus(n_users=40, n_items=60, per_user=5), items=4)


def run(setup: Setup, server: Loopback, chosen=None) -> None:
    made = setup.questions
    setup.questions = lambda *given: _with(made(*given), chosen)
    setup.run(chat_of(server))
    setup.questions = made


def _with(questions, chosen):
    questions._chosen = chosen
    return questions


@pytest.mark.parametrize("number", [1, 4, 10, 25, 1000])
def test_nothing_of_the_first_part_is_bought_twice(large, number):
    builder = large.builder()
    chosen = first(builder, number)
    assert len(chosen["item"]) == min(number, 60) and len(chosen["user"]) <= number
    assert all(set(builder.quoted_items(user)) <= chosen["item"] for user in chosen["user"])
    assert bool(chosen["user"]) == (number >= 4)
    with Loopback() as server:
        run(large, server, chosen)
        assert [len(large.tokens(side)) for side in SIDES] == [len(chosen[side]) for side in SIDES]
        run(large, server)
        assert server.requests == 100, "each was asked about once"
    assert [len(large.tokens(side)) for side in SIDES] == [60, 40]


def test_a_file_of_ids(large, tmp_path):
    builder, path = large.builder(), tmp_path / "ids.txt"
    path.write_text("u3\n\n i7 \nuser:u4\nitem:i59\n")
    chosen = listed(builder, path)
    assert chosen["user"] == {3, 4}
    assert chosen["item"] == {7, 59, *builder.quoted_items(3), *builder.quoted_items(4)}
    with Loopback() as server:
        run(large, server, chosen)
        assert sorted(large.tokens("user")) == ["u3", "u4"] and len(large.tokens("item")) == len(chosen["item"])
        run(large, server)
        assert server.requests == 100


def test_an_id_that_both_sides_have(tmp_path):
    corpus = make_corpus()
    corpus.users = ["i1", *corpus.users[1:]]
    corpus.interactions["user"] = corpus.interactions["user"].replace("u0", "i1")
    builder, path = Setup(tmp_path / "tag", corpus).builder(), tmp_path / "ids.txt"
    for line, users, items in (("i1", {0}, {1}), ("user:i1", {0}, set()), ("item:i1", set(), {1})):
        path.write_text(line)
        chosen = listed(builder, path)
        assert chosen["user"] == users
        assert chosen["item"] == items | (set(builder.quoted_items(0)) if users else set())


@pytest.mark.parametrize(("content", "said"), [("u1\nnobody\n", "1 ids that are neither.*'nobody'"), ("\n", "no ids")])
def test_ids_that_are_none(large, tmp_path, content, said):
    (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(ConfigError, match=said):
        listed(large.builder(), tmp_path / "ids.txt")


def test_unusable_parts(large, tmp_path):
    with pytest.raises(ConfigError, match="--limit"):
        first(large.builder(), 0)
    with pytest.raises(ConfigError, match="cannot be read"):
        listed(large.builder(), tmp_path / "missing")


def test_items_that_say_nothing_are_passed_over_as_in_the_question(tmp_path):
    corpus = make_corpus(n_users=4, n_items=40, per_user=20, reviews=False)
    corpus.item_fields.loc[corpus.items[::5]] = ""
    setup = Setup(tmp_path / "tag", corpus)
    with Loopback() as server:
        run(setup, server, first(setup.builder(), 12))
        run(setup, server)
        assert server.requests == 4 + 32, "each was asked about once"
