"""What the page is made of: sections, and what they lack."""

from __future__ import annotations

from dataclasses import dataclass, field

from recbole_rlmrec.report.figures import Figures


@dataclass
class Section:
    """A part of the report.

    Attributes
    ----------
    key, title : str
    paragraphs : list of str
        Plain texts at its beginning.
    figures : list of Figures
    tables : list of dict
        ``title``, ``columns``, ``rows``, ``notes`` and perhaps ``folded``.
    browser : bool
        Whether the profile browser stands in it.
    """

    key: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)
    tables: list[dict] = field(default_factory=list)
    browser: bool = False


@dataclass
class Missing:
    """Something that the report would show if it were there.

    Attributes
    ----------
    what : str
    why : str
    command : str
        What makes it, or empty.
    """

    what: str
    why: str
    command: str = ""
