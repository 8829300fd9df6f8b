"""What the scripts share: a small data set, the command, and a server in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def write_data(folder: Path, n_users: int = 12, n_items: int = 16, per_user: int = 8) -> None:
    """Write the data set ``films`` with titles, genres, descriptions and reviews."""
    folder = folder / "dataset" / "films"
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["user_id:token\titem_id:token\trating:float\treview:token_seq"]
    for user in range(n_users):
        for step in range(per_user):
            item = (3 * user + step) % n_items
            rows.append(f"u{user}\ti{item}\t{1 + (user + step) % 5}\tUser {user} found number {item} worth the evening.")
    (folder / "films.inter").write_text("\n".join(rows) + "\n")
    items = ["item_id:token\ttitle:token_seq\tgenre:token_seq\tdescription:token_seq"]
    items += [f"i{n}\tFilm {n}\t{('comedy', 'drama')[n % 2]}\tA long and winding tale, number {n}." for n in range(n_items)]
    (folder / "films.item").write_text("\n".join(items) + "\n")


def profile(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Run ``recbole-rlmrec profile`` on the data set; returns exit status and what it said."""
    command = [sys.executable, "-m", "recbole_rlmrec", "profile", "--dataset", "films", *options]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **environment}
    done = subprocess.run(command, cwd=folder, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def manifest(folder: Path, tag: str) -> dict:
    """Manifest of a tag."""
    return json.loads((folder / f"dataset/films/semantic/{tag}/manifest.json").read_text())


def failures(folder: Path, tag: str) -> list[dict]:
    """What is listed as failed."""
    path = folder / f"dataset/films/semantic/{tag}/failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(command: list[str], folder: Path, health: str, seconds: float = 180.0, **environment: str) -> subprocess.Popen:
    """A server's process, once ``health`` answers; its output is in ``server.log``."""
    log = open(folder / "server.log", "ab")  # noqa: SIM115
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log)
    end = time.monotonic() + seconds
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(health, timeout=2)
            return process
        except OSError as error:
            if getattr(error, "code", None):
                return process
            time.sleep(0.5)
    process.kill()
    raise SystemExit(f"The server did not start; see {folder / 'server.log'}:\n{(folder / 'server.log').read_text()[-3000:]}")


def say(what: str, status: int, said: str, keep: int = 3) -> None:
    """Print one step: its exit status and the last lines that the command said."""
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip() and "profiles:   " not in line]
    print(f"--- {what}: exit status {status}")
    for line in lines[-keep:]:
        print(f"    {line}")
