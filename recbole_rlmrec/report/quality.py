"""Quality of the profiles in the report: the figures that the manifest holds."""

from __future__ import annotations

from collections.abc import Mapping

_COLUMNS = {
    "profiles": "profiles",
    "mean_words": "words",
    "over_limit": "too long",
    "with_invented_names": "names not in the question",
    "taken_over": "words taken over",
    "other_language": "another language",
    "near_duplicates": "near-duplicates",
}
_COUNTS = ("profiles", "mean_words")


def quality_table(manifest: Mapping) -> dict | None:
    """A table of the checks of both sides; None where the profiles were made elsewhere and have none."""
    found = manifest.get("quality") or {}
    rows = []
    for side, figures in found.items():
        if figures:
            values = [figures.get(name) for name in _COLUMNS]
            shown = [value if name in _COUNTS or value is None else f"{value:.1%}" for name, value in zip(_COLUMNS, values)]
            rows.append([side, figures.get("domain"), *shown])
    if not rows:
        return None
    notes = [
        "Checks that need no other model, of at most 1,000 profiles of each side. Names are words with a capital letter that "
        "stand nowhere in the profile's question; near-duplicates share 0.7 of their runs of three words with another profile."
    ]
    return {"title": "Quality of the profiles", "columns": ["side", "domain", *_COLUMNS.values()], "rows": rows, "notes": notes}
