"""Which variant for which data: the rules of ``recbole-rlmrec advise``, which docs/choose.md explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

UNSEEN = 0.2
THIN = 2
GAIN_LARGE = 0.10
GAIN_SMALL = 0.03
COVERAGE = 0.5
WORDS = 8


class Rule(NamedTuple):
    """A piece of advice.

    Attributes
    ----------
    name : str
        As docs/choose.md calls it.
    fits : callable
        Takes the measures of a data set (:class:`recbole_rlmrec.experiments.advice.Measures`).
    use : str
        Options of a run; empty where a rule is a remark.
    reason : str
        A sentence; names of measures in braces.
    compare : str
        Options of ``experiment compare`` that tell what the advice gains, itself among the variants.
    """

    name: str
    fits: Callable
    use: str
    reason: str
    compare: str = "--variants base,softmax,con,semantic,alpharec"


BASE = "--model LightGCN_RLMRec --alignment none --loss softmax"
TEXT_ALONE = "--model AlphaRec"
TEXT_AND_IDS = "--model LightGCN_Semantic --loss softmax"
IDS_FROM_TEXT = "--model LightGCN_RLMRec --alignment none --initial_embeddings semantic"

RULES = (
    Rule(
        "no text",
        lambda m: m.covered_items == 0,
        BASE,
        "No item has a text, so the other variants have nothing to read.",
        "--variants base,softmax",
    ),
    Rule(
        "new items",
        lambda m: m.unseen >= UNSEEN and m.text > 0,
        TEXT_ALONE,
        "{unseen:.0%} of the held-out interactions are with items that training never saw: only a model of texts ranks them "
        "(`recommend --new-items` serves further ones without training).",
    ),
    Rule(
        "popular",
        lambda m: m.popularity > m.knn > 0 and m.gain >= GAIN_SMALL,
        IDS_FROM_TEXT,
        "Texts add {gained} to item-kNN on the validation split, but popularity ({popularity:.4f}) is ahead of item-kNN "
        "({knn:.4f}): the softmax loss ranks by cosines, which know no popularity. Keep BPR, and let ids start from the texts.",
        "--variants base,softmax,con,init,semantic --loss bpr",
    ),
    Rule(
        "thin and telling",
        lambda m: m.per_item <= THIN and m.gain >= GAIN_LARGE,
        TEXT_ALONE,
        "Half of the items have {per_item:g} training interactions or fewer, too few to learn an id from, and texts add "
        "{gained} to item-kNN on the validation split.",
    ),
    Rule(
        "telling",
        lambda m: m.gain >= GAIN_SMALL,
        TEXT_AND_IDS,
        "Texts add {gained} to item-kNN on the validation split, and items have {per_item:g} training interactions in the "
        "median, from which ids can learn: use both.",
    ),
    Rule(
        "level",
        lambda m: True,
        BASE,
        "Texts add {gain:+.1%} to item-kNN on the validation split, which is level: begin with the base and the softmax loss, "
        "and compare before you take a variant with text.",
    ),
)
"""The first that fits counts."""

REMARKS = (
    Rule(
        "coverage",
        lambda m: 0 < m.covered_items < COVERAGE,
        "",
        "Only {covered_items:.0%} of the items have a text; the others are known by their ids alone, or not at all.",
    ),
    Rule(
        "few words",
        lambda m: m.covered_items > 0 and m.words < WORDS,
        "",
        "Texts have {words:g} words in the median; let a chat model write profiles (`recbole-rlmrec profile`) and ask again.",
    ),
    Rule(
        "popularity",
        lambda m: m.popularity > max(m.knn, m.text, m.blend),
        "",
        "Popularity alone ({popularity:.4f}) is ahead of kNN and texts: people choose what is new or shown to all; no variant "
        "with text is likely to change that.",
    ),
)
"""All that fit are said."""


def advise(measures) -> tuple[Rule, list[Rule]]:
    """The rule that counts for a data set, and the remarks that fit."""
    return next(rule for rule in RULES if rule.fits(measures)), [rule for rule in REMARKS if rule.fits(measures)]


def said(rule: Rule, measures) -> str:
    """The reason of a rule, with the figures of a data set."""
    return rule.reason.format(**measures.figures())
