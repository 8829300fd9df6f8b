"""The report as one HTML file: nothing in it comes from elsewhere, and nothing in the data can be markup or script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

from recbole_rlmrec.experiments.results.tables import shown
from recbole_rlmrec.report.sections import Missing, Section

STATIC = Path(__file__).with_name("static")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def escape(value: object) -> str:
    """A text as HTML shows it, in an element or in a quoted attribute."""
    return html.escape(str(value), quote=True)


def embed(value: object) -> str:
    """JSON that can stand inside a script element: no ``<``, ``>``, ``&``, nothing but ASCII.

    NaN and infinity become null.
    """
    plain = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&]", lambda found: _UNSAFE[found[0]], plain)


def _finite(value):
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def script(code: str) -> tuple[str, str]:
    """A script element and the source expression that lets a browser run it and no other.

    Returns
    -------
    element, source : str
        The source is ``'sha256-...'``, for ``script-src`` of a Content-Security-Policy.
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    code = re.sub(r"</(script)", r"<\\/\1", code, flags=re.IGNORECASE).replace("<!--", "<\\!--")
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    return f"<script>{code}</script>", f"'sha256-{digest}'"


def render(
    title: str,
    about: Sequence[tuple[str, str]],
    commands: Sequence[str],
    sections: Sequence[Section],
    missing: Sequence[Missing],
    browser: dict | None,
) -> str:
    """The page.

    Parameters
    ----------
    title : str
    about : sequence of (str, str)
        What the report is made from: names and values.
    commands : sequence of str
        Commands that ran the experiments.
    sections : sequence of Section
    missing : sequence of Missing
    browser : dict or None
        Data of the profile browser.
    """
    from plotly.offline import get_plotlyjs

    plotly, plotly_source = script(get_plotlyjs())
    code, code_source = script(_static("report.js"))
    figures = [figures.as_dict() for section in sections for figures in section.figures]
    numbers = iter(range(len(figures)))
    body = "".join(_section(section, numbers) for section in sections)
    links = [(section.key, section.title) for section in sections] + ([("missing", "Not in this report")] if missing else [])
    parts = {
        "title": escape(title),
        "policy": escape(
            f"default-src 'none'; script-src {plotly_source} {code_source}; style-src 'unsafe-inline'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        ),
        "style": _static("report.css"),
        "about": "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in about),
        "commands": _commands(commands),
        "links": "".join(f'<li><a href="#{escape(key)}">{escape(name)}</a></li>' for key, name in links),
        "body": body + _missing(missing),
        "data": embed({"figures": figures, "browser": browser}),
        "plotly": plotly,
        "script": code,
    }
    return _PLACE.sub(lambda found: parts[found[1]], _static("page.html"))


def _commands(commands: Sequence[str]) -> str:
    if not commands:
        return ""
    text = escape("\n".join(commands))
    return f"<details><summary>Commands that made it</summary><pre><code>{text}</code></pre></details>"


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _section(section: Section, numbers) -> str:
    parts = [f'<section id="{escape(section.key)}"><h2>{escape(section.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
    parts += [_figures(figures, next(numbers)) for figures in section.figures]
    parts += [_table(table) for table in section.tables]
    if section.slot:
        parts.append(_static(f"{section.slot}.html"))
    return "".join([*parts, "</section>"])


def _figures(figures, number: int) -> str:
    selector = ""
    if len(figures.choices) > 1:
        options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in figures.choices)
        selector = f'<label class="choice">{escape(figures.label)} <select data-for="{number}">{options}</select></label>'
    return (
        f'<figure>{selector}<div class="plots" data-figures="{number}"></div>'
        f"<figcaption>{escape(figures.caption)}</figcaption></figure>"
    )


def _table(table: dict) -> str:
    """A table whose columns can be sorted; ``folded`` ones open on demand."""
    head = "".join(
        f'<th scope="col"><button type="button" class="sort">{escape(name)}</button></th>' for name in table["columns"]
    )
    rows = "".join(f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row)}</tr>" for row in table["rows"])
    notes = "".join(f'<p class="note">{escape(_cell(note))}</p>' for note in table.get("notes", []))
    title = escape(table["title"])
    inner = (
        f'<div class="scroll" role="region" aria-label="{title}" tabindex="0"><table><caption>{title}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )
    return f"<details><summary>{title} ({len(table['rows'])} rows)</summary>{inner}</details>" if table.get("folded") else inner


def _cell(value: object) -> str:
    return shown(value).replace(" +- ", " \u00b1 ").replace("Mean +-", "Mean \u00b1")


def _missing(missing: Sequence[Missing]) -> str:
    if not missing:
        return ""
    rows = []
    for one in missing:
        command = f"<pre><code>{escape(one.command)}</code></pre>" if one.command else ""
        rows.append(
            f"<li><strong>{escape(one.what)}</strong>: {escape(one.why)}.{' This makes it:' if command else ''}{command}</li>"
        )
    text = "Add to these commands the options that the experiments here were run with, then make the report again."
    return f'<section id="missing"><h2>Not in this report</h2><p>{text}</p><ul class="missing">{"".join(rows)}</ul></section>'
