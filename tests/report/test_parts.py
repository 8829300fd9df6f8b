"""Escaping, neighbours and figures of the report."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from recbole_rlmrec.report.figures import COLOURS, LINE_POINTS, MORE, Figures, bars, colour, thinned
from recbole_rlmrec.report.geometry import agreement, clusters, neighbours, project
from recbole_rlmrec.report.page import STATIC, Script, embed, environment, render
from recbole_rlmrec.report.parts import Missing, Section


def test_embedded_json_is_plain_ascii_and_the_same_value():
    value = {"a": "</script><!-- \u2028\u2029 & \ud800", "b": [1.5, float("nan"), float("inf")], "c": None}
    text = embed(value)
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == {"a": value["a"], "b": [1.5, None, None], "c": None}


NASTY = "\"'><script>&{{ title }}{% raw %}</b>"


def test_every_text_of_the_page_is_escaped():
    """Each place of the templates gets a text that would be markup, a way out of an attribute, or a template."""
    table = {"title": NASTY, "columns": [NASTY], "rows": [[NASTY]], "notes": [NASTY], "folded": True}
    figures = Figures(NASTY, {NASTY: [], "other": []}, NASTY)
    section = Section(NASTY, NASTY, [NASTY], [figures], [table, {**table, "folded": False}], browser=True)
    missing = [Missing(NASTY, NASTY, NASTY)]
    page = render(NASTY, [(NASTY, NASTY)], [NASTY, "b"], [section], missing, {"entries": NASTY})
    head, _, scripts = page.partition('<script type="application/json"')
    assert "<script" not in head and "</b>" not in head
    assert head.count(str(escape(NASTY))) == 28
    assert scripts.count("</script>") == 3 and json.loads(scripts[scripts.index(">") + 1 : scripts.index("<")])["browser"] == {
        "entries": NASTY
    }


def test_a_template_that_names_what_is_not_there_fails():
    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()


def test_a_script_cannot_end_early_and_its_hash_fits():
    made = Script.of('a = "</script>";\r\nb = "<!-- x";')
    assert "</script" not in made.code and "<!--" not in made.code and "\r" not in made.code
    assert made.source == f"'sha256-{base64.b64encode(hashlib.sha256(made.code.encode()).digest()).decode()}'"


def contrast(first: str, second: str) -> float:
    """Contrast of two colours by the Web Content Accessibility Guidelines."""

    def luminance(hexadecimal):
        shares = np.array([int(hexadecimal[start : start + 2], 16) / 255 for start in (1, 3, 5)])
        linear = np.where(shares <= 0.03928, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_can_be_told_from_a_white_and_from_a_dark_page():
    style = (STATIC / "report.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w+);", part)) for part in style.split("prefers-color-scheme: dark")[:2])
    light = {name: "#ffffff" if value == "#fff" else value for name, value in light.items()}
    assert set(dark) == set(light)
    for colours in (light, dark):
        assert all(contrast(drawn, colours["page"]) >= 3 for drawn in (*COLOURS.values(), *MORE, colours["edge"]))
        for name in ("ink", "soft", "link", "mark", "new"):
            assert contrast(colours[name], colours["page"]) >= 4.5
        assert contrast(colours["ink"], colours["chosen"]) >= 4.5 and contrast(colours["soft"], colours["chosen"]) >= 4.5
    assert all(contrast(drawn, "#ffffff") >= 4.5 for drawn in (*COLOURS.values(), *MORE))


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
