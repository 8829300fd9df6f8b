"""From results folders to the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_rlmrec.data.files import replacing
from recbole_rlmrec.data.reading import understanding
from recbole_rlmrec.errors import StoreError
from recbole_rlmrec.report.browser import Browser, browser_section
from recbole_rlmrec.report.glance import glance_table
from recbole_rlmrec.report.map import map_section
from recbole_rlmrec.report.page import render
from recbole_rlmrec.report.parts import Missing, Section
from recbole_rlmrec.report.quality import quality_table
from recbole_rlmrec.report.sections import result_sections
from recbole_rlmrec.report.sources import Sources, read_sources
from recbole_rlmrec.report.spaces import read_spaces


def write_report(
    folders: Sequence[Path], output: Path, model: str | None = None, projection: str = "tsne", limit: int | None = None
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
    limit : int, optional
        Users and items in the browser, at most this many of each; by default 2000, fewer where the page would be larger than
        20 MB.

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
    what = f"What {', '.join(map(str, folders))} holds"
    with understanding(StoreError, what, "call the experiment again, its cells are kept, or delete what was changed by hand"):
        page, missing = _page(folders, model, projection, limit)
    with replacing(output) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return missing


def _page(folders: Sequence[Path], model: str | None, projection: str, limit: int | None) -> tuple[str, list[Missing]]:
    sources = read_sources(folders)
    sections, missing = result_sections(sources)
    if glance := glance_table(sources):
        sections.insert(0, Section("glance", "At a glance", tables=[glance]))
    spaces, lacking = read_spaces(sources, model)
    missing += lacking
    browser = None
    if spaces is not None:
        shown = map_section(spaces, projection)
        if shown is not None:
            sections.append(shown)
        browser = Browser(spaces, limit).as_dict()
        sections.append(browser_section(browser, quality_table(spaces.manifest)))
    commands = dict.fromkeys(one.results["command"] for one in sources.findings if one.results.get("command"))
    return render(f"RLMRec on {sources.dataset}", _about(sources), list(commands), sections, missing, browser), missing


def _about(sources: Sources) -> list[tuple[str, str]]:
    results = [one.results for one in sources.findings]
    models = dict.fromkeys(model for one in results for model in one.get("models") or [])
    seeds = sorted({seed for one in results for seed in one.get("seeds") or []})
    versions = {f"{name}\u00a0{value}": None for one in results for name, value in (one.get("versions") or {}).items()}
    about = [("Dataset", sources.dataset), ("Models", ", ".join(models)), ("Seeds", ", ".join(map(str, seeds)))]
    about.append(("Experiments", ", ".join(dict.fromkeys(one.name for one in sources.findings))))
    about.append(("Folders", ", ".join(path.resolve().name for path in sources.folders)))
    return [*about, ("Versions", ", ".join(versions))]
