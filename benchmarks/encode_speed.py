"""What encoding texts costs on a processor: a model of sentence-transformers by each backend, and a static model made of it.

    python benchmarks/encode_speed.py PROFILES.jsonl --encoder=MODEL --output=benchmarks/results/encode_speed.md

Texts per CPU-second of one thread, tokens and pooling included, start-up apart; the rows take turns, the best of the rounds
counts. Cosines are to the vectors of torch in float32. The static model is the encoder's own: a vector for each of its
tokens, which is what it says of that token alone, reduced by PCA and weighted by rank (the way of model2vec).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from recbole_rlmrec.encoding.registry import get_encoder
from recbole_rlmrec.encoding.sentence_transformer import BATCH_TOKENS, batches

ROWS = {
    "torch float32, 32 texts to a batch": {"batch_size": 32},
    "torch float32": {},
    "torch bfloat16": {"precision": "bfloat16"},
    "onnx float32": {"backend": "onnx"},
    "onnx int8": {"backend": "onnx", "precision": "int8"},
    "openvino float32": {"backend": "openvino"},
    "openvino bfloat16": {"backend": "openvino", "precision": "bfloat16"},
    "openvino int8": {"backend": "openvino", "precision": "int8"},
}


def read_texts(paths: list[Path], count: int) -> list[str]:
    """Distinct texts of files of profiles, drawn at random."""
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    texts = sorted({json.loads(line)["profile"] for line in lines})
    drawn = np.random.default_rng(0).permutation(len(texts))[:count]
    return [texts[place] for place in drawn]


def distil(encoder: str, folder: Path, dim: int = 256, smoothing: float = 1e-4) -> Path:
    """Make a static model of a sentence-transformers model and save it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from sklearn.decomposition import PCA

    model = SentenceTransformer(encoder, device="cpu")
    tokenizer, parts = model.tokenizer, []
    start, end = tokenizer("").input_ids
    with torch.inference_mode():
        for block in torch.arange(len(tokenizer)).split(512):
            ids = torch.stack([torch.full_like(block, start), block, torch.full_like(block, end)], dim=1)
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
            parts.append(model(features)["sentence_embedding"].numpy())
    vectors = PCA(dim, random_state=0).fit_transform(np.concatenate(parts))
    share = 1 / np.arange(2, len(vectors) + 2)
    weights = smoothing / (smoothing + share / share.sum())
    table = StaticEmbedding(tokenizer, embedding_weights=(vectors * weights[:, None]).astype(np.float32))
    SentenceTransformer(modules=[table], device="cpu").save(str(folder), create_model_card=False)
    return folder


def padding(lengths: np.ndarray, parts: list[np.ndarray]) -> float:
    """Share of padding in what batches hold."""
    whole = sum(len(part) * lengths[part].max() for part in parts)
    return 1 - lengths.sum() / whole


def _cosines(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return (found * exact).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1))


def main() -> None:
    """Measure each row and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profiles", type=Path, nargs="+")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--static", type=Path, default=None, help="keep the static model in this folder")
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = read_texts(args.profiles, args.count)
    with tempfile.TemporaryDirectory() as name:
        static = distil(args.encoder, args.static or Path(name) / "static")
        encoders, starts = {}, {}
        for row, options in {**ROWS, "static": {}}.items():
            begin = time.process_time()
            encoders[row] = get_encoder(str(static) if row == "static" else args.encoder, device="cpu", **options)
            encoders[row].encode(texts[:2])
            starts[row] = time.process_time() - begin
        seconds = {row: [] for row in encoders}
        vectors = {}
        for _ in range(args.rounds):
            for row, encoder in encoders.items():
                begin = time.process_time()
                vectors[row] = encoder.encode(texts)
                seconds[row].append(time.process_time() - begin)
                print(row, seconds[row][-1], file=sys.stderr, flush=True)
    exact = vectors["torch float32"]
    best = {row: len(texts) / min(found) for row, found in seconds.items()}
    base = best["torch float32, 32 texts to a batch"]
    lengths = encoders["torch float32"].lengths(texts)
    by_text, by_token = batches(lengths, None, 32), batches(lengths, BATCH_TOKENS["cpu"])
    lines = [
        f"`python benchmarks/encode_speed.py {re.sub(r'[^= ]*/', '', ' '.join(sys.argv[1:]))}`",
        "",
        f"{len(texts)} texts of {lengths.mean():.0f} tokens on average ({lengths.min()} to {lengths.max()}); one thread, "
        f"Python {platform.python_version()}, torch {torch.__version__}. Padding: {padding(lengths, by_text):.1%} in batches "
        f"of 32 texts, {padding(lengths, by_token):.1%} in batches of {BATCH_TOKENS['cpu']:,} tokens.",
        "",
        "| | texts per CPU-second | x | cosine, mean | least | start-up, CPU-s |",
        "| --- " * 6 + "|",
    ]
    for row, found in vectors.items():
        cosine = _cosines(found, exact) if found.shape == exact.shape else None
        told = ("", "") if cosine is None else (f"{cosine.mean():.5f}", f"{cosine.min():.5f}")
        lines.append(f"| {row} | {best[row]:,.0f} | {best[row] / base:.2f} | {told[0]} | {told[1]} | {starts[row]:.1f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.output:
        before = args.output.read_text(encoding="utf-8") if args.output.is_file() else ""
        _, heading, rest = before.partition("\n## ")  # what stands there beside this table stays
        args.output.write_text(text + heading + rest, encoding="utf-8")


if __name__ == "__main__":
    main()
