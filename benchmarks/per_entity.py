"""What an entity costs as the data grows: `recbole-rlmrec profile --dry-run`, and the offline default (templates, then LSA).

    python benchmarks/per_entity.py --entities=10000,100000 --output=benchmarks/results/per_entity.md

Synthetic data with text (synthetic_data.py): two users to an item, ten interactions for each entity, descriptions of 60 words,
reviews of --reviews words. RecBole loads and splits the data first, which is measured apart: its peak, and what is resident
after it. CPU-seconds of one thread after that, less those of 60 entities; peak memory of the whole process after that,
RecBole's data included. Needs Linux, where a peak can be measured from a point on.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from pages import in_own_process, publish
from synthetic_data import write_dataset

PROBE = r"""
import json, resource, runpy, sys
def mebibytes(name):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines[name].split()[0]) / 1024
def seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def loaded():
    global found
    found = {"loading": mebibytes("VmHWM"), "data": mebibytes("VmRSS"), "cpu": -seconds()}
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
def tell():
    print(json.dumps({**found, "MiB": mebibytes("VmHWM"), "cpu": found["cpu"] + seconds()}))
import recbole_rlmrec
from recbole_rlmrec.runs import split
"""
DEFAULT = r"""
from recbole_rlmrec.semantic.default import ensure_offline_default
folder = sys.argv[1]
options = ["--model=LightGCN_RLMRec", f"--data_path={folder}", f"--semantic_path={folder}/out", "--state=ERROR"]
config, splits = split.load_split("shop", options)[::2]
loaded()
ensure_offline_default(config, splits[0])
tell()
"""
DRY_RUN = r"""
load_split = split.load_split
def watched(*arguments, **options):
    kept = [None, *load_split(*arguments, **options)[::2]]
    loaded()
    return kept[1], None, kept[2]
split.load_split = watched
words = "--dataset=shop --tag=t --chat-model=gpt-4o-mini --dry-run".split()
sys.argv = ["recbole-rlmrec", "profile", *words, f"--data_path={sys.argv[1]}", f"--semantic_path={sys.argv[1]}"]
try:
    runpy.run_module("recbole_rlmrec", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code, ended.code
tell()
"""
KINDS = {"dry run": DRY_RUN, "offline default": DEFAULT}
MIB = 1024 * 1024


def measure(folder: Path, kind: str) -> dict:
    """Run one of the two in a process of its own."""
    return in_own_process("-W", "ignore", "-c", PROBE + KINDS[kind], str(folder), cwd=folder, OMP_NUM_THREADS="1")


def main() -> None:
    """Measure each size and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", default="10000,100000")
    parser.add_argument("--reviews", type=int, default=0, help="mean words of a review")
    parser.add_argument("--what", choices=tuple(KINDS), action="append", help="only this")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    kinds, starts, lines = args.what or list(KINDS), {}, []
    for size in [60, *map(int, args.entities.split(","))]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_dataset(folder / "shop", 2 * size // 3, size // 3, 10 * size, review_words=args.reviews)
            text = sum(path.stat().st_size for path in (folder / "shop").iterdir()) / 1e6
            for kind in kinds:
                found = measure(folder, kind)
                print(size, kind, found, file=sys.stderr, flush=True)
                if size == 60:
                    starts[kind] = found
                    continue
                own = found["cpu"] - starts[kind]["cpu"]
                more = MIB * (found["MiB"] - starts[kind]["MiB"]) / size
                ours = MIB * (found["MiB"] - found["data"] - starts[kind]["MiB"] + starts[kind]["data"]) / size
                cells = (
                    f"{size:,}",
                    f"{text:,.0f}",
                    f"{own:.1f}",
                    f"{1000 * own / size:.3f}",
                    f"{found['loading']:,.0f}",
                    f"{found['data']:,.0f}",
                    f"{found['MiB']:,.0f}",
                    f"{1024 + 200 * size / MIB:,.0f}",
                    f"{more:,.0f}",
                    f"{ours:,.0f}",
                )
                lines.append(f"| {kind} | {' | '.join(cells)} |")
    told = ", ".join(f"{kind} {found['cpu']:.1f} CPU-s, {found['MiB']:,.0f} MiB" for kind, found in starts.items())
    head = [
        f"`python benchmarks/per_entity.py {' '.join(sys.argv[1:])}`",
        "",
        f"Python {platform.python_version()}, one thread. Start-up (60 entities, all imports): {told}. Bytes an entity are "
        "those beyond it.",
        "",
        "| | entities | text, MB | CPU, s | ms an entity | RecBole's loading, peak MiB | its data, MiB | peak after it, MiB "
        "| 1 GiB + 200 bytes an entity, MiB | bytes an entity | without RecBole's data |",
        "| --- " * 11 + "|",
    ]
    publish([*head, *sorted(lines, key=lambda line: line.split("|")[1])], args.output)


if __name__ == "__main__":
    main()
