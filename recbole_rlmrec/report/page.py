"""The report as one HTML file: nothing in it comes from elsewhere, and nothing in the data can be markup or script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recbole_rlmrec.experiments.results.tables import shown
from recbole_rlmrec.report.parts import Missing, Section

STATIC = Path(__file__).with_name("static")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


@dataclass(frozen=True)
class Script:
    """A script of the page.

    Attributes
    ----------
    code : Markup
        What stands in its element.
    source : str
        ``'sha256-...'``: lets a browser run it and no other, in ``script-src`` of a Content-Security-Policy.
    """

    code: Markup
    source: str

    @classmethod
    def of(cls, code: str) -> Script:
        """A script of ours, or of a package, whose texts cannot end its element."""
        code = code.replace("\r\n", "\n").replace("\r", "\n")
        code = re.sub(r"</(script)", r"<\\/\1", code, flags=re.IGNORECASE).replace("<!--", "<\\!--")
        digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
        return cls(Markup(code), f"'sha256-{digest}'")


def environment() -> Environment:
    """The templates of the page, in which every text from data is escaped."""
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["cell"] = _cell
    return made


def embed(value: object) -> Markup:
    """JSON that can stand inside a script element: no ``<``, ``>``, ``&``, nothing but ASCII.

    NaN and infinity become null.
    """
    plain = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return Markup(re.sub("[<>&]", lambda character: _UNSAFE[character[0]], plain))


def _finite(value):
    if isinstance(value, dict):
        return {str(key): _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _cell(value: object) -> str:
    return shown(value).replace(" +- ", " \u00b1 ").replace("Mean +-", "Mean \u00b1")


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

    figures = [figures for section in sections for figures in section.figures]
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            about=about,
            made=datetime.now(timezone.utc),
            commands=commands,
            sections=sections,
            missing=missing,
            style=Markup((STATIC / "report.css").read_text(encoding="utf-8")),
            data=embed({"figures": [drawn.as_dict() for drawn in figures], "browser": browser}),
            scripts=[Script.of(get_plotlyjs()), Script.of((STATIC / "report.js").read_text(encoding="utf-8"))],
        )
    )
