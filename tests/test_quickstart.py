"""The quickstart: its commands are understood, and its notebook runs. ``docs/run_quickstart.py`` runs the page itself."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

from recbole_rlmrec.cli import read

DOCS = Path(__file__).parents[1] / "docs"


def _script():
    spec = importlib.util.spec_from_file_location("run_quickstart", DOCS / "run_quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_of_the_page_are_understood():
    steps = _script().steps((DOCS / "quickstart.md").read_text(encoding="utf-8"))
    names = []
    for kind, text, _ in steps:
        for line in text.replace("\\\n", " ").splitlines() if kind == "bash" else ():
            if line.startswith("recbole-rlmrec "):
                names.append(read(shlex.split(line)[1:])[0])
    assert set(names) >= {"convert", "profile", "encode", "run", "experiment", "report", "recommend", "similar", "export"}
    files = [name for kind, name, _ in steps if kind == "file"]
    said = " ".join(text for kind, text, _ in steps if kind == "bash")
    assert len(files) > 3 and all(f"python {name}" in said for name in files)


def test_what_is_shown_is_looked_for_in_order():
    missing = _script().missing
    assert missing("a\n\nc ... e\n", "a\nb\nc d e\n") is None
    assert missing("c\na\n", "a\nc\n") == "a" and missing("1.0", "1x0") == "1.0"


def test_the_notebook_runs(workdir, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/ipykernel_launcher.py", "-f", "kernel.json"])
    notebook = json.loads((DOCS / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = re.sub(r"^EPOCHS = \d+$", "EPOCHS = 1", "\n".join(cells), count=1, flags=re.MULTILINE)
    assert "EPOCHS = 1\n" in code
    exec(compile(code, "quickstart.ipynb", "exec"), {"__name__": "__main__"})
    said = capsys.readouterr()
    assert "user C999" in said.out and "because of P0" in said.out and "item P004" in said.out
    assert "gained 1 user (C999), 1 item (P027) and 2 interactions" in said.err
    assert (workdir / "lists.parquet").is_file() and len(list((workdir / "saved/corner").glob("*.pth"))) == 1
    assert all(cell["outputs"] is not None for cell in notebook["cells"] if cell["cell_type"] == "code")
