"""From results folders to the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.data.store import now
from recbole_rlmrec.report.browser import Browser, map_section, titles_of
from recbole_rlmrec.report.glance import glance_table
from recbole_rlmrec.report.page import render
from recbole_rlmrec.report.quality import quality_table
from recbole_rlmrec.report.sections import Missing, Section, result_sections
from recbole_rlmrec.report.sources import Sources, read_sources
from recbole_rlmrec.report.spaces import read_spaces


def write_report(
    folders: Sequence[Path], output: Path, model: str | None = None, projection: str = "tsne", limit: int = 2000
) -> list[Missing]:
    """Write the report of results folders as one HTML file.

    Parameters
    ----------
    folders : sequence of Path
        What ``--output`` of experiments was; all of one dataset and split.
    output : Path
        File to write.
    model : str, optional
        Backbone of map and browser; by default the one with the most trained models kept.
    projection : {"tsne", "pca"}
        Of the map.
    limit : int
        Users and items in the browser, at most this many of each.

    Returns
    -------
    list of Missing
        What the report would show if it were there.

    Raises
    ------
    DataError, StoreError
        As `read_sources` says.
    ModelError
        The model that was named has no aligned run.
    """
    sources = read_sources(folders)
    sections, missing = result_sections(sources)
    if glance := glance_table(sources):
        sections.insert(0, Section("glance", "At a glance", tables=[glance]))
    spaces, lacking = read_spaces(sources, model)
    missing += lacking
    browser = None
    if spaces is not None:
        titles = titles_of(spaces)
        shown = map_section(spaces, titles, projection)
        if shown is not None:
            sections.append(shown)
        browser = Browser(spaces, titles, limit).as_dict()
        sections.append(_browser_section(browser, quality_table(spaces.manifest)))
    commands = dict.fromkeys(one.results["command"] for one in sources.findings if one.results.get("command"))
    page = render(f"RLMRec on {sources.dataset}", _about(sources), list(commands), sections, missing, browser)
    with replacing(output) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return missing


def _browser_section(browser: dict, quality: dict | None) -> Section:
    counts = [f"{len(browser['entries'][side])} of {browser['totals'][side]} {side}s" for side in ("user", "item")]
    text = (
        f"Profiles of {' and '.join(counts)} (those with a profile, at most {browser['limit']} of each side, drawn at "
        f"random where there are more), tag {browser['tag']}, by {browser['by']}; {browser['model']}, seed "
        f"{browser['seed']}."
    )
    tables = [quality] if quality else []
    return Section("profiles", "Profiles, recommendations, neighbours", [text], tables=tables, slot="browser")


def _about(sources: Sources) -> list[tuple[str, str]]:
    results = [one.results for one in sources.findings]
    models = dict.fromkeys(model for one in results for model in one.get("models") or [])
    seeds = sorted({seed for one in results for seed in one.get("seeds") or []})
    versions = {f"{name} {value}": None for one in results for name, value in (one.get("versions") or {}).items()}
    about = [("Dataset", sources.dataset), ("Models", ", ".join(models)), ("Seeds", ", ".join(map(str, seeds)))]
    about += [("Experiments", ", ".join(dict.fromkeys(one.name for one in sources.findings)))]
    about += [
        ("Folders", ", ".join(path.resolve().name for path in sources.folders)),
        ("Versions", ", ".join(versions)),
        ("Made", now()),
    ]
    return about
