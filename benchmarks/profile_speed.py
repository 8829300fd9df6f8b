"""How fast profiles are asked for: time against the ideal, client CPU per 100 requests, memory.

    python benchmarks/profile_speed.py [--profiles 2000] [--concurrency 50] [--delay 1.0]

A server in a process of its own answers each request after ``--delay`` seconds. The client is measured in a process of its
own as well, for the number of profiles asked for, then for 500 and 5,000 profiles at a delay of 0 to see what memory does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests" / "support"
sys.path[:0] = [str(HERE.parent), str(TESTS)]


def client(folder: str, url: str, profiles: int, concurrency: int, results) -> None:
    """Ask for so many profiles, half of them items, and report seconds, CPU seconds and peak memory."""
    from films import Setup, make_corpus

    from recbole_rlmrec.llm.models import get_chat_model

    setup = Setup(Path(folder), make_corpus(n_users=profiles // 2, n_items=profiles // 2, per_user=12))
    chat = get_chat_model("test-model", url, connections=concurrency)
    cpu, start = time.process_time(), time.perf_counter()
    setup.run(chat, concurrency=concurrency)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert sum(summary.covered for summary in setup.summaries) == profiles
    results.put((seconds, cpu, peak))


def measure(url: str, profiles: int, concurrency: int) -> tuple[float, float, float]:
    """Run the client in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (f"{folder}/tag", url, profiles, concurrency, results)
        process = context.Process(target=client, args=arguments)
        process.start()
        found = results.get()
        process.join()
    return found


def serve(delay: float) -> tuple[subprocess.Popen, str]:
    """Start the server; returns the process and its address."""
    command = [sys.executable, str(TESTS / "loopback.py"), "--delay", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profiles", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--delay", type=float, default=1.0)
    args = parser.parse_args()
    server, url = serve(args.delay)
    seconds, cpu, _ = measure(url, args.profiles, args.concurrency)
    server.kill()
    ideal = args.profiles * args.delay / args.concurrency
    server, url = serve(0.0)
    peaks = {n: measure(url, n, args.concurrency)[2] for n in (500, 5000)}
    server.kill()
    figures = {
        "profiles": args.profiles,
        "concurrency": args.concurrency,
        "server_seconds": args.delay,
        "seconds": round(seconds, 2),
        "ideal_seconds": ideal,
        "ratio": round(seconds / ideal, 3),
        "cpu_seconds_per_100_requests": round(100 * cpu / args.profiles, 4),
        "peak_MiB_500": round(peaks[500], 1),
        "peak_MiB_5000": round(peaks[5000], 1),
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
