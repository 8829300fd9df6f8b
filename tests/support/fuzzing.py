"""Every file that a person can hand in, damaged in every way we know: the outcome is a sentence or an accepted file.

Also a program: ``python tests/support/fuzzing.py 2000`` tries that many cases and prints what ended in a traceback, hung,
or ran code that a file holds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from mutations import MARKER, mutate

from recbole_rlmrec import cli
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import guarded
from recbole_rlmrec.exchange.archive import export_archive
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.plugin import resume
from recbole_rlmrec.runs.run import main as run
from recbole_rlmrec.runs.split import load_split
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.semantic.load import load_semantic

SECONDS = 20
USERS, ITEMS = 16, 20
RUN = {
    "gpu_id": "",
    "epochs": 2,
    "train_batch_size": 64,
    "embedding_size": 8,
    "topk": [5],
    "metrics": ["Recall", "NDCG"],
    "valid_metric": "Recall@5",
    "show_progress": False,
    "semantic_tag": "t",
}


@dataclass(frozen=True)
class Case:
    """A file that was damaged: its name, how, and what came of it (None: a sentence, or accepted)."""

    target: str
    how: str
    fault: str | None


class Hang(BaseException):
    """Time is up."""


class World:
    """A folder with one of each file, and what reads it.

    Parameters
    ----------
    root : Path
        An empty folder, which becomes the working directory.
    """

    def __init__(self, root: Path):
        self.root = root
        os.chdir(root)
        sys.argv = ["recbole-rlmrec"]
        self._quietly(self._make)
        self.targets = {path: read for path, read in self._readers().items() if (root / path).is_file()}
        missing = set(self._readers()) - set(self.targets)
        assert not missing, f"not made: {missing}"

    # --- making the files ----------------------------------------------------------------------------------------------

    def _make(self) -> None:
        from launchers import HereLauncher, run_experiment

        rng = np.random.default_rng(3)
        folder = Path("dataset/tiny")
        folder.mkdir(parents=True)
        cells = sorted({int(n) for n in rng.permutation(USERS * ITEMS)[:180]} | {user * ITEMS for user in range(USERS)})
        lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
        lines += [f"u{cell // ITEMS}\ti{cell % ITEMS}\t{1 + cell % 5}\t{1000 + cell}" for cell in cells]
        (folder / "tiny.inter").write_text("\n".join(lines) + "\n")
        titles = ["item_id:token\ttitle:token_seq"] + [f"i{n}\tFilm number {n} of {n % 7}" for n in range(ITEMS)]
        (folder / "tiny.item").write_text("\n".join(titles) + "\n")
        profiles = [{"item_id": f"i{n}", "profile": f"a film of {n % 7}", "pairs": []} for n in range(ITEMS)]
        profiles += [
            {"user_id": f"u{n}", "profile": f"likes {n % 7}", "reasoning": "", "pairs": [[f"u{n}", "i3"]]} for n in range(USERS)
        ]
        Path("mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in profiles))
        semantic = folder / "semantic"
        import_profiles(Path("mine.jsonl"), semantic, "tiny", "t")
        encode_tag(semantic / "t", "lsa")
        export_archive(semantic / "t", Path("t.tar.gz"))
        Path("run.yaml").write_text(yaml.safe_dump({**RUN, "leakage": "warn"}))
        Path("params.yaml").write_text(yaml.safe_dump({"LightGCN": {"con": {"align_weight": 0.1}}}))
        Path("space.yaml").write_text(yaml.safe_dump({"base": {"choice": {"learning_rate": [0.001, 0.01]}}}))
        Path("domain.yaml").write_text((Path(cli.__file__).parent / "profiling" / "prompts" / "movie.yaml").read_text())
        options = [f"--{key}={value}" for key, value in RUN.items() if key not in ("metrics", "leakage")]
        common = ["--dataset=tiny", "--output=results", "--seeds=2", "--checkpoints=first", "--leakage=warn", *options]
        run_experiment(HereLauncher(), "compare", *common, "--variants=base,con", "--metrics=['Recall','NDCG']")
        (cell,) = {path.parent for path in Path("results/cells").glob("*/model.pth")} and [
            min(path.parent for path in Path("results/cells").glob("*/model.pth"))
        ]
        for name in ("cell.json", "result.json", "users.json", "users.values.npy", "users.top.npy", "model.pth"):
            Path("names").mkdir(exist_ok=True)
            Path("names", name).write_text(str(cell / name))
        plan = {"format": 1, "cells": [json.loads((cell / "cell.json").read_text())]}
        Path("results/ablation").mkdir()
        Path("results/ablation/plan.json").write_text(json.dumps(plan))
        finish, resume.LastCheckpoint.finish = resume.LastCheckpoint.finish, lambda self, result=None: self.release()
        share, resume.SHARE = resume.SHARE, 1e9
        try:
            run(["--model=BPR", "--dataset=tiny", "--config_files=run.yaml"])
        finally:
            resume.LastCheckpoint.finish, resume.SHARE = finish, share
        (last,) = Path("saved/resume").glob("*/*.last")
        shutil.copy(last, "best.last")
        Path("names/last").write_text(str(last))
        shutil.copy(min(Path("saved").glob("BPR*.pth")), "best.pth")

    def cell(self, name: str) -> str:
        """Path of a file of one cell."""
        return Path("names", name).read_text()

    def _readers(self) -> dict[str, Callable[[], object]]:
        tag, encoder = "dataset/tiny/semantic/t", "dataset/tiny/semantic/t/embeddings/lsa"
        readers: dict[str, Callable[[], object]] = {
            "mine.jsonl": lambda: cli.main(["import", "mine.jsonl", "--dataset=tiny", "--tag=new"]),
            "t.tar.gz": lambda: cli.main(["import", "t.tar.gz", "--dataset=tiny", "--tag=new"]),
            "run.yaml": self._run,
            "params.yaml": lambda: self._options("params"),
            "space.yaml": lambda: self._options("space"),
            "domain.yaml": lambda: self._options("domain"),
            "best.pth": lambda: guarded(lambda: load_trained("best.pth") and 0),
            "best.last": self._resume,
            "results/folder.json": self._report,
            "results/ablation/plan.json": self._report,
            "results/compare/results.json": self._report,
        }
        for name in ("manifest.json", "users.jsonl", "items.jsonl"):
            readers[f"{tag}/{name}"] = self._profiles
        for name in ("manifest.json", "users.tokens.json", "items.npy"):
            readers[f"{encoder}/{name}"] = self._semantic
        for name in ("cell.json", "result.json", "users.json", "users.values.npy", "users.top.npy"):
            readers[self.cell(name)] = self._cells
        return readers

    # --- reading them --------------------------------------------------------------------------------------------------

    def _run(self) -> int:
        return cli.main(["run", "--model=BPR_RLMRec", "--dataset=tiny", "--config_files=run.yaml", "--epochs=1"])

    def _options(self, kind: str) -> int:
        from recbole_rlmrec.experiments.cells.options import read_params
        from recbole_rlmrec.experiments.tune import read_yaml, search_space
        from recbole_rlmrec.profiling.prompts import load_domain

        read = {
            "params": lambda: read_params(Path("params.yaml")),
            "space": lambda: search_space("LightGCN", "base", read_yaml(Path("space.yaml"))),
            "domain": lambda: load_domain("domain.yaml"),
        }[kind]
        return guarded(lambda: read() is None)

    def _profiles(self) -> int:
        return self._semantic() or cli.main(["show", "--dataset=tiny", "--tag=t", "--user=u3", "--gpu_id="])

    def _semantic(self) -> int:
        def read() -> int:
            config, _, splits = load_split("tiny", ["--gpu_id=", "--semantic_tag=t", "--leakage=warn", "--model=BPR_RLMRec"])
            load_semantic(config, splits[0])
            list(ProfileStore(semantic_root(config) / "t").iter("user"))
            return 0

        return guarded(read)

    def _resume(self) -> int:
        shutil.copy("best.last", Path("names/last").read_text())
        return cli.main(["run", "--model=BPR", "--dataset=tiny", "--config_files=run.yaml", "--resume"])

    def _report(self) -> int:
        return cli.main(["report", "results", "-o", "report.html", "--projection=pca"])

    def _cells(self) -> int:
        from launchers import FakeLauncher, run_experiment

        options = [f"--{key}={value}" for key, value in RUN.items() if key not in ("metrics", "leakage")]
        common = ["--dataset=tiny", "--output=results", "--seeds=2", "--checkpoints=first", "--leakage=warn", *options]
        again = ["compare", *common, "--variants=base,con", "--metrics=['Recall','NDCG']"]
        return guarded(lambda: run_experiment(FakeLauncher(), *again)) or self._report()

    # --- trying --------------------------------------------------------------------------------------------------------

    def attempt(self, target: str, numbers: random.Random) -> Case:
        """Damage a file, read it, and put it back."""
        path = self.root / target
        whole = path.read_bytes()
        how, damaged = mutate(target, whole, numbers)
        kept = {name: (self.root / name).read_bytes() for name in self.targets}
        path.write_bytes(damaged)
        try:
            return Case(target, how, self._fault(self.targets[target]))
        finally:
            for name, content in kept.items():
                if name == target or not (self.root / name).is_file() or (self.root / name).read_bytes() != content:
                    (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                    (self.root / name).write_bytes(content if name != target else whole)
            shutil.rmtree("dataset/tiny/semantic/new", ignore_errors=True)

    def _fault(self, read: Callable[[], object]) -> str | None:
        def ring(*_):
            raise Hang

        before = signal.signal(signal.SIGALRM, ring)
        signal.alarm(SECONDS)
        try:
            said = self._quietly(read)
            signal.alarm(0)
            if "Traceback" in said or "Logging error" in said:
                return f"a traceback was printed: {said[-1500:]}"
        except Hang:
            return f"no end after {SECONDS} seconds"
        except SystemExit:
            pass
        except BaseException as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            ours = [one for one in traceback.extract_tb(error.__traceback__) if "recbole_rlmrec" in one.filename]
            where = f"{ours[-1].filename.rpartition('recbole_rlmrec/')[2]}:{ours[-1].lineno}" if ours else ""
            return f"{type(error).__name__}: {str(error)[:200]} ({where}; {Path(frame.filename).name}:{frame.lineno})"
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        if (self.root / MARKER).exists():
            (self.root / MARKER).unlink()
            return "the file was run"
        return None

    def _quietly(self, action: Callable[[], object]) -> str:
        said = io.StringIO()
        logging.getLogger().handlers.clear()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            action()
        return said.getvalue()


# --- as a program --------------------------------------------------------------------------------------------------------


def main() -> int:
    """Try many cases; the exit status is 1 where one is at fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of files")
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as name:
        world = World(Path(name))
        numbers = random.Random(args.seed)
        targets = [target for target in sorted(world.targets) if args.only in target]
        faults, tried = [], Counter()
        for number in range(args.cases):
            case = world.attempt(targets[number % len(targets)], numbers)
            tried[case.target] += 1
            if case.fault:
                faults.append(case)
                print(f"{case.target}: {case.how}\n    {case.fault}", flush=True)
        os.chdir("/")
    hangs = sum("no end" in case.fault for case in faults)
    print(f"{args.cases} cases of {len(tried)} files: {len(faults) - hangs} tracebacks or runs, {hangs} hangs")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
