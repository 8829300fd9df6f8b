"""Markup, entities and separators as shops have them."""

from __future__ import annotations

import logging
import random

import pandas as pd
import pytest

from recbole_rlmrec.data.atomic import FeatureType
from recbole_rlmrec.data.text import plain_columns, plain_text, says_something, sequence_separator

SHOP = """<div class="x"><h1>Travel&nbsp;kettle</h1><script>var a = "<p>no</p>";</script><style>p {color: red}</style>
<p>Foldable &amp; <b>light</b>weight.</p><ul><li>0.6&nbsp;l</li><li>110 V</li><li>230 V</li></ul><!-- old -->
<br/>Yes&#33;</div>"""


def test_a_description_of_a_shop():
    assert plain_text(SHOP) == "Travel kettle Foldable & lightweight. 0.6 l; 110 V; 230 V Yes!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&lt;p&gt;Hello &amp;amp; goodbye&lt;/p&gt;", "Hello & goodbye"),
        ("AT&amp;T", "AT&T"),
        ("caf&eacute; &#x1F600;", "caf\u00e9 \U0001f600"),
        ("one<br>two<BR/>three", "one two three"),
        ("<p>I <3 this, 2 < 3 & 4 > 1, x<y</p>", "I <3 this, 2 < 3 & 4 > 1, x<y"),
        ("<table><tr><td>Colour</td><td>red</td></tr></table>", "Colour red"),
        ("<a href='http://x.y/?a=1&b=2'>link</a>ed", "linked"),
        ("<p>not closed", "not closed"),
        ("<script>alert(1)</script>", ""),
    ],
)
def test_markup_becomes_text(text, expected):
    assert plain_text(text) == expected


@pytest.mark.parametrize(
    "text",
    ["plain", "a < b and b > c", "I <3 it", "if x<y then", "<html", "R&D", "Tom & Jerry", "fish &chips;more", "a  b", "<data>"],
)
def test_text_stays_as_it_is(text):
    assert plain_text(text) == text


def test_nothing_breaks_it():
    numbers = random.Random(3)
    pieces = ["<p>", "</p>", "<", ">", "&", "&amp;", "&#0;", "&#x110000;", "<script>", "<!--", "-->", "<li>"]
    pieces += ["a", " ", "\0", "</b", "<br/"]
    for _ in range(500):
        text = "".join(numbers.choice(pieces) for _ in range(numbers.randint(0, 12)))
        assert "<p>" not in plain_text(text)


def test_columns_are_said_once_and_others_are_left_alone(caplog):
    caplog.set_level(logging.INFO)
    table = pd.DataFrame({"d": [SHOP, "x", "<b>y</b>"], "n": ["1", "2", "3"], "v": ["<p>", "", ""]}, dtype=object)
    kinds = {"d": FeatureType.TOKEN_SEQ, "n": FeatureType.FLOAT, "v": FeatureType.FLOAT_SEQ}
    found = plain_columns(table, kinds, "shop.item")
    assert found["d"].tolist()[1:] == ["x", "y"] and found["v"].tolist() == table["v"].tolist()
    assert [message for message in caplog.messages if "shop.item" in message] == [
        "shop.item: 2 of 3 values of d held markup; their text counts."
    ]
    clean = table.iloc[1:2]
    assert plain_columns(clean, kinds, "shop.item") is clean


@pytest.mark.parametrize(
    ("values", "separator"),
    [
        (["K\u00fcche & Haushalt > T\u00f6pfe", "K\u00fcche & Haushalt > Pfannen", "Garten > Pfannen"], ">"),
        (["Action|Sci Fi", "Action", "Drama|Sci Fi"], "|"),
        (["Comedy, Drama", "Comedy, Crime", "Crime, Drama"], ","),
        (["big city; rain", "rain; snow", "snow; big city"], ";"),
        (["comedy drama", "drama", "comedy"], " "),
        (["It was long, dark and cold, and nobody came to see it", "They met, they talked, they left, and so it went"], " "),
        (["Alien, The", "Heat, A", "Ran, One"], " "),
        ([], " "),
    ],
)
def test_separators_are_recognised(values, separator):
    assert sequence_separator(values * 2 if separator != " " else values) == separator


def test_signs_alone_say_nothing():
    assert [value for value in ("&", ">", "a", "3", "\u6620", "--", "_") if says_something(value)] == ["a", "3", "\u6620"]
