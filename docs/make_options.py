"""Write the tables of docs/options.md, from what alignments declare and from the YAML of properties/.

python docs/make_options.py
"""

from __future__ import annotations

import re
from pathlib import Path

from recbole_rlmrec.data.properties import PROPERTIES
from recbole_rlmrec.model.alignment import ALIGNMENTS, Alignment
from recbole_rlmrec.model.lookup import SUFFIXES
from recbole_rlmrec.model.options import Option, declared

PAGE = Path(__file__).with_name("options.md")
LINE = re.compile(r"^(?P<name>\w+): *(?P<default>.*?) *# (?:\((?P<kind>[\w ]+)\) )?(?P<text>.*)$")
HEAD = ["| option | default | values | meaning |", "| --- | --- | --- | --- |"]


def yaml_rows(name: str) -> dict[str, str]:
    """Rows of one file of properties/, by option, in its order."""
    lines = (PROPERTIES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    found = [LINE.match(line) for line in lines if line and not line.startswith("#")]
    if None in found:
        raise SystemExit(f"properties/{name}.yaml: every option needs `name: default  # (type) Meaning.`")
    return {
        line["name"]: _row(line["name"], _default(line["default"]), line["kind"] or "", line["text"].rstrip("."))
        for line in found
    }


def option_row(option: Option) -> str:
    """Row of an option that a class declares."""
    default = "" if option.default is None else f"`{option.default}`"
    return _row(option.name, default, option.allowed.replace("one of ", ""), option.text)


def tables() -> dict[str, str]:
    """The tables of the page, by the names of their places."""
    shared = yaml_rows("model/RLMRec")
    common = declared(Alignment)
    found = {
        "run": [row for name, row in shared.items() if name != "fast_loader" and not _of_profiles(name)],
        "every": [option_row(option) for name, option in common.items() if name != "align_weight"],
        "semantic": [row for name, row in shared.items() if _of_profiles(name)],
        "plugin": list(yaml_rows("plugin").values()),
    }
    for kind, cls in ALIGNMENTS.items():
        options = declared(cls)
        found[kind] = [
            option_row(option) for name, option in options.items() if option != common.get(name) or name == "align_weight"
        ]
    written = {name: "\n".join([*HEAD, *rows]) for name, rows in found.items()}
    models = sorted(path.stem for path in (PROPERTIES / "model").glob("*.yaml") if path.stem != "RLMRec")
    return {**written, "models": "\n\n".join(_of_model(model, shared) for model in models)}


def _of_model(model: str, shared: dict[str, str]) -> str:
    rows = yaml_rows(f"model/{model}")
    own = [row for name, row in rows.items() if row != shared.get(name)]
    same = [f"`{name}`" for name, row in rows.items() if row == shared.get(name)]
    title = f"Every `NAME_{model}`" if f"_{model}" in SUFFIXES else f"`{model}`"
    more = ["", f"and, as above, {', '.join(same)}."] if same else []
    return "\n".join([f"### {title}", "", *HEAD, *own, *more])


def page(text: str) -> str:
    """The page with its tables written anew; what stands outside of them stays."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}: docs/make_options.py -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise SystemExit(f"docs/options.md has no place for the table {name}: {begin} ... {end}.")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def _of_profiles(name: str) -> bool:
    return name == "leakage" or name.startswith("semantic_")


def _default(text: str) -> str:
    return "" if text == "~" else f"`{text}`" if text else ""


def _row(name: str, default: str, values: str, meaning: str) -> str:
    begins = meaning[:1] if meaning[1:2].isupper() else meaning[:1].lower()
    cells = (f"`{name}`", default, values, begins + meaning[1:])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
