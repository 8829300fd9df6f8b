"""Run every command of quickstart.md in an empty folder, compare what it prints with what the page shows, and take the time.

    python docs/run_quickstart.py [--print] [--folder FOLDER]

A block below ``<!-- file: NAME -->`` is written as that file; each bash block is run; each line of the text block that follows
it has to come in the output, in this order, where ``...`` stands for anything. ``--print`` prints all output.
The blocks on a database and on an index need the extras ``sql`` and ``faiss``, as the page says.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).with_name("quickstart.md")
BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


def steps(page: str) -> list[tuple[str, str, str]]:
    """What the page has one do: ("file", name, text) and ("bash", commands, what is shown of their output)."""
    found: list[tuple[str, str, str]] = []
    for block in BLOCK.finditer(page):
        kind, text = block["kind"], block["text"]
        if block["file"]:
            found.append(("file", block["file"], text))
        elif kind == "bash":
            found.append(("bash", text, ""))
        elif kind == "text" and found and found[-1][0] == "bash":
            found[-1] = ("bash", found[-1][1], text)
    return found


def missing(shown: str, output: str) -> str | None:
    """The first line that is shown and not in the output, in order; None where all are."""
    lines = iter(line.rstrip() for line in output.splitlines())
    for line in filter(None, map(str.rstrip, shown.splitlines())):
        pattern = ".*".join(map(re.escape, line.split("...")))
        if not any(re.fullmatch(pattern, other) for other in lines):
            return line
    return None


def main() -> int:
    """Run the page; returns the number of blocks that print something else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", dest="verbose")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary) / "shop"
        folder.mkdir(parents=True, exist_ok=True)
        names = Path(temporary) / "bin"
        names.mkdir()
        for name, command in (("python", ""), ("recbole-rlmrec", " -m recbole_rlmrec")):
            (names / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n')
            (names / name).chmod(0o755)
        environment = {**os.environ, "PATH": f"{names}{os.pathsep}{os.environ['PATH']}"}
        return run(folder, environment, args.verbose)


def run(folder: Path, environment: dict[str, str], verbose: bool) -> int:
    """Do all steps in a folder; processes that they leave behind are ended."""
    groups, wrong, begun = [], 0, time.perf_counter()
    try:
        for kind, first, second in steps(PAGE.read_text(encoding="utf-8")):
            if kind == "file":
                (folder / first).write_text(second, encoding="utf-8")
                continue
            start = time.perf_counter()
            process = subprocess.Popen(
                ["bash", "-ec", first],
                cwd=folder,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            groups.append(process.pid)
            output = process.communicate()[0]
            lost = missing(second, output)
            ended = "" if process.returncode == 0 else f", ended with {process.returncode}"
            print(f"{time.perf_counter() - start:6.1f} s  {first.splitlines()[0]}{ended}", flush=True)
            if verbose:
                print(output, flush=True)
            if lost is not None or process.returncode:
                wrong += 1
                print(f"  does not print: {lost}\n" if lost else output[-2000:], flush=True)
    finally:
        for group in groups:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.perf_counter() - begun, used.ru_utime + used.ru_stime
    print(f"{seconds[0]:6.1f} s in all, {seconds[1]:.0f} s of CPU, {wrong} blocks print something else")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
