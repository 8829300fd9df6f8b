"""All faults at once: what ``recbole-rlmrec profile`` keeps, loses and pays, outside the test suite.

    python tests/servers/storm.py                                  # 2,000 entries, 10 SIGKILLs, two restarts of 90 s
    python tests/servers/storm.py --entries 200 --kills 3 --restart 3

A server on loopback answers 30 % of the requests with a fault of a kind drawn among all kinds that the suite has; the command
is killed at random moments, the server goes away twice. The command is run again until it ends by itself. At the end: every
profile is stored or listed, none whose answer was on disk was bought twice, the command's last word has the counts, and what
was paid is within the "at most" that ``--dry-run`` said before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from common import ROOT, failures, manifest, profile, write_data  # noqa: E402
from loopback import ANSWER_FAULTS, SERVER_FAULTS, SHAPE_FAULTS, Loopback, completion, digest  # noqa: E402
from servers import DRAFT, events, good, refusal, saying  # noqa: E402

THOUGHT = f"Perhaps {DRAFT}. No. " * 5
PRICES = (1.0, 4.0)
ON_DISK = 1.0
TIMEOUT = 10.0

GOOD = {
    "": lambda p: saying(good(p), p),
    "closing tag": lambda p: saying(f"{THOUGHT}</think>{good(p)}", p),
    "channels": lambda p: saying(f"<|channel|>analysis<|message|>{THOUGHT}<|channel|>final<|message|>{good(p)}", p),
    "wrapper": lambda p: saying(json.dumps({"response": json.loads(good(p))}), p),
    "string": lambda p: saying(json.dumps(good(p)), p),
    "python": lambda p: saying(repr(json.loads(good(p))), p),
    "fence": lambda p: (200, completion(p, "fence")),
    "commas": lambda p: (200, completion(p, "commas")),
    "parts": lambda p: saying([{"type": "text", "text": good(p)}], p),
    "function call": lambda p: saying(None, p, tool_calls=[{"function": {"name": "f", "arguments": good(p)}}]),
    "reasoning": lambda p: saying(good(p), p, reasoning_content=THOUGHT),
    "events": lambda p: events(p),
}
BAD = {
    **{name: (lambda p, name=name: (200, completion(p, name))) for name in ANSWER_FAULTS},
    "unfinished thinking": lambda p: saying(f"<think>{THOUGHT}", p),
    "two objects": lambda p: saying(json.dumps({"a": json.loads(DRAFT), "b": json.loads(good(p))}), p),
    "lost": lambda p: saying(None, p, reasoning_content=THOUGHT),
    "refusal": lambda p: saying(None, p, refusal="No."),
    "filter": lambda p: saying("", p, "content_filter"),
    "unseen": lambda p: saying("", p, "length", p["max_tokens"]),
    "broken events": lambda p: (200, events(p)[1][:200], {"Content-Type": "text/event-stream"}),
    "json_validate_failed": lambda p: refusal("Failed to generate JSON.", code="json_validate_failed", failed_generation="{"),
    "400": lambda p: refusal("The response was filtered", code="content_filter"),
}
HTTP = SERVER_FAULTS + SHAPE_FAULTS


class Storm:
    """A server whose answers go wrong by a plan, and what it sold."""

    def __init__(self, share: float, seed: int, delay: float) -> None:
        self.share, self.seed = share, seed
        self.kinds: Counter = Counter()
        self.prompt_tokens = self.completion_tokens = 0
        self.sold: list[tuple[str, float]] = []
        self.late = 0
        self.begun: dict[int, float] = {}
        self.server = Loopback(self.http_fault, delay=delay, hang=TIMEOUT + 2)
        self.server.keep_payloads = False
        self.server.answer, self.server.after = self.answer, self.written

    def kind(self, number: int) -> str:
        """The kind of answer to a request."""
        numbers = random.Random(f"{self.seed} {number}")
        if numbers.random() >= self.share:
            return ""
        return numbers.choice([*HTTP, *list(GOOD)[1:], *BAD])

    def http_fault(self, number: int, payload: dict) -> str | None:
        self.begun[number] = time.time()
        kind = self.kind(number)
        return kind if kind in HTTP else None

    def answer(self, number: int, payload: dict) -> tuple | None:
        kind = self.kind(number)
        with self.server.lock:
            self.kinds[kind or "good"] += 1
        if kind in HTTP:
            return None
        made = (GOOD.get(kind) or BAD[kind])(payload)
        usage = completion(payload)["usage"] if isinstance(made[1], bytes) else made[1].get("usage", {})
        with self.server.lock:
            self.prompt_tokens += usage.get("prompt_tokens", 0)
            self.completion_tokens += usage.get("completion_tokens", 0)
        return made

    def written(self, number: int, payload: dict) -> None:
        """Note a good answer that has gone out whole."""
        if self.kind(number) in GOOD:
            with self.server.lock:
                if time.time() - self.begun[number] < TIMEOUT / 2:
                    self.sold.append((digest(payload["messages"]), time.time()))
                else:  # this machine was too busy; whoever asked may be gone
                    self.late += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=2000, help="items and users together")
    parser.add_argument("--share", type=float, default=0.3, help="of requests with a fault")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--restart", type=float, default=90.0, help="seconds that the server is away")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds before an answer")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--patience", type=float, default=5.0, help="minutes, as the command takes them")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    storm, half = Storm(args.share, args.seed, args.delay), args.entries // 2
    with tempfile.TemporaryDirectory() as name, storm.server as server:
        folder = Path(name)
        write_data(folder, half, half)
        options = ["--tag", "storm", "--chat-model", "m", "--base-url", server.url, "--concurrency", str(args.concurrency)]
        options += ["--timeout", str(TIMEOUT), "--patience", str(args.patience)]
        options += ["--price-in", str(PRICES[0]), "--price-out", str(PRICES[1])]
        _, said = profile(folder, *options, "--dry-run")
        promised = float(re.findall(r"total:.*at most \$([\d,.]+)\)", said)[0].replace(",", ""))
        with stalls() as stalled:
            kills, ends, words = run(folder, server, options, args)
        report(folder, storm, args, promised, kills, ends, words, ON_DISK + 2 * stalled[0])
        storm.share = 0.0
        before, sold = set(failed(folder)), len(storm.sold)
        status, said = profile(folder, *options, "--retry-failed")
        answers, left = len(storm.sold) - sold, len(failed(folder))
        print(f"--retry-failed without faults: exit status {status}, {answers} answers, {left} left")
        assert status == 0 and not failed(folder) and len(storm.sold) - sold == len(before)


@contextlib.contextmanager
def stalls():
    """A list whose one entry is the longest time for which this machine let a sleeping thread wait, in seconds."""
    longest, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            start = time.monotonic()
            time.sleep(0.01)
            longest[0] = max(longest[0], time.monotonic() - start - 0.01)

    threading.Thread(target=watch, daemon=True).start()
    yield longest
    ended.set()


def run(folder: Path, server: Loopback, options: list[str], args: argparse.Namespace) -> tuple[list[float], list[int], str]:
    """Run the command to its end, through kills and restarts; returns when it was killed, how it ended, its last words."""
    numbers = random.Random(args.seed)
    expected = int(args.entries * 1.1)
    moments = sorted(numbers.sample(range(expected // 12, expected * 9 // 10), args.kills))
    threading.Thread(target=restarts, args=(server, args, expected), daemon=True).start()
    command = [sys.executable, "-m", "recbole_rlmrec", "profile", "--dataset", "films", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    kills, ends = [], []
    for _ in range(args.kills + 30):
        log = folder / f"run{len(ends)}.log"
        with open(log, "w") as output:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
            while process.poll() is None:
                if moments and server.requests >= moments[0]:
                    time.sleep(numbers.uniform(0.0, 0.5))
                    process.send_signal(signal.SIGKILL)
                    kills.append(time.time())
                    moments.pop(0)
                    process.wait()
                time.sleep(0.02)
        ends.append(process.returncode)
        if process.returncode == 0:
            return kills, ends, log.read_text()
        if process.returncode != -signal.SIGKILL:
            print(f"    ended by itself: {log.read_text().splitlines()[-1][:300]}")
    raise SystemExit("The command never came to its end.")


def restarts(server: Loopback, args: argparse.Namespace, expected: int) -> None:
    """Let the server be away for a while, so many times."""
    for number in range(args.restarts):
        while server.requests < expected * (number + 1) // (args.restarts + 2):
            time.sleep(0.05)
        server.down()
        time.sleep(args.restart)
        server.up()
        print(f"    the server was away for {args.restart:g} s after {server.requests:,} requests", flush=True)


def failed(folder: Path) -> list[tuple[str, str]]:
    """Side and token of what is listed."""
    return [(entry["side"], entry["token"]) for entry in failures(folder, "storm")]


def report(folder, storm, args, promised: float, kills: list[float], ends: list[int], words: str, on_disk: float) -> None:
    """Print the figures, and end with an error where one is not as it should be."""
    stored = {}
    for side in ("item", "user"):
        lines = (folder / f"dataset/films/semantic/storm/{side}s.jsonl").read_text().splitlines()
        stored[side] = [json.loads(line)[f"{side}_id"] for line in lines]
        assert len(stored[side]) == len(set(stored[side])), "a profile is stored twice"
    listed = failed(folder)
    count = sum(map(len, stored.values()))
    assert not {(side, token) for side in stored for token in stored[side]} & set(listed)
    assert count + len(listed) == args.entries, (count, len(listed))
    times: dict[str, list[float]] = {}
    for question, moment in storm.sold:
        times.setdefault(question, []).append(moment)
    again = {question: moments for question, moments in times.items() if len(moments) > 1}
    sold_before = [moment for moments in again.values() for moment in moments[:-1]]
    # The server may finish an answer while, or just after, the one who asked is killed.
    unexplained = [moment for moment in sold_before if not any(-on_disk < kill - moment < on_disk for kill in kills)]
    used = next(iter(manifest(folder, "storm")["usage"].values()))
    paid, counted = (
        (prompt * PRICES[0] + completed * PRICES[1]) / 1e6
        for prompt, completed in (
            (storm.prompt_tokens, storm.completion_tokens),
            (used["prompt_tokens"], used["completion_tokens"]),
        )
    )
    reasons = Counter(re.sub(r"\d[\d,]*", "N", entry["reason"])[:60] for entry in failures(folder, "storm"))
    print(f"entries {args.entries:,}: {count:,} stored, {len(listed):,} listed")
    faults = storm.server.requests - storm.kinds["good"]
    print(f"requests {storm.server.requests:,}, {len(storm.kinds) - 1} kinds of fault in {faults:,}")
    print(f"SIGKILLs {len(kills)}, restarts {args.restarts} of {args.restart:g} s, exit statuses {dict(Counter(ends))}")
    print(f"answers sold {len(storm.sold):,}, and {storm.late} late; a kill forgets what is younger than {on_disk:.1f} s")
    gaps = [f"{later - moment:.1f}" for moment, later in (moments[:2] for moments in again.values()) if moment in unexplained]
    print(f"sold again {len(again)}, not because of a kill {len(unexplained)}", f"(after {', '.join(gaps)} s)" if gaps else "")
    print(f"at most ${promised:.4f} promised; sold for ${paid:.4f}, counted ${counted:.4f}")
    print("listed because:", *(f"{number} {reason}" for reason, number in reasons.most_common()), sep="\n    ")
    print("last words:", *words.strip().splitlines()[-6:], sep="\n    ")
    told = re.findall(r"profiles: ([\d,]+) of [\d,]+, ([\d,]+) failed", words)
    covered, failing = (sum(int(pair[place].replace(",", "")) for pair in told) for place in (0, 1))
    assert (covered, failing) == (count, len(listed)), "the last word has the counts"
    assert len(kills) == args.kills and not unexplained and counted <= paid <= promised


if __name__ == "__main__":
    main()
