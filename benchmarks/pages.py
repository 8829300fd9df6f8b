"""What benchmarks share: a row measured in a process of its own, and a page for what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def in_own_process(*words: str, cwd: Path | str | None = None, **environment: str) -> dict:
    """Run Python in a process of its own; the JSON object of the last line that it prints.

    Parameters
    ----------
    *words : str
        What follows ``python``.
    cwd : Path, optional
    **environment : str
        Variables beside those that are there, ``PYTHONPATH`` among them unless it is given.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    answer = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=variables)
    if answer.returncode:
        raise SystemExit(answer.stderr[-2000:])
    return json.loads(answer.stdout.splitlines()[-1])


def publish(lines: Sequence[str], output: Path | None, records: object = None) -> None:
    """Print a page and, with ``output``, write it as .md and what it was made of, if given, as .json."""
    text = "\n".join(lines) + "\n"
    print(text)
    if output is None:
        return
    output.with_suffix(".md").write_text(text, encoding="utf-8")
    if records is not None:
        output.with_suffix(".json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
