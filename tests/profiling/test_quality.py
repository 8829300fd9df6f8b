"""What can be told of profiles without another model."""

from __future__ import annotations

import itertools
import random

import pytest
from films import Setup, chat_of, make_corpus
from loopback import WORDS, Loopback

from recbole_rlmrec.data.profile import Profile
from recbole_rlmrec.llm.prompt import Prompt
from recbole_rlmrec.profiling.duplicates import count_near_duplicates, signature
from recbole_rlmrec.profiling.languages import is_in, known_language, language_of
from recbole_rlmrec.profiling.prompts import wrap
from recbole_rlmrec.profiling.quality import check, describe_quality, names_in
from recbole_rlmrec.profiling.review import beside, review
from recbole_rlmrec.report.quality import quality_table

TEXTS = {
    "english": "Suits those who are fond of slow stories and of the quiet landscapes that this film is known for in the north.",
    "german": "F\u00fcr alle, die langsame Geschichten m\u00f6gen und mit den stillen Landschaften des Films etwas anfangen "
    "k\u00f6nnen, ist das ein Fest, auch wer sonst nicht ins Kino geht.",
    "french": "Pour ceux qui aiment les histoires lentes et les paysages calmes, ce film est une belle surprise dans un genre "
    "qui en a plus besoin que les autres.",
    "spanish": "Para quienes gustan de las historias lentas y los paisajes tranquilos, es una buena elecci\u00f3n que no se "
    "olvida con el tiempo y como pocas.",
    "russian": "\u0414\u043b\u044f \u0442\u0435\u0445, \u043a\u0442\u043e \u043b\u044e\u0431\u0438\u0442.",
    "chinese": "\u9002\u5408\u559c\u6b22\u6162\u8282\u594f\u6545\u4e8b\u548c\u5b89\u9759\u98ce\u666f\u7684\u89c2\u4f17\u3002",
    "japanese": "\u3086\u3063\u304f\u308a\u3057\u305f\u7269\u8a9e\u304c\u597d\u304d\u306a\u4eba\u306b\u5408\u3046\u3002",
}


@pytest.mark.parametrize("language", TEXTS)
def test_languages(language):
    assert language_of(TEXTS[language]) == language
    assert [other for other in TEXTS if is_in(TEXTS[language], other)] == [language]


def test_languages_by_name():
    names = {"English": "english", "Deutsch": "german", "Brazilian Portuguese": "portuguese", "simplified Chinese": "chinese"}
    assert {name: known_language(name) for name in names} == names and known_language("Klingon") is None
    assert language_of("Slow film.") is None and language_of("") is None
    assert language_of("Chose i13, i2, i40, i7, i8 and i9: red kettle, blue pan, green pot, black knife, white bowl.") is None


def test_names():
    text = "Fans of David Lynch will love it. The mood is grim; Kyle's role too. It has a Twin Peaks feel, and a mood."
    assert names_in(text) == ["David", "Lynch", "Twin", "Peaks"]
    assert names_in(TEXTS["german"]) is None
    assert names_in("Wer Filme mit Tiefe und Ruhe sucht, mag Werke mit Ernst und Humor.") is None
    assert names_in("") == []


def test_checks_of_one_profile():
    prompt = Prompt("item", "1", "system", wrap({"title": "Dune", "description": "Paul rides worms on Arrakis."}), (), 200, 10)
    found = check("Suits fans of Paul's rides on Arrakis and of Star Wars, with worms.", prompt, "English")
    assert found.invented == ["Star", "Wars"] and found.words == 13
    assert found.taken_over == pytest.approx(4 / 9) and found.in_language is None
    assert check(TEXTS["french"], prompt, "English").in_language is False
    assert check(TEXTS["english"], prompt, "English").in_language is True
    lost = check("Any Thing", None, "Klingon")
    assert (lost.invented, lost.taken_over, lost.in_language) == (None, None, None)


def jaccard(first: str, second: str) -> float:
    runs = [{tuple(text.split()[n : n + 3]) for n in range(len(text.split()) - 2)} for text in (first, second)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_near_duplicates_are_those_of_the_exact_measure():
    numbers = random.Random(5)
    texts = [" ".join(numbers.choice(WORDS) + str(numbers.randint(0, 99)) for _ in range(60)) for _ in range(40)]
    texts += [f"{text} and a few more words" for text in texts[:7]] + [texts[10]]
    pairs = [(a, b) for a, b in itertools.combinations(range(len(texts)), 2) if jaccard(texts[a], texts[b]) > 0.7]
    expected = {number for pair in pairs for number in pair}
    assert count_near_duplicates([signature(text) for text in texts]) == len(expected) == 16
    estimate = (signature(texts[0]) == signature(texts[40])).mean()
    assert estimate == pytest.approx(jaccard(texts[0], texts[40]), abs=0.15)


def test_near_duplicates_of_short_and_unspaced_texts():
    assert count_near_duplicates([signature(text) for text in ("", "", "one", "two", TEXTS["chinese"], TEXTS["chinese"])]) == 4
    assert count_near_duplicates([]) == 0


def test_figures_and_review_of_a_tag(tmp_path):
    setup = Setup(tmp_path / "tag", make_corpus())
    with Loopback() as server:
        setup.run(chat_of(server))
        questions = setup.questions(chat_of(server))
        with setup.store.appender("item") as appender:
            appender.append(Profile("i0", "Likes Nowhere. " + "word " * 210, "", []))
    figures = describe_quality(questions, setup.store, setup.domain, "item")
    assert (figures["profiles"], figures["checked"], figures["domain"]) == (8, 8, "movie")
    assert figures["longest"] == 212 and figures["over_limit"] == figures["with_invented_names"] == 1 / 8
    assert figures["near_duplicates"] == 0.0
    said = review(questions, setup.store, setup.domain, 2)
    assert said.count("=== item ") == said.count("=== user ") == 2
    assert "names that stand nowhere in the question: Nowhere" in said and "title: Film 0" in said
    assert "items, movie: 8 profiles" in said and "nearly the same as another one" in said
    assert "=== " not in review(questions, setup.store, setup.domain, 0)
    table = quality_table({"quality": {"item": figures, "user": {}}})
    assert table["rows"][0][:3] == ["item", "movie", 8] and quality_table({}) is None


def test_two_columns():
    left, right = beside("word " * 30, "a\nb").splitlines()[:2]
    assert left.endswith("| a") and right.endswith("| b")
