"""Reading, remapping, filtering and splitting of interactions: RecBole alone beside this package, in turns, a process each.

    python benchmarks/loading.py --sizes=1000000,3000000 --output=benchmarks/results/loading.md

CPU-seconds are of the user's side of the process, without the import of the libraries. Each process also says a digest of its
ids and of its splits, which have to be the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from pages import in_own_process, publish
from synthetic_data import write_dataset

KINDS = {
    "80/10/10 by user": {},
    "5-core, last two": {
        "user_inter_num_interval": "[5,inf)",
        "item_inter_num_interval": "[5,inf)",
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "RO", "group_by": "user", "mode": "full"},
    },
}
PROBE = r"""
import hashlib, json, os, resource, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
options, ours = json.loads(sys.argv[1]), sys.argv[2] == "ours"
sys.argv = ["probe"]
if ours:
    import recbole_rlmrec
else:
    old = {"bool8": np.bool_, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "float": np.float64}
    old |= {"bool": np.bool_, "int": np.int_, "complex": np.complex128, "object": np.object_, "str": np.str_}
    old |= {"long": np.int_, "unicode": np.str_}
    vars(np).update({name: value for name, value in old.items() if name not in vars(np)})
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed
config = Config("BPR", options["dataset"], config_dict={"gpu_id": "", "seed": 1, **options})
init_seed(1, True)
times, before = [os.times().user], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = create_dataset(config)
times.append(os.times().user)
parts = data.build()
times.append(os.times().user)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
digest = hashlib.sha256()
for part in parts:
    for field in (data.uid_field, data.iid_field):
        digest.update(part.inter_feat[field].numpy().tobytes())
for field in (data.uid_field, data.iid_field):
    digest.update("\n".join(map(str, data.field2id_token[field])).encode())
print(json.dumps({"read": times[1] - times[0], "split": times[2] - times[1], "MiB": (peak - before) / 1024,
                  "digest": digest.hexdigest()[:16]}))
"""


def measure(options: dict, ours: bool, folder: Path) -> dict:
    """Load a data set in a process of its own."""
    alone = {} if ours else {"PYTHONPATH": ""}
    return in_own_process("-c", PROBE, json.dumps(options), "ours" if ours else "alone", cwd=folder, **alone)


def table(size: int, kind: str, runs: dict[bool, list[dict]]) -> list[str]:
    """Two rows of the table: RecBole, ours, with ratios."""

    def middle(ours: bool, *keys: str) -> float:
        return statistics.median(sum(run[key] for key in keys) for run in runs[ours])

    same = len({run["digest"] for both in runs.values() for run in both}) == 1
    rows = []
    for ours in (False, True):
        total, memory = middle(ours, "read", "split"), middle(ours, "MiB")
        ratio = f"{middle(False, 'read', 'split') / total:.1f} x" if ours else ""
        less = f"{memory / middle(False, 'MiB'):.2f}" if ours else ""
        who = "ours" if ours else "RecBole"
        rows.append(
            f"| {size:,} | {kind} | {who} | {middle(ours, 'read'):.1f} | {middle(ours, 'split'):.1f} | {total:.1f} | {ratio} "
            f"| {memory:,.0f} | {less} | {('yes' if same else 'NO') if ours else ''} |"
        )
    return rows


def main() -> None:
    """Measure each size and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000000,3000000")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kinds", default="0,1", help="numbers of the kinds, 0 and 1")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    import pandas
    import pyarrow

    lines = [f"`python benchmarks/loading.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"Python {platform.python_version()}, pandas {pandas.__version__}, pyarrow {pyarrow.__version__}; CPU-seconds"]
    lines += ["(user) of one process, median of the rounds, RecBole and this package in turns; peak MiB above the imports."]
    head = "| interactions | kind | | read, filter, remap, s | split, s | total, s | faster | peak, MiB | of RecBole's "
    lines += ["", f"{head}| same ids and splits |"]
    lines += ["| --- " * 10 + "|"]
    for size in map(int, args.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_dataset(folder / "shop", size // 15, size // 30, size, description_words=0)
            for number in map(int, args.kinds.split(",")):
                kind = list(KINDS)[number]
                options = {"dataset": "shop", "data_path": str(folder), **KINDS[kind]}
                runs: dict[bool, list[dict]] = {False: [], True: []}
                for _ in range(args.rounds):
                    for ours in (False, True):
                        runs[ours].append(measure(options, ours, folder))
                        print(size, kind, ours, runs[ours][-1], file=sys.stderr, flush=True)
                lines += table(size, kind, runs)
    publish(lines, args.output)


if __name__ == "__main__":
    main()
