"""Escaping, neighbours and figures of the report."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from recbole_rlmrec.report.figures import LINE_POINTS, bars, colour, thinned
from recbole_rlmrec.report.page import STATIC, embed, escape, script
from recbole_rlmrec.report.spaces import agreement, clusters, neighbours, project


def test_embedded_json_is_plain_ascii_and_the_same_value():
    value = {"a": "</script><!-- \u2028\u2029 & \ud800", "b": [1.5, float("nan"), float("inf")], "c": None}
    text = embed(value)
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == {"a": value["a"], "b": [1.5, None, None], "c": None}


def test_escape():
    assert escape("<a href=\"x\" title='y'>&") == "&lt;a href=&quot;x&quot; title=&#x27;y&#x27;&gt;&amp;"


def test_a_script_cannot_end_early_and_its_hash_fits():
    element, source = script('a = "</script>";\r\nb = "<!-- x";')
    inner = element.removeprefix("<script>").removesuffix("</script>")
    assert "</script" not in inner and "<!--" not in inner and "\r" not in inner
    digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
    assert source == f"'sha256-{digest}'"


def test_neighbours_against_plain_cosines():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((12, 4)).astype(np.float32)
    vectors[5] = np.nan
    rows, cosines = neighbours(vectors, [0, 5, 7], 3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for position, query in ((0, 0), (2, 7)):
        expected = sorted((r for r in range(12) if r not in (5, query)), key=lambda r: -float(unit[r] @ unit[query]))[:3]
        assert rows[position].tolist() == expected
        assert cosines[position] == pytest.approx([float(unit[r] @ unit[query]) for r in expected], abs=1e-6)
    assert rows[1].tolist() == [-1, -1, -1]


def test_agreement():
    first, second = np.array([[1, 2], [3, 4], [-1, -1]]), np.array([[2, 1], [4, 5], [0, 1]])
    assert agreement(first, second) == pytest.approx(0.75)
    assert np.isnan(agreement(first[2:], second[2:]))


@pytest.mark.parametrize("how", ["pca", "tsne"])
def test_projections_are_repeatable(how):
    vectors = np.random.default_rng(1).standard_normal((30, 6)).astype(np.float32)
    spots = project(vectors, how)
    assert spots.shape == (30, 2) and np.isfinite(spots).all()
    assert np.array_equal(spots, project(vectors, how))


def test_clusters_are_numbered_by_size():
    vectors = np.repeat(np.eye(3, dtype=np.float32), (2, 5, 3), axis=0)
    assert clusters(vectors).tolist() == [2, 2, 0, 0, 0, 0, 0, 1, 1, 1]


def test_thinned_keeps_first_and_last():
    assert thinned([1, 2, 3]) == [1, 2, 3]
    kept = thinned(list(range(1001)))
    assert len(kept) <= LINE_POINTS + 1 and (kept[0], kept[-1]) == (0, 1000)


def test_texts_in_figures_are_not_read_as_markup():
    figure = bars("t", ["<b>x</b>"], {"<i>": [[1.0, 3.0]]}).as_dict()
    (trace,) = figure["data"]
    assert trace["name"] == "&lt;i&gt;" and trace["x"] == ["&lt;b&gt;x&lt;/b&gt;"] and trace["y"] == [2.0]
    assert trace["error_y"]["array"] == [pytest.approx(2**0.5)]


def test_variants_keep_their_colours():
    names = ["con, shuffled", "con", "gen, shuffled"]
    assert len({colour(name, names) for name in names}) == 3
    assert colour("con", names) == colour("con", ["con"])


def test_every_rule_of_the_style_sheet_is_whole():
    style = (STATIC / "report.css").read_text(encoding="utf-8")
    outside = re.sub(r"[^{}]+\{\s*[\w-]+:[^{}]*\}", "", style)
    assert re.fullmatch(r"\s*(@media[^{}]+\{\s*\}\s*)*", outside)
