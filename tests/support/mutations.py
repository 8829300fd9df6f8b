"""Ways to damage a file, by its kind and byte by byte."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
from pathlib import Path

import torch
import yaml

from recbole_rlmrec.plugin.checkpoint import load_checkpoint

MARKER = "a-file-was-run"


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
