"""Text as people have it: markup and entities reduced to text, lists whose separator is not a space."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from logging import getLogger

import pandas as pd

from recbole_rlmrec.data.atomic import FeatureType

SEPARATORS = (">", "|", ";", ",")
MOST_WORDS = 4.0
ROUNDS = 3
_TAGS = (
    "a abbr address article aside b big blockquote body br button caption center code dd del div dl dt em figcaption figure "
    "font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins label li link main meta nav noscript object "
    "ol option p picture pre q s script section select small source span strike strong style sub sup svg table tbody td tfoot "
    "th thead title tr tt u ul video"
).split()
_TAG = re.compile(rf"</?(?:{'|'.join(_TAGS)})(?:\s[^<>]*)?/?>|<!--|<!doctype\s", re.IGNORECASE)
_NO_TAG = re.compile(r"<(?!/?[a-zA-Z][\w:-]*(?:\s[^<>]*)?/?>|!)")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
_SILENT = ("script", "style", "noscript", "template", "head", "svg", "iframe", "object", "select", "button")
_INLINE = set("a abbr b big button code del em font i ins label q s small span strike strong sub sup tt u".split())
_ENDED = (".", ";", ":", "!", "?", ",")
_SIGN = re.compile(r"[^\W_]")

logger = getLogger()


def plain_columns(table: pd.DataFrame, types: Mapping[str, FeatureType], where: str) -> pd.DataFrame:
    """A table whose texts hold no markup; said once for each column that did.

    Parameters
    ----------
    table : DataFrame of str
    types : dict of str to FeatureType
        Types of the columns; only tokens and sequences of them are texts.
    where : str
        What the table is, for the log.
    """
    changed = {}
    for name in table:
        if types.get(name) in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ):
            marked = table[name].str.contains("[<&]", regex=True)
            texts = table.loc[marked, name].map(plain_text)
            differs = int((texts != table.loc[marked, name]).sum())
            if differs:
                changed[name] = table[name].mask(marked, texts)
                logger.info(f"{where}: {differs:,} of {len(table):,} values of {name} held markup; their text counts.")
    return table.assign(**changed) if changed else table


def plain_text(text: str) -> str:
    """The text of some HTML in one line, scripts and styles left out, entities decoded; other text as it is.

    Text that was encoded twice is decoded twice. A ``<`` that begins no tag of HTML is text.
    """
    for _ in range(ROUNDS):
        if _TAG.search(text):
            text = _without_tags(text)
        elif _ENTITY.search(text):
            text = " ".join(html.unescape(text).split())
        else:
            break
    return text


def _without_tags(text: str) -> str:
    from bs4 import BeautifulSoup, Comment, Doctype

    soup = BeautifulSoup(_escaped(text), "html.parser")
    for node in soup.find_all(string=lambda string: isinstance(string, Comment | Doctype)):
        node.extract()
    for tag in soup.find_all(_SILENT):
        tag.decompose()
    for tag in soup.find_all(True):
        if tag.name not in _INLINE:
            item = tag.name == "li" and tag.find_next_sibling("li") and not tag.get_text().rstrip().endswith(_ENDED)
            tag.insert_before(" ")
            tag.insert_after("; " if item else " ")
    return re.sub(r"\s+([;,.])(?=\s|$)", r"\1", " ".join(soup.get_text().split()))


def _escaped(text: str) -> str:
    """The text with every ``<`` that begins no tag escaped, so that it stays."""
    return _NO_TAG.sub("&lt;", re.sub(r"<!--(?!.*-->)", " ", text, flags=re.DOTALL))


def sequence_separator(values: Iterable[str], otherwise: str = " ") -> str:
    """What separates the values of a sequence: ``>``, ``|``, ``;`` or ``,`` where most texts have it between short parts.

    Parameters
    ----------
    values : iterable of str
        Some texts of a column.
    otherwise : str
        RecBole's ``seq_separator``, for a column in which none of them separates anything.
    """
    texts = [text for text in values if text.strip()]
    for separator in SEPARATORS:
        parts = [part.strip() for text in texts if separator in text for part in text.split(separator)]
        parts = [part for part in parts if part]
        if sum(separator in text for text in texts) > len(texts) / 2 and parts:
            short = sum(len(part.split()) for part in parts) / len(parts) <= MOST_WORDS
            if short and len(set(parts)) <= 0.7 * len(parts):
                return separator
    return otherwise


def says_something(value: str) -> bool:
    """Whether a value has a letter or a digit."""
    return bool(_SIGN.search(value))
