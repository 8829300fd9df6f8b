"""Prices, usage, budgets and estimates."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from films import Setup, chat_of, make_corpus
from loopback import Loopback

from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.llm.cost import (
    BudgetReached,
    Meter,
    Price,
    Usage,
    expected_completion,
    find_price,
    read_prices,
)
from recbole_rlmrec.profiling.estimate import Limits, describe_estimate, describe_result, estimate
from recbole_rlmrec.profiling.tag import SideSummary, spent


def test_what_was_spent_is_priced_as_it_was_bought():
    used = {"gpt-4o": Usage(1, 10**6, 0), "gpt-4o (batch)": Usage(1, 10**6, 0), "mine (batch)": Usage(1, 10**6, 10**6)}
    full, half = (find_price("gpt-4o", batch=batch).prompt for batch in (False, True))
    assert spent(used, "gpt-4o") == pytest.approx(full + half)
    assert spent(used, "mine", 20.0, 3.0) == pytest.approx(full + half + 23)
    assert spent({"mine (batch)": used["mine (batch)"]}, "gpt-4o") == 0


def test_the_price_table():
    table = read_prices()
    assert table["checked"] and table["source"]
    assert find_price("gpt-4o-mini") == Price(0.15, 0.60)
    assert find_price("gpt-4o-mini", batch=True) == find_price("gpt-4o-mini (batch)") == Price(0.075, 0.30)
    assert find_price("no-such-model") is None
    assert find_price("no-such-model", 1.0, 2.0).usd(1_000_000, 500_000) == 2.0
    assert find_price("template").usd(1e6, 1e6) == find_price("transformers:x").usd(1e6, 1e6) == 0


def test_half_a_price_is_refused():
    with pytest.raises(ConfigError, match="go together"):
        find_price("m", 1.0)
    with pytest.raises(ConfigError, match="0 or more"):
        find_price("m", -1.0, 2.0)


def test_a_broken_table_is_named(tmp_path):
    file = tmp_path / "prices.yaml"
    for content in ("models: {m: {input: cheap, output: 1}}", "nothing", "models: ["):
        file.write_text(content)
        with pytest.raises(ConfigError, match="no price table"):
            read_prices(file)


def test_a_budget_needs_a_price():
    with pytest.raises(ConfigError, match="--price-in"):
        Meter(None, 1.0)
    with pytest.raises(ConfigError, match="0 or more"):
        Meter(Price(1, 1), -1.0)
    assert Meter(None).usd is None


def test_many_threads_do_not_pass_the_budget():
    meter = Meter(Price(1.0, 1.0), 1.0)

    def spend():
        try:
            while True:
                reserved = meter.reserve(1000, 500, wait=True)
                meter.settle(reserved, 1000, Usage(1, 1200, 500))
        except BudgetReached:
            pass

    threads = [threading.Thread(target=spend) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.99 < meter.usd <= 1.0


def test_reserves_grow_with_what_was_seen():
    meter = Meter(Price(1e6, 0.0), 10.0)
    meter.settle(meter.reserve(1, 0), 1, Usage(1, 3, 0))
    assert meter.reserve(1, 0) == 3.0


def test_usage_that_makes_no_sense_counts_as_nothing():
    assert Usage.of(None) == Usage.of({"requests": "many"}) == Usage()
    assert Usage.of(Usage(1, 2, 3).as_dict()) == Usage(1, 2, 3)


def test_estimates_count_what_is_still_open(tmp_path):
    setup = Setup(tmp_path / "tag", make_corpus())
    with Loopback() as server:
        chat = chat_of(server)
        before = estimate(setup.questions(chat), setup.domain, Limits(700, 700, prompt=3000))
        assert [entry.usage.requests for entry in before] == [8, 6]
        assert before[0].usage.completion_tokens == 8 * expected_completion(200) == 8 * 296
        assert before[0].most.completion_tokens == 8 * 700
        assert before[1].usage.prompt_tokens > 6 * 5 * 140, "item profiles that are not there yet count"
        assert server.requests == 0
        setup.run(chat)
        after = estimate(setup.questions(chat), setup.domain, Limits(700, 700))
        assert [entry.usage.requests for entry in after] == [0, 0]
    text = describe_estimate(before, find_price("gpt-4o-mini"), "gpt-4o-mini", "estimated", True)
    assert "8 requests" in text and "Batch API" in text and "per 1,000 profiles" in text and "estimated" in text
    assert "--price-in" in describe_estimate(before, None, "m", "estimated", False)


def test_the_summary_warns_of_identical_profiles():
    summaries = [SideSummary("item", 10, 9, 1, 40.0, 5), SideSummary("user", 3, 3, 0, 20.0, 0)]
    text = describe_result(summaries, Usage(12, 1000, 200), 0.5, "--retry-failed", Path("shop/gpt/failures.jsonl"))
    assert "9 of 10, 1 failed, 40 words on average, 5 with the same text" in text
    assert text.count("bad prompt") == 1 and "$0.5000" in text
    assert "1 failures are listed in shop/gpt/failures.jsonl; ask for just those again with --retry-failed." in text
