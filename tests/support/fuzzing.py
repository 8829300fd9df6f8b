"""Every file that a person can hand in, damaged in every way we know: the outcome is a sentence or an accepted file.

Also a program: ``python tests/support/fuzzing.py 2000`` tries that many cases and prints what ended in a traceback, hung,
or ran code that a file holds.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import logging
import os
import pickle
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
import torch
import yaml

from recbole_rlmrec import cli
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.encoding.encode import encode_tag
from recbole_rlmrec.errors import guarded
from recbole_rlmrec.exchange.archive import export_archive
from recbole_rlmrec.exchange.profiles import import_profiles
from recbole_rlmrec.plugin import resume
from recbole_rlmrec.plugin.checkpoint import load_checkpoint
from recbole_rlmrec.runs.run import main as run
from recbole_rlmrec.runs.split import load_split
from recbole_rlmrec.runs.trained import load_trained
from recbole_rlmrec.semantic.load import load_semantic

SECONDS = 20
MARKER = "a-file-was-run"
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


# --- damaging files ------------------------------------------------------------------------------------------------------


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


ODD = (None, True, 0, -1, 3.5, 1e400, 10**30, float("nan"), "", "x", "\ud800", "\0", "9" * 5000)
ODD = (*ODD, [], [[]], {}, {"a": {}}, [1, "x", None])
OPTIONS = """metrics unused_col threshold preload_weight NEG_PREFIX metric_decimal_place state checkpoint_dir semantic_path
additional_feat_suffix topk valid_metric eval_args load_col unload_col val_interval data_path field_separator seq_separator
learner learning_rate train_batch_size eval_batch_size epochs seed stopping_step eval_step train_neg_sample_args USER_ID_FIELD
ITEM_ID_FIELD rm_dup_inter user_inter_num_interval normalize_field normalize_all numerical_features benchmark_filename
alias_of_user_id worker clip_grad_norm weight_decay loss_decimal_place repeatable semantic_tag semantic_encoder semantic_dim
leakage align_weight align_temperature align_negatives mask_ratio alignment embedding_size initial_embeddings checkpoint_every
resume test_mask dataset_save_path transform encoding seq_len discretization model dataset kg_reverse_r""".split()


def mutate(name: str, content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    """Damage a file: in a way of its kind, or its bytes."""
    kinds = {".json": _json, ".jsonl": _json_lines, ".yaml": _yaml, ".npy": _npy, ".gz": _archive}
    if numbers.random() < 0.7:
        return kinds.get(Path(name).suffix, _pickle)(content, numbers)
    return _bytes(content, numbers)


def _bytes(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    at = numbers.randrange(len(content) + 1)
    end = min(len(content), at + numbers.choice((1, 1, 8, 1000)))
    how = numbers.choice(("cut off", "removed", "doubled", "changed", "put in"))
    made = {
        "cut off": content[:at],
        "removed": content[:at] + content[end:],
        "doubled": content[:end] + content[at:],
        "changed": content[:at] + bytes(numbers.randrange(256) for _ in content[at:end]) + content[end:],
        "put in": content[:at] + numbers.choice((b"\0", b"\xff", b"\n", b'"', b"[" * 10, b"{" * 3, b"\r")) + content[at:],
    }[how]
    return f"bytes {at} to {end} {how}", made


def _places(value, path=()):
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _places(part, (*path, key))


def _edited(value, numbers: random.Random) -> tuple[str, object]:
    places = list(_places(value))
    path = numbers.choice(places)
    odd = numbers.choice(ODD)
    if not path:
        return f"all is {odd!r:.40}", odd
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if numbers.random() < 0.3:
        del holder[path[-1]]
        return f"{path} removed", value
    holder[path[-1]] = odd
    return f"{path} is {odd!r:.40}", value


def _text(value) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _json(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    if numbers.random() < 0.1:
        return "nested", numbers.choice((b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000))
    how, value = _edited(json.loads(content), numbers)
    return how, _text(value)


def _json_lines(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    lines = content.splitlines()
    at = numbers.randrange(len(lines))
    how, lines[at] = _json(lines[at], numbers)
    return f"line {at}: {how}", b"\n".join(lines) + b"\n"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghij", "bcdefghijk")
)
YAMLS = {
    "bomb": BOMB,
    "itself": "metrics: &a [*a]\n",
    "python": f"metrics: !!python/object/apply:os.system ['touch {MARKER}']\n",
    "name": "metrics: !!python/name:os.system\n",
    "module": "x: !!python/module:os\n",
    "nested": "x: " + "[" * 20_000,
    "merge": "<<: [1, 2]\n",
    "key": "? [a, b]\n: 1\n",
    "number": "1: 2\n",
    "date": "metrics: 2024-13-45\n",
    "binary": "metrics: !!binary '###'\n",
    "two": "a: 1\n---\nb: 2\n",
    "set": "metrics: !!set {a, b}\n",
    "base 60": "epochs: 1:99:99\n",
}


def _yaml(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    if numbers.random() < 0.25:
        how = numbers.choice(sorted(YAMLS))
        return how, content + YAMLS[how].encode() if numbers.random() < 0.5 else YAMLS[how].encode()
    value = yaml.safe_load(content)
    if "epochs" in value and numbers.random() < 0.8:
        key, odd = numbers.choice(OPTIONS), numbers.choice(ODD)
        return f"{key} is {odd!r:.40}", _text({**value, key: odd})
    how, value = _edited(value, numbers)
    return how, _text(value)


def _npy(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    header = numbers.choice(
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 8), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 'x', }",
            "{'descr': '<f4', 'fortran_order': 3, 'shape': (2, 2), }",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
            "{'descr': '<U4', 'fortran_order': False, 'shape': (2, 2), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2), }",
            "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 2), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 0), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }",
            "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 8), }",
            "(" * 2000,
            "[" * 5000 + "]" * 5000,
            "{'descr': __import__('os').system('touch " + MARKER + "')}",
        )
    )
    raw = header.encode() + b"\n"
    body = content[128:] if "|O" not in header else pickle.dumps(Evil())
    return header[:60], b"\x93NUMPY\x01\x00" + (len(raw) % 65536).to_bytes(2, "little") + raw + body


def _archive(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    raw = gzip.decompress(content)
    how, raw = _bytes(raw, numbers)
    return f"inside: {how}", gzip.compress(raw, mtime=0)


def _pickle(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    out = io.BytesIO()
    if numbers.random() < 0.2:
        bad = {"config": Evil(), "state_dict": {}, "x": Evil()}
        if numbers.random() < 0.5:
            torch.save(bad, out)
        else:
            pickle.dump(bad, out)
        return "evil", out.getvalue()
    value = load_checkpoint(io_path(content))
    keys = sorted(value)
    key = numbers.choice(keys)
    odd = numbers.choice((None, 3, "x", [], {}, torch.zeros(3), {"a": 1}, -1.5))
    if isinstance(value[key], dict) and value[key] and numbers.random() < 0.6:
        inner = numbers.choice(sorted(value[key], key=str))
        value[key] = {**value[key], inner: odd}
        key = f"{key}.{inner}"
    elif numbers.random() < 0.3:
        del value[key]
    else:
        value[key] = odd
    torch.save(value, out, pickle_protocol=4)
    return f"{key} is {odd!r:.40}", out.getvalue()


def io_path(content: bytes) -> str:
    """A file of these bytes."""
    Path("names/whole.pth").write_bytes(content)
    return "names/whole.pth"


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
