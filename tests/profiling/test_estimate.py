"""Estimates from a sample of the questions."""

from __future__ import annotations

import numpy as np
import pytest
from films import Setup, make_corpus

from recbole_rlmrec.llm.models import get_chat_model
from recbole_rlmrec.profiling.estimate import Limits, _variance, describe_estimate, estimate
from recbole_rlmrec.profiling.questions import SIDES, Tally
from recbole_rlmrec.profiling.stored import Failure

LIMITS = Limits(700, 700, 3, 3000)


@pytest.fixture
def setup(tmp_path) -> Setup:
    """120 users and 90 items, descriptions of very different length, three items without any text and a user of just those."""
    found = Setup(tmp_path / "tag", make_corpus(n_users=120, n_items=90, per_user=4))
    fields, rows = found.corpus.item_fields, found.corpus.interactions
    fields["description"] = ["word " * (n % 40) for n in range(90)]
    fields.loc[["i0", "i1", "i2"]] = ["", "", ""]
    rows.loc[rows["item"].isin(["i0", "i1", "i2"]) | (rows["user"] == "u0"), "review"] = ""
    rows.loc[rows["user"] == "u0", "item"] = ["i0", "i1", "i2", "i0"]
    return found


def chat():
    return get_chat_model("template", None)


def exact_and_sampled(setup: Setup, sample: int):
    every, some = setup.questions(chat()), setup.questions(chat())
    return estimate(every, setup.domain, LIMITS), estimate(some, setup.domain, LIMITS, sample), every, some


def test_a_sample_says_how_far_it_may_be_off(setup):
    exact, sampled, every, some = exact_and_sampled(setup, 60)
    for whole, part in zip(exact, sampled):
        assert whole.error.prompt_tokens == 0 < part.error.prompt_tokens
        assert abs(part.usage.prompt_tokens - whole.usage.prompt_tokens) <= 2 * part.error.prompt_tokens
        assert part.usage.prompt_tokens != whole.usage.prompt_tokens
        assert (part.usage.requests, part.usage.completion_tokens) == (whole.usage.requests, whole.usage.completion_tokens)
        assert part.error.requests == 0 and abs(part.most.prompt_tokens / whole.most.prompt_tokens - 1) < 0.15
    assert [entry.usage.requests for entry in exact] == [87, 119]
    assert some.tally == every.tally == {"item": Tally(textless=3), "user": Tally(textless=1)}
    text = describe_estimate(sampled, None, "m", "estimated", False)
    assert "87 requests" in text and "+/-" in text and "--exact" in text
    assert "+/-" not in describe_estimate(exact, None, "m", "estimated", False)


def test_a_sample_that_is_the_whole_is_exact(setup):
    exact, sampled, every, some = exact_and_sampled(setup, 500)
    assert sampled == exact and some.tally == every.tally


@pytest.mark.parametrize("sample", [None, 25])
def test_what_is_stored_failed_or_changed_counts_as_a_run_would_count_it(setup, sample):
    setup.run(chat())
    setup.corpus.item_fields.loc[[f"i{n}" for n in range(40, 50)], "description"] = "Quite another film."
    every = setup.questions(chat())
    failure = Failure("item", "i45", "refused", "no", 1, every.question("item", 45).key, "template")
    every.failures.add(failure)
    every.failures.flush()
    some = setup.questions(chat())
    expected = {side: sum(1 for _ in every.pending(side, every.stored(side), every.stored("item").text)) for side in SIDES}
    found = estimate(some, setup.domain, LIMITS, sample)
    assert expected["item"] == 9
    if sample is None:
        assert [entry.usage.requests for entry in found] == [9, expected["user"]]
        assert some.tally["item"] == every.tally["item"] == Tally(stored=77, failed_before=1, textless=3)
    else:
        assert 0 < found[0].error.requests and abs(found[0].usage.requests - 9) <= 2 * found[0].error.requests
        tally = some.tally["item"]
        assert tally.textless == 3 and abs(tally.stored + tally.failed_before + found[0].usage.requests - 87) <= 2
    again = setup.questions(chat(), retry_failed=True)
    assert [entry.usage.requests for entry in estimate(again, setup.domain, LIMITS, sample)] == [1, 0]
    assert again.tally["item"].stored == 86


def test_the_interval_is_that_of_sampling_without_replacement():
    rng = np.random.default_rng(5)
    population = rng.gamma(2.0, 100.0, (300, 3)) * (rng.random((300, 1)) < 0.7)
    estimates, variances = [], []
    for _ in range(400):
        drawn = population[rng.choice(300, 50, replace=False)]
        estimates.append(6 * drawn.sum(axis=0))
        variances.append(_variance(drawn[drawn.any(axis=1)], 50, 300))
    assert np.mean(variances, axis=0) == pytest.approx(np.var(estimates, axis=0), rel=0.2)
    assert (_variance(population, 300, 300) == 0).all()
