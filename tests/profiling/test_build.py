"""Which data a question quotes, and how they are made to fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from films import DESCRIPTION, Setup, make_corpus

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.prompt import unwrap
from recbole_rlmrec.llm.tokens import TokenCounter
from recbole_rlmrec.profiling.build import PromptBuilder
from recbole_rlmrec.profiling.dates import dates


def nothing(position: int) -> None:
    return None


def with_rows(corpus, rows):
    return dataclasses.replace(corpus, interactions=rows.reset_index(drop=True))


def quoted(setup, way: str, position: int) -> set[str]:
    setup.sampling = dataclasses.replace(setup.sampling, describe_with=way)
    prompt = setup.builder().item(position)
    data = unwrap(prompt.user)
    assert len(data.get("reviews", [])) == len(prompt.pairs)
    for review, (user, item) in zip(data.get("reviews", []), prompt.pairs, strict=True):
        assert item == f"i{position}" and item in review and user in review
    return set(data)


@pytest.mark.parametrize(
    ("way", "described", "other"),
    [
        ("both", {"title", "genre", "description"}, {"title", "genre", "reviews"}),
        ("description", {"title", "description"}, {"title", "genre", "reviews"}),
        ("attributes", {"title", "genre"}, {"title", "genre"}),
        ("reviews", {"title", "reviews"}, {"title", "reviews"}),
    ],
)
def test_what_items_are_described_by(setup, way, described, other):
    assert quoted(setup, way, 0) == described and quoted(setup, way, 1) == other


def test_an_item_without_what_is_asked_for_is_described_by_the_rest(setup):
    setup.corpus.item_fields["genre"] = ""
    assert quoted(setup, "attributes", 0) == {"title", "description", "reviews"}
    setup.corpus.interactions["review"] = ""
    assert quoted(setup, "reviews", 0) == {"title", "description"}
    with pytest.raises(ConfigError, match="--describe-with"):
        dataclasses.replace(setup.sampling, describe_with="everything")


def test_equal_reviews_are_quoted_once(setup):
    setup.corpus.interactions["review"] = "Good!"
    builder = setup.builder()
    item = builder.item(1)
    assert unwrap(item.user)["reviews"] == ["Good!"] and len(item.pairs) == 1
    history = unwrap(builder.user(0, nothing).user)["history"]
    assert sum("review" in entry for entry in history) == 1 and len(history) == 5


def test_without_reviews_none_is_sent(tmp_path):
    prompt = Setup(tmp_path, make_corpus(), reviews=0).builder().item(1)
    assert "reviews" not in unwrap(prompt.user) and prompt.pairs == ()


def test_another_column_as_title_is_the_title(setup):
    corpus = setup.corpus
    corpus.item_fields["headline"] = [f"Breaking {number}" for number in range(8)]
    corpus.field_types["headline"] = corpus.field_types["title"]
    columns = corpus.columns(title="headline", description=None)
    builder = PromptBuilder(corpus, columns, setup.domain, TokenCounter("none"), setup.sampling)
    data = unwrap(builder.item(0).user)
    assert data["title"] == "Breaking 0" and data["other title"] == "Film 0"
    assert DESCRIPTION.format(0) not in builder.item(0).user


def test_users_quote_title_profile_rating_and_their_own_review(setup):
    prompt = setup.builder().user(2, lambda position: f"profile of {position}" if position % 2 else None)
    data = unwrap(prompt.user)
    assert data["rating_scale"] == "1 to 5"
    rows = setup.corpus.interactions.set_index(["user", "item"])
    assert len(data["history"]) == len(prompt.pairs) == 5
    for entry, (user, item) in zip(data["history"], prompt.pairs, strict=True):
        assert user == "u2" and entry["title"] == f"Film {item[1:]}"
        assert entry["rating"] == rows.loc[(user, item), "rating"]
        assert item in entry["review"] and "u2" in entry["review"]
        assert entry.get("profile") == (f"profile of {item[1:]}" if int(item[1:]) % 2 else None)


def test_no_id_is_in_a_question(setup):
    setup.corpus.interactions["review"] = ""
    setup.corpus.interactions["user"] = [f"person-{user}" for user in setup.corpus.interactions["user"]]
    setup.corpus.users = [f"person-{user}" for user in setup.corpus.users]
    builder = setup.builder()
    prompts = [builder.item(1), builder.user(1, nothing)]
    assert not any("person" in prompt.system + prompt.user for prompt in prompts)


def test_samples_are_uniform_seeded_and_of_the_size_asked_for(tmp_path):
    corpus = make_corpus(n_users=400, n_items=20, per_user=20, reviews=False)
    builder = Setup(tmp_path, corpus, items=5).builder()
    samples = [[item for _, item in builder.user(position, nothing).pairs] for position in range(400)]
    assert all(len(set(sample)) == 5 for sample in samples)
    counts = np.unique(sum(samples, []), return_counts=True)[1]
    assert len(counts) == 20 and counts.min() > 65 and counts.max() < 135
    other = Setup(tmp_path, corpus, items=5)
    other.sampling = dataclasses.replace(other.sampling, seed=1)
    builder = other.builder()
    changed = [[item for _, item in builder.user(position, nothing).pairs] for position in range(400)]
    assert sum(a == b for a, b in zip(samples, changed, strict=True)) < 4


def test_new_interactions_change_few_samples(tmp_path):
    corpus = make_corpus(n_users=200, n_items=40, per_user=20, reviews=False)
    rows = corpus.interactions
    fewer = with_rows(corpus, rows[rows.groupby("user").cumcount() < 19])
    old, new = (Setup(tmp_path, c, items=5).builder() for c in (fewer, corpus))
    same = sum(old.user(position, nothing).user == new.user(position, nothing).user for position in range(200))
    assert same == pytest.approx(200 * 15 / 20, abs=25)


def test_order_of_the_rows_does_not_matter(setup):
    builder = setup.builder()
    setup.corpus = with_rows(setup.corpus, setup.corpus.interactions.iloc[::-1])
    again = setup.builder()
    assert all(builder.user(user, nothing) == again.user(user, nothing) for user in range(6))


def test_nothing_to_say(setup):
    setup.corpus.item_fields.loc["i3"] = ""
    setup.corpus.interactions["review"] = ""
    setup.corpus = with_rows(setup.corpus, setup.corpus.interactions[setup.corpus.interactions["user"] != "u4"])
    builder = setup.builder()
    assert builder.item(3) is None
    assert builder.user(4, nothing) is None
    assert all("i3" not in dict(map(reversed, builder.user(user, nothing).pairs)) for user in (0, 1, 2, 3, 5))


def test_interactions_of_items_that_the_run_does_not_have_are_not_quoted(setup):
    setup.corpus.items = setup.corpus.items[:4]
    setup.corpus.item_fields = setup.corpus.item_fields.iloc[:4]
    quoted = [pair for position in range(6) for pair in setup.builder().user(position, nothing).pairs]
    assert {item for _, item in quoted} == {"i0", "i1", "i2", "i3"}


@pytest.mark.parametrize("most", [400, 440, 600, 1000])
def test_long_texts_are_cut_first_and_never_within_a_word(tmp_path, most):
    corpus = make_corpus()
    corpus.interactions["review"] = ["word" * (i % 3 + 1) + " wordy" * 400 for i in range(len(corpus.interactions))]
    corpus.item_fields["description"] = ["Plot " + "unfolds slowly " * 500] * 8
    builder = Setup(tmp_path, corpus, max_tokens=most).builder()
    words = {"word", "wordword", "wordwordword", "wordy", "Plot", "unfolds", "slowly"}
    for prompt in (builder.item(0), builder.user(0, lambda position: "likes slowly " * 300)):
        assert prompt.tokens <= most
        data = unwrap(prompt.user)
        texts = [data.get("description", "")] + [entry.get("review", "") for entry in data.get("history", [])]
        assert set(" ".join(texts).split()) <= words
        assert data.get("title", "Film 0") == "Film 0"
        assert [entry["title"] for entry in data.get("history", [])] == [f"Film {item[1:]}" for _, item in prompt.pairs]


def test_all_entries_stay_where_there_is_room_for_a_little_of_each(tmp_path):
    corpus = make_corpus()
    corpus.interactions["review"] = [f"fine{number:03d} " * 200 for number in range(len(corpus.interactions))]
    prompt = Setup(tmp_path, corpus, max_tokens=800).builder().user(0, nothing)
    lengths = [len(entry["review"]) for entry in unwrap(prompt.user)["history"]]
    assert len(lengths) == 5 and max(lengths) - min(lengths) <= 5
    assert prompt.tokens > 700


def test_too_small_a_budget_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--max-prompt-tokens 200 is too small"):
        Setup(tmp_path, make_corpus(), max_tokens=200).builder()


def test_without_item_file_reviews_are_enough(setup):
    setup.corpus.item_fields = None
    builder = setup.builder()
    assert list(unwrap(builder.item(0).user)) == ["reviews"]
    assert unwrap(builder.user(0, nothing).user)["history"][0].keys() == {"rating", "review"}


def in_time(setup, times: list) -> None:
    """Rows of each user at these times."""
    rows = setup.corpus.interactions
    rows["timestamp"] = [str(times[place]) for place in rows.groupby("user").cumcount()]
    setup.corpus.time_field = "timestamp"
    setup.corpus.field_types["timestamp"] = setup.corpus.field_types["rating"]


def latest(setup, **sampling):
    setup.sampling = dataclasses.replace(setup.sampling, history="latest", **sampling)
    return setup.builder()


def test_the_latest_interactions_are_a_sequence_with_dates_and_record_their_times(setup):
    in_time(setup, [875000000, 875000000, 875080000.5, 876000000, ""])
    own = setup.corpus.interactions.query("user == 'u2'")
    prompt = latest(setup, items=4).user(2, nothing)
    entries = unwrap(prompt.user)["history"]
    assert [item for _, item in prompt.pairs] == own["item"].tolist()[1:]
    assert [entry["title"] for entry in entries] == [f"Film {item[1:]}" for _, item in prompt.pairs]
    assert [entry.get("date") for entry in entries] == ["1997-09-23", "1997-09-24", "1997-10-04", None]
    assert prompt.times == (875000000, 875080000.5, 876000000, None)
    assert "a sequence" in prompt.system and "the latest of the films" in prompt.system
    assert setup.builder().quoted_items(2) == [int(item[1:]) for item in own["item"].tolist()[:0:-1]]


def test_a_sample_says_nothing_of_time_but_records_it(setup):
    before = setup.builder().user(2, nothing)
    in_time(setup, [875000000 + place for place in range(5)])
    prompt = setup.builder().user(2, nothing)
    assert (prompt.system, prompt.user) == (before.system, before.user) and before.times == ()
    own = setup.corpus.interactions.query("user == 'u2'").set_index("item")["timestamp"]
    assert prompt.times == tuple(int(own[item]) for _, item in prompt.pairs)
    assert "a sample of the films" in prompt.system and "date" not in prompt.system


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_days_are_those_of_unix_times_in_whatever_unit(unit):
    found = dates(np.array([str(value * unit) for value in (1_700_000_000, 1_700_086_399)] + ["", "0"], dtype=object))
    assert [*found] == ["2023-11-14", "2023-11-15", "", ""]


@pytest.mark.parametrize("values", [["1", "2006"], ["", ""], ["875000000", "3"], ["19970923"], ["1e30"]])
def test_other_numbers_are_no_dates(values):
    assert dates(np.array(values, dtype=object)) is None


def test_what_does_not_fit_of_a_sequence_is_its_oldest_part(tmp_path):
    corpus = make_corpus(n_items=30, per_user=30)
    corpus.interactions["review"] = ["fine " * 200] * len(corpus.interactions)
    setup = Setup(tmp_path, corpus, max_tokens=600, items=30)
    prompt = latest(setup).user(0, nothing)
    kept = [item for _, item in prompt.pairs]
    assert 1 < len(kept) < 30 and kept == corpus.interactions.query("user == 'u0'")["item"].tolist()[-len(kept) :]
    assert len(unwrap(prompt.user)["history"]) == len(kept) and prompt.tokens <= 600


def test_which_history_is_checked(setup):
    with pytest.raises(ConfigError, match="--history is one of sample, latest, not 'first'"):
        dataclasses.replace(setup.sampling, history="first")
