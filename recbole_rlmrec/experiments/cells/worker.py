"""The process of one cell: a run as ``python -m recbole_rlmrec`` makes it, that ends when its experiment does.

It runs in a folder of its own and leaves ``usage.json`` beside the files that its options name.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter


def main(argv: Sequence[str] | None = None) -> int:
    """Run a cell; returns the exit status. Standard input is a pipe that closes when the experiment ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from recbole_rlmrec.errors import guarded

    return guarded(lambda: run_cell(sys.argv[1:] if argv is None else argv))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(3)


def run_cell(argv: Sequence[str]) -> int:
    """Run a model and write what it used."""
    import torch

    from recbole_rlmrec.data.files import write_json
    from recbole_rlmrec.plugin.record import resident_memory
    from recbole_rlmrec.runs.run import main as run

    start, before = perf_counter(), resident_memory()
    about = run(list(argv))["run"]
    before_that = about["series"]["seconds"][: about["resumed_from"][-1]] if about["resumed_from"] else []
    usage = {
        "seconds": perf_counter() - start + sum(before_that),
        "threads": torch.get_num_threads(),
        "peak_memory": resident_memory() - before,
        "peak_gpu_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }
    write_json(Path("usage.json"), usage)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
