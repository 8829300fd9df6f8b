"""Experiments on a Ray cluster of two nodes, one of which is lost while cells run: are their results those of this machine?

``python benchmarks/ray_cells.py`` starts the cluster on this machine (``ray.cluster_utils``), so it needs no other one.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from pathlib import Path

from survive import write_data

OPTIONS = [
    "--gpu_id=",
    "--epochs=2",
    "--eval_step=1",
    "--embedding_size=16",
    "--topk=[10]",
    "--valid_metric=NDCG@10",
    "--metrics=['NDCG']",
]


def experiment(output: str, *more: str) -> list[dict]:
    """Run an experiment of four cells; what each found, in order."""
    from recbole_rlmrec.cli import execute

    argv = ["experiment", "compare", "--dataset=made-up", "--models=LightGCN", "--variants=base,con", "--seeds=2"]
    assert execute([*argv, f"--output={output}", *more, *OPTIONS]) == 0
    found = [json.loads(path.read_text()) for path in Path(output).glob("cells/*/result.json")]
    return sorted(({key: one[key] for key in ("alignment", "seed", "test_result")} for one in found), key=str)


def lose(cluster, node, folder: Path) -> None:
    """Take a node away when the first cell is at work."""
    while not any(folder.glob("work/*")):
        time.sleep(0.2)
    time.sleep(8.0)
    cluster.remove_node(node, allow_graceful=False)
    print("a node was lost", flush=True)


def main() -> int:
    """Run the experiment here and on the cluster; the exit status is 1 where they differ."""
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="ray-cells-") as name:
        os.chdir(name)
        write_data(Path("dataset/made-up"))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        threading.Thread(target=lose, args=(cluster, node, Path("on-ray")), daemon=True).start()
        begun = time.monotonic()
        there = experiment("on-ray", f"--ray={cluster.address}", f"--data-path={name}/dataset")
        took = time.monotonic() - begun
        ray.shutdown()
        cluster.shutdown()
        here = experiment("here", f"--data-path={name}/dataset")
        verdict = "equal to those here" if here == there else "other than those here"
        print(f"ray {ray.__version__}: {len(there)} cells on two nodes, one of which was lost, in {took:.0f} s, {verdict}")
        return 0 if here == there else 1


if __name__ == "__main__":
    raise SystemExit(main())
