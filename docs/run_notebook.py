"""Run quickstart.ipynb in an empty folder and write what it shows into it.

python docs/run_notebook.py     # needs nbclient and ipykernel
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("quickstart.ipynb")


def plain(text: str) -> str:
    """Output without colours, progress bars and warnings of other packages."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "\n").splitlines(keepends=True)
    return "".join(line for line in lines if line.strip() and "it/s" not in line and "Warning" not in line)


def main() -> None:
    """Run all cells; the first that fails ends it, and nothing is written."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = plain(output.text)
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if one.output_type != "stream" or one.text and one.name == "stdout"]
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
