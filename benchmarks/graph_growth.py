"""What an epoch of LightGCN or SGL costs as the data grow, in CPU time and memory, with RecBole's batches and larger ones.

    python benchmarks/graph_growth.py [--users 10000,100000] [--rows REGEX] [--output benchmarks/results/graph_growth]

Synthetic data: 10 interactions for each user, a fifth as many items as users, popular items more often, random semantic
embeddings of 256 dimensions in float16, d 64, three layers. A row is a process of its own: it builds the recommender, takes
--steps steps with Adam after one that does not count, and multiplies their median by the number of steps in an epoch; what
SGL does once an epoch (it draws its graphs) is added. Reading the data and drawing negatives are not in it (growth.py has
them). Memory is the peak of the process less what its imports take.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import resource
import statistics
import sys
import time
from pathlib import Path

from pages import in_own_process, publish

WIDTH = 256
DRAWN = {"align_anchors": 2048, "align_negatives": 2048}
MASKED = 12_000
ROWS = {
    "RecBole, batch 2048": ("LightGCN", 2048, {}),
    "none, batch 2048": ("LightGCN_RLMRec", 2048, {"alignment": "none"}),
    "con, batch 2048": ("LightGCN_RLMRec", 2048, {"alignment": "con"}),
    "gen, batch 2048, align_anchors 512": ("LightGCN_RLMRec", 2048, {"alignment": "gen", "align_anchors": 512}),
    "RecBole, auto": ("LightGCN", "auto", {}),
    "none, auto": ("LightGCN_RLMRec", "auto", {"alignment": "none"}),
    "con, auto, 2048 anchors and negatives": ("LightGCN_RLMRec", "auto", {"alignment": "con", **DRAWN}),
    "gen, auto, align_anchors 2048": ("LightGCN_RLMRec", "auto", {"alignment": "gen", "align_anchors": 2048}),
    "RecBole SGL, batch 2048": ("SGL", 2048, {}),
    "SGL none, batch 2048": ("SGL_RLMRec", 2048, {"alignment": "none"}),
    "SGL none, auto": ("SGL_RLMRec", "auto", {"alignment": "none"}),
    "SGL con, auto, 2048 anchors and negatives": ("SGL_RLMRec", "auto", {"alignment": "con", **DRAWN}),
}


def probe(row: str, users: int, steps: int) -> dict:
    """Build a row's recommender and take some steps."""
    import numpy as np
    import torch
    from recbole.data.interaction import Interaction

    import recbole_rlmrec.model.rlmrec as rlmrec
    from recbole_rlmrec.model.lookup import find_model
    from recbole_rlmrec.plugin.batch_size import settle
    from recbole_rlmrec.runs.split import make_config
    from recbole_rlmrec.semantic.table import Semantic, SemanticTable

    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    from stand_ins import Interactions

    model_name, size, options = ROWS[row]
    if options.get("alignment") == "gen":  # logits are nodes x anchors: a share of the nodes that stays affordable
        options = {**options, "mask_ratio": min(0.15, MASKED / (1.2 * users))}
    rng, items = np.random.default_rng(0), users // 5
    pairs = rng.integers(1, users + 1, 10 * users), (rng.random(10 * users) ** 2 * items).astype(np.int64) + 1
    dataset = Interactions(*pairs, users + 1, items + 1)
    given = {"gpu_id": "", "embedding_size": 64, "n_layers": 3, "train_batch_size": size, "train_neg_sample_args": None}
    config = make_config(model_name, "synthetic", {**given, **options})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def table(n: int) -> SemanticTable:
        matrix = rng.integers(-100, 100, (n, WIDTH), dtype=np.int8).astype(np.float16)
        return SemanticTable(matrix, np.arange(-1, n), "cpu")

    rlmrec.load_semantic = lambda *_: Semantic(table(users), table(items), "synthetic", "random", {})
    settle(config, dataset)
    size = config["train_batch_size"]
    start = time.process_time()
    model = find_model(model_name)(config, dataset)
    built = time.process_time() - start
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    start = time.process_time()
    model.train()
    once, seconds = time.process_time() - start, []
    for _ in range(steps + 1):
        rows = torch.from_numpy(rng.integers(0, 10 * users, size))
        batch = {field: dataset.inter_feat[field][rows] for field in ("user_id", "item_id")}
        batch["neg_item_id"] = torch.from_numpy(rng.integers(1, items + 1, size))
        start = time.process_time()
        optimizer.zero_grad()
        losses = model.calculate_loss(Interaction(batch))
        (sum(losses) if isinstance(losses, tuple) else losses).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    count = -(-10 * users // size)
    return {
        "row": row,
        "users": users,
        "batch": size,
        "steps": count,
        "seconds": seconds[1:],
        "once": once,
        "build": built,
        "MB": peak / 1000,
    }


def epoch_of(found: dict) -> float:
    """CPU-seconds of an epoch."""
    return statistics.median(found["seconds"]) * found["steps"] + found["once"]


def main() -> None:
    """Measure each row at each size and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", default="10000,100000")
    parser.add_argument("--rows", default="", help="regular expression on the names of the rows")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=None, help="path without suffix of the .md and .json files")
    args = parser.parse_args()
    if args.probe:
        sys.argv = sys.argv[:1]
        print(json.dumps(probe(args.probe[0], int(args.probe[1]), args.steps)))
        return
    records = []
    for users in args.users.split(","):
        for row in ROWS:
            if not re.search(args.rows, row):
                continue
            records.append(in_own_process(__file__, "--steps", str(args.steps), "--probe", row, users))
            print(records[-1], file=sys.stderr, flush=True)
    import torch

    lines = [f"`python benchmarks/graph_growth.py {' '.join(sys.argv[1:])}`", ""]
    lines += [f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads.", ""]
    lines += ["| users | run | batch | CPU s per step | steps | CPU s per epoch | x RecBole's | to build, CPU s | memory, MB |"]
    lines += ["| --- " * 9 + "|"]
    for found in records:
        step, epoch = statistics.median(found["seconds"]), epoch_of(found)
        theirs = "RecBole SGL, batch 2048" if "SGL" in found["row"] else "RecBole, batch 2048"
        first = next((r for r in records if r["users"] == found["users"] and r["row"] == theirs), None)
        ratio = f"{epoch / epoch_of(first):.3f}" if first else ""
        shown = f"{found['batch']:,} | {step:.3f} | {found['steps']} | {epoch:.1f} | {ratio} | {found['build']:.1f}"
        lines.append(f"| {found['users']:,} | {found['row']} | {shown} | {found['MB']:.0f} |")
    publish(lines, args.output, records)


if __name__ == "__main__":
    main()
