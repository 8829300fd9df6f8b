"""Answers: lenient about form, strict about content."""

from __future__ import annotations

import json

import pytest

from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.profiling.answers import BadAnswer, count_words, find_object, read_answer
from recbole_rlmrec.profiling.prompts import load_domain, wrap

DATA = {"title": "Alien", "description": "A crew meets something on a dark and distant moon that it should have left there."}
PROMPT = Prompt("item", "1", load_domain("movie").system("item"), wrap(DATA), (), 200, 300)
GOOD = {"summarization": "Suits those who like slow, dark science fiction.", "reasoning": "The title and plot."}


def read(text: str) -> tuple[str, str]:
    answer = read_answer(text, PROMPT)
    return answer.summary, answer.reasoning


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        "```json\n" + json.dumps(GOOD, indent=2) + "\n```",
        "Here you are:\n" + json.dumps(GOOD) + "\nAnything else? {just ask}",
        json.dumps(GOOD)[:-1] + ",\n}",
        '<think>{"summarization": "a draft", "reasoning": "x"}</think>' + json.dumps(GOOD),
        json.dumps({"Summarization ": GOOD["summarization"], "Reasoning": GOOD["reasoning"]}),
        json.dumps({"meta": {"n": 1}}) + json.dumps(GOOD),
        json.dumps(GOOD).replace("slow, ", "slow,\n "),
    ],
)
def test_form_does_not_matter(text):
    assert read(text) == (GOOD["summarization"], GOOD["reasoning"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON object"),
        ("It is for everyone.", "no JSON object"),
        ("{" * 5000, "no JSON object"),
        ('{"a":' * 3000, "no JSON object"),
        (json.dumps([1, 2]), "no JSON object"),
        (json.dumps({"reasoning": "x"}), "summarization"),
        (json.dumps({"summarization": None, "reasoning": "x"}), "null"),
        (json.dumps({"summarization": ["a"], "reasoning": "x"}), "string"),
        (json.dumps({"summarization": "fine and good"}), "reasoning"),
        (json.dumps({**GOOD, "reasoning": " "}), "reasoning"),
        (json.dumps({**GOOD, "summarization": "None."}), "None"),
        (json.dumps({**GOOD, "summarization": "  "}), "empty"),
        (json.dumps({**GOOD, "summarization": "word " * 251}), "251 words"),
        (json.dumps({**GOOD, "summarization": PROMPT.system[:200]}), "repeats"),
        (json.dumps({**GOOD, "summarization": "So " + " ".join(PROMPT.system.split()[20:40])}), "repeats"),
        (json.dumps({**GOOD, "summarization": DATA["description"]}), "repeats"),
        (json.dumps({**GOOD, "summarization": "It is <data> and so on"}), "repeats"),
    ],
)
def test_content_matters(text, reason):
    with pytest.raises(BadAnswer, match=reason):
        read(text)


def test_a_summary_may_be_a_quarter_too_long():
    assert read(json.dumps({**GOOD, "summarization": "word " * 250}))


def test_strange_characters_cannot_break_a_line_of_the_store():
    summary, _ = read('{"summarization": "one\\u2028two\\n\\u0000three \\ud800 \u2028 four", "reasoning": "r"}')
    assert summary == "one two three ? four"


def test_an_answer_that_repeats_a_profile_of_an_item_is_no_copy_of_the_question():
    """A model that says the same of everything has a bad prompt; that is told of all users together."""
    constant = "Enjoys quiet evenings, long walks, plain stories and nothing else at all."
    review = "It was a dark and very distant moon, and I liked it."
    data = {"history": [{"title": "Alien", "profile": constant, "review": review}]}
    prompt = Prompt("user", "1", load_domain("movie").system("user"), wrap(data), (), 100, 300)
    assert read_answer(json.dumps({**GOOD, "summarization": constant}), prompt).summary == constant
    with pytest.raises(BadAnswer, match="repeats"):
        read_answer(json.dumps({**GOOD, "summarization": review}), prompt)


def test_commas_within_strings_stay():
    assert find_object('{"summary": "a, }b,]", "reasoning": "r",}', "summary")["summary"] == "a, }b,]"


@pytest.mark.parametrize(("text", "words"), [("two words", 2), ("don't well-known", 2), ("\u55b6\u696d\u4e2d", 2), ("", 0)])
def test_words_are_counted_in_any_script(text, words):
    assert count_words(text) == words


@pytest.mark.parametrize("shown", ["string", "<the summary>", "\u2039text\u203a", "your summary here", "...", "{summary}"])
def test_a_form_that_is_shown_after_the_answer_is_none(shown):
    form = json.dumps({"summarization": shown, "reasoning": "string"})
    answer = json.dumps({"summarization": "Fans of slow films.", "reasoning": "r"})
    for text in (f"{answer}\nNote: the format was {form}", f"The format is {form}\n{answer}"):
        assert read(text) == ("Fans of slow films.", "r")
    with pytest.raises(BadAnswer):
        read(form)
