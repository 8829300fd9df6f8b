"""Runs of several machines, on two network namespaces of this one: are they the same run, and what if a machine goes away?

    python benchmarks/hosts.py        (as root; iproute2)

Two hosts, 10.77.0.1 and 10.77.0.2, joined by a virtual cable, each with a folder of its own and two processes (gloo, CPU).
Their training with RecBole's options and with torchrun is compared with that of four processes on one host; lists that torchrun
makes with those of one process; then all processes of the second host are killed in a training (SIGKILL), and in another the
cable is taken away. Data is made up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from survive import SETTINGS, write_data

HOSTS = ("10.77.0.1", "10.77.0.2")
NAMES = tuple(f"host-{os.getpid()}-{number}" for number, _ in enumerate(HOSTS))
PORT = 5699
LIMIT = 300
OPTIONS = {**SETTINGS, "model": "LightGCN_RLMRec", "dataset": "made-up", "epochs": 4, "loss_decimal_place": 12}
LONG = ("--epochs=60", "--stopping_step=60")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", f"--master-addr={HOSTS[0]}"]


def ip(words: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *words.split()], check=True)


class Cable:
    """Two hosts and the cable between them."""

    def __enter__(self) -> Cable:
        for number, _ in enumerate(HOSTS):
            ip(f"netns add {NAMES[number]}")
        ip(f"link add v0 netns {NAMES[0]} type veth peer name v1 netns {NAMES[1]}")
        for number, address in enumerate(HOSTS):
            ip(f"-n {NAMES[number]} addr add {address}/24 dev v{number}")
            self.plug(number)
            ip(f"-n {NAMES[number]} link set lo up")
        return self

    def __exit__(self, *_) -> None:
        for number, _ in enumerate(HOSTS):
            ip(f"netns del {NAMES[number]}")

    @staticmethod
    def plug(number: int, how: str = "up") -> None:
        """Plug the cable into a host, or pull it out ("down")."""
        ip(f"-n {NAMES[number]} link set v{number} {how}")


def start(host: int, folder: Path, words: list[str]) -> subprocess.Popen:
    """Start a command on a host, in a folder; what it prints is in out.log there."""
    with open(folder / "out.log", "w") as log:
        line = ["ip", "netns", "exec", NAMES[host], *words]
        threads = {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(line, cwd=folder, stdout=log, stderr=log, env=os.environ | threads, start_new_session=True)


def package(command: str, *words: str) -> list[str]:
    """A command of the package."""
    return [sys.executable, "-W", "ignore", "-m", "recbole_rlmrec", command, *words]


def by_options(host: int, *words: str) -> list[str]:
    """A training that is told of the other machine as RecBole tells it."""
    place = [f"--ip={HOSTS[0]}", f"--port={PORT}", "--world_size=4", f"--group_offset={2 * host}", "--nproc=2"]
    return package("run", "--config_files=run.yaml", "--result_file=result.json", *place, *words)


def by_torchrun(host: int, *words: str) -> list[str]:
    """Two processes of four of a command of the package, by torchrun."""
    place = [f"--node-rank={host}", f"--master-port={PORT}", "-m", "recbole_rlmrec"]
    return [*TORCHRUN, *place, *words]


def alone_in(folder: Path, words: list[str]) -> None:
    """Run a command to its end, off the hosts."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def both(folders: list[Path], words) -> None:
    """Run a command on both hosts to its end."""
    started = [start(host, folder, words(host)) for host, folder in enumerate(folders)]
    codes = [process.wait(timeout=600) for process in started]
    if any(codes):
        raise SystemExit("\n".join(f"{code}: {(folder / 'out.log').read_text()}" for code, folder in zip(codes, folders)))


def found(folder: Path) -> dict:
    """Losses and metrics of a run."""
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").unlink()
    return {"losses": result["run"]["series"]["losses"], "test": result["test_result"]}


def gone(folders: list[Path], act, whole: dict) -> None:
    """Train, make the second host go away, print what both do, and resume on both."""
    started = [start(host, folder, by_options(host, *LONG)) for host, folder in enumerate(folders)]
    while (folders[0] / "out.log").read_text().count(" training [") < 3:
        if started[0].poll() is not None:
            raise SystemExit((folders[0] / "out.log").read_text())
        time.sleep(0.2)
    begun = time.monotonic()
    act(started[1])
    for process, folder, which in zip(started, folders, ("first", "second"), strict=True):
        try:
            code = process.wait(timeout=max(LIMIT - (time.monotonic() - begun), 0.1))
        except subprocess.TimeoutExpired:
            print(f"  the {which} host still runs after {LIMIT} s", flush=True)
            os.killpg(process.pid, signal.SIGKILL)
            continue
        said = [line for line in (folder / "out.log").read_text().splitlines() if line.startswith("recbole-rlmrec: ")]
        print(f"  the {which} host ended within {time.monotonic() - begun:.0f} s, status {code}: {' '.join(said)}", flush=True)
    Cable.plug(1)
    both(folders, lambda host: by_options(host, *LONG, "--resume"))
    resumed = json.loads((folders[0] / "result.json").read_text())["run"]["resumed_from"]
    print(
        f"  resumed before epoch {resumed[0]}: {'the same' if found(folders[0]) == whole else 'OTHER'} losses and metrics",
        flush=True,
    )


def main() -> None:
    """Run all of it; one line each."""
    with tempfile.TemporaryDirectory(prefix="hosts-") as name, Cable():
        alone, *folders = (Path(name) / part for part in ("alone", "first", "second"))
        write_data(alone / "dataset" / "made-up")
        (alone / "run.yaml").write_text(json.dumps(OPTIONS))
        for folder in folders:
            shutil.copytree(alone, folder)
        four = package("run", "--config_files=run.yaml", "--result_file=result.json", "--nproc=4")
        alone_in(alone, four)
        expected = found(alone)
        both(folders, by_options)
        print(
            "RecBole's options:", "the same" if found(folders[0]) == expected else "ANOTHER", "losses and metrics", flush=True
        )
        run = ("run", "--config_files=run.yaml", "--result_file=result.json")
        both(folders, lambda host: by_torchrun(host, *run))
        print("torchrun:", "the same" if found(folders[0]) == expected else "ANOTHER", "losses and metrics", flush=True)
        lists(alone, Path(name) / "shared", folders)
        alone_in(alone, [*four, *LONG])
        whole = found(alone)
        print("second host killed:", flush=True)
        gone(folders, lambda process: os.killpg(process.pid, signal.SIGKILL), whole)
        print("cable pulled:", flush=True)
        gone(folders, lambda process: Cable.plug(1, "down"), whole)


def lists(alone: Path, shared: Path, folders: list[Path]) -> None:
    """Lists of both hosts in a folder that both see, beside those of one process."""
    checkpoint = next((alone / "saved").glob("*.pth"))
    words = ["recommend", f"--checkpoint={checkpoint}", "--all-users", "--format=csv"]
    alone_in(alone, package(*words, "--output=lists.csv"))
    shared.mkdir()
    both(folders, lambda host: by_torchrun(host, *words, f"--output={shared / 'lists.csv'}"))
    same = (alone / "lists.csv").read_bytes() == (shared / "lists.csv").read_bytes()
    print("recommend by torchrun:", "the same" if same else "OTHER", "lists byte by byte", flush=True)


if __name__ == "__main__":
    main()
