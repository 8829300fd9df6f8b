"""A disk that fills up: one sentence, nothing half-written, and the same command goes on when there is room again."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launchers import QUICK, HereLauncher, run_experiment

from recbole_rlmrec import cli
from recbole_rlmrec.errors import guarded

RUN = ["--gpu_id=", "--show_progress=False", "--metric_decimal_place=8", *QUICK]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system of 16 MiB with a small data set; tests that need it skip where none can be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    before = os.getcwd()
    try:
        os.chdir(folder)
        _write_data(folder / "dataset" / "tiny")
        yield folder
    finally:
        os.chdir(before)
        logging.shutdown()
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _write_data(folder: Path) -> None:
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    cells = sorted({int(cell) for cell in rng.permutation(24 * 30)[:260]} | {user * 30 for user in range(24)})
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += [f"u{cell // 30}\ti{cell % 30}\t{1 + cell % 5}\t{1000 + cell}" for cell in cells]
    (folder / "tiny.inter").write_text("\n".join(lines) + "\n")
    items = ["item_id:token\ttitle:token_seq"] + [f"i{n}\tFilm number {n} of {n % 7} and {n % 5}" for n in range(30)]
    (folder / "tiny.item").write_text("\n".join(items) + "\n")
    profiles = [{"item_id": f"i{n}", "profile": f"a film about {n % 7}"} for n in range(30)]
    profiles += [{"user_id": f"u{n}", "profile": f"likes films about {n % 7}"} for n in range(24)]
    Path("mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in profiles))


@pytest.fixture
def fill(disk):
    """``fill(kib)`` leaves that much room; ``fill(None)`` gives everything back."""

    def to(kib: int | None) -> None:
        filler = disk / "filler"
        filler.unlink(missing_ok=True)
        if kib is not None:
            room = os.statvfs(disk)
            with open(filler, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - kib * 1024, 4096))

    yield to
    to(None)


COMMANDS = {
    "profile": ["profile", "--dataset=tiny", "--tag=t", "--chat-model=template", "--gpu_id="],
    "encode": ["encode", "--dataset=tiny", "--tag=t", "--encoder=lsa"],
    "export": ["export", "--dataset=tiny", "--tag=t", "--output=out", "--gpu_id="],
    "archive": ["export", "--dataset=tiny", "--tag=t", "--archive=t.tar.gz"],
    "import archive": ["import", "t.tar.gz", "--dataset=tiny", "--tag=again"],
    "import": ["import", "mine.jsonl", "--dataset=tiny", "--tag=mine"],
    "split": ["split", "--dataset=tiny", "--gpu_id="],
    "run": ["run", "--model=BPR_RLMRec", "--dataset=tiny", "--semantic_tag=t", "--result_file=r.json", *RUN],
    "experiment": ["experiment"],
    "report": ["report", "results", "-o", "report.html", "--projection=pca"],
}
DONE = {
    "profile": "dataset/tiny/semantic/t/items.jsonl",
    "encode": "dataset/tiny/semantic/t/embeddings/lsa/manifest.json",
    "export": "out/tiny.preload.yaml",
    "archive": "t.tar.gz",
    "import archive": "dataset/tiny/semantic/again",
    "import": "dataset/tiny/semantic/mine",
    "split": "dataset/tiny-split",
    "run": "r.json",
    "experiment": "results/compare/results.json",
    "report": "report.html",
}


def do(name: str) -> int:
    if name == "experiment":
        return guarded(
            lambda: run_experiment(
                HereLauncher(), "compare", "--dataset=tiny", "--output=results", "--seeds=1", "--variants=base", *RUN
            )
        )
    return cli.main(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_it_in_a_sentence_and_goes_on(disk, fill, capsys, name):
    failed = 0
    for kib in (0, 4, 24):
        fill(kib)
        status = do(name)
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out and "Logging error" not in said.err
        if status == 0:
            break
        last = said.err.strip().splitlines()[-1]
        if name == "experiment" and status == 1:
            last = said.out
        assert "full" in last or "No space left" in last, last
        failed += 1
        assert not [path for path in disk.rglob("*.tmp")]
        if name not in ("profile", "encode"):  # these keep what is finished
            assert not (disk / DONE[name]).exists()
    assert failed, "the disk was not full enough for this test"
    fill(None)
    assert do(name) == 0
    assert (disk / DONE[name]).exists()


REFUSED = {
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "read-only",
    errno.EDQUOT: "quota",
    errno.EMFILE: "too many files are open",
}


@pytest.mark.parametrize("number", REFUSED)
def test_what_the_system_refuses_is_a_sentence(number, capsys):
    def action():
        raise OSError(number, os.strerror(number), "some/file")

    assert guarded(action) == 2
    said = capsys.readouterr().err
    assert said.startswith("recbole-rlmrec: some/file: ") and REFUSED[number] in said and said.count("\n") == 1
