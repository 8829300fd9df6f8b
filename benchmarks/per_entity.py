"""What an entity costs as the data grows: `recbole-rlmrec profile --dry-run`, and the offline default (templates, then LSA).

    python benchmarks/per_entity.py --entities=10000,100000 --output=benchmarks/results/per_entity.md

Synthetic data with text (synthetic_data.py): two users to an item, ten interactions for each entity, descriptions of 60 words,
reviews of --reviews words. CPU-seconds of one thread less start-up, which is the same command on 60 entities; peak memory of
the whole process, start-up and RecBole's loading included.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from dry_run import PROBE
from pages import in_own_process, publish
from synthetic_data import write_dataset

DEFAULT = r"""
import json, resource, sys
import recbole_rlmrec
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed
from recbole_rlmrec.semantic.default import ensure_offline_default
folder = sys.argv[1]
sys.argv = sys.argv[:1]
options = {"data_path": folder, "semantic_path": folder + "/out", "gpu_id": "", "state": "ERROR", "show_progress": False}
config = Config("LightGCN_RLMRec", "shop", config_dict=options)
init_seed(config["seed"], True)
train = create_dataset(config).build()[0]
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
before = spent()
ensure_offline_default(config, train)
after = spent()
print(json.dumps({"cpu": after[0] - before[0], "MiB": after[1], "loaded": before[1]}))
"""
DRY_RUN = ("--dataset=shop", "--tag=t", "--chat-model=gpt-4o-mini", "--dry-run")


def measure(folder: Path, what: str) -> dict:
    """Run one of the two in a process of its own."""
    places = [f"--data_path={folder}", f"--semantic_path={folder}"]
    dry = ["-c", PROBE, "recbole-rlmrec", "profile", *DRY_RUN, *places]
    words = dry if what == "dry run" else ["-c", DEFAULT, str(folder)]
    return in_own_process("-W", "ignore", *words, cwd=folder, OMP_NUM_THREADS="1")


def main() -> None:
    """Measure each size and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", default="10000,100000")
    parser.add_argument("--reviews", type=int, default=0, help="mean words of a review")
    parser.add_argument("--what", choices=("dry run", "offline default"), action="append", help="only this")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    kinds, starts, lines = args.what or ["dry run", "offline default"], {}, []
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
                more = 1024 * 1024 * (found["MiB"] - starts[kind]["MiB"]) / size
                cells = (
                    f"{size:,}",
                    f"{text:,.0f}",
                    f"{own:.1f}",
                    f"{1000 * own / size:.3f}",
                    f"{found['MiB']:,.0f}",
                    f"{more:,.0f}",
                )
                lines.append(f"| {kind} | {' | '.join(cells)} |")
    told = ", ".join(f"{kind} {found['cpu']:.1f} CPU-s, {found['MiB']:,.0f} MiB" for kind, found in starts.items())
    head = [
        f"`python benchmarks/per_entity.py {' '.join(sys.argv[1:])}`",
        "",
        f"Python {platform.python_version()}, one thread. Start-up (60 entities, all imports): {told}.",
        "",
        "| | entities | text, MB | CPU, s | ms per entity | peak, MiB | bytes per entity beyond start-up |",
        "| --- " * 7 + "|",
    ]
    publish([*head, *sorted(lines, key=lambda line: line.split("|")[1])], args.output)


if __name__ == "__main__":
    main()
