"""What a service needs of a trained model: tables of users and items with their tokens, and an index over the items."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from recbole_rlmrec.data.files import building, write_json
from recbole_rlmrec.data.pairs import split_hash
from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.data.store import now
from recbole_rlmrec.errors import ConfigError, ModelError, StoreError
from recbole_rlmrec.plugin.record import versions
from recbole_rlmrec.runs.top import top_products
from recbole_rlmrec.runs.trained import Trained, TrainedOnSequences

FORMS = ("parquet", "safetensors")
INDEX = "items.faiss"
AT = 10
QUERIES = 1000


def export_tables(trained: Trained, folder: Path, form: str = "parquet", index: str | None = None) -> dict:
    """Write the tables of a trained model; the score of a user and an item is the product of their vectors.

    A user of a sequential recommender is the sequence as it ends now; users without one are left out. ``about.json`` says in
    ``until`` with which part of the split users end: what they did in it, their vectors know.

    Parameters
    ----------
    trained : Trained
    folder : Path
        To make; there must be nothing of this name.
    form : str
        ``parquet``: ``users.parquet`` and ``items.parquet`` with ``id``, ``title`` (items) and ``vector``; ``safetensors``: one
        file ``tables.safetensors`` with ``users`` and ``items`` [n, d], and ``users.tokens.json`` and ``items.tokens.json``.
    index : str, optional
        Write an index of faiss over the items too: what ``faiss.index_factory`` takes, ``Flat``, ``HNSW32``, ``IVF256,Flat``.

    Returns
    -------
    dict
        What ``about.json`` holds: model, data, size, and for an index its recall at 10 against the exact products.

    Raises
    ------
    ModelError
        Scores of the model are no products of vectors.
    ConfigError
        The index is not known to faiss, or faiss is not installed.
    StoreError
        The folder is there.
    """
    if folder.exists():
        raise StoreError(f"{folder} exists already; choose another --output.")
    served = trained.served
    if served is None:
        raise ModelError(
            f"Scores of {trained.config['model']} are no products of a vector of the user and one of the item, so there are no "
            "tables to serve; recommend --all-users writes its lists."
        )
    faiss = _faiss() if index else None
    ids, users, items = served
    tokens = {"user": [str(token) for token in trained.tokens("user")[ids.numpy()]]}
    tokens["item"] = [str(token) for token in trained.tokens("item")[1:]]
    tables = {"user": np.ascontiguousarray(users.numpy()), "item": np.ascontiguousarray(items[1:].numpy())}
    about = {
        "model": trained.config["model"],
        "alignment": trained.alignment,
        "dataset": trained.config["dataset"],
        "split_hash": split_hash(trained.splits[0]),
        "until": trained.ends if isinstance(trained, TrainedOnSequences) else "train",
        "made": now(),
        "score": "product of the two vectors",
        "dim": tables["user"].shape[1],
        "users": len(tokens["user"]),
        "items": len(tokens["item"]),
        "versions": versions(),
    }
    with building(folder) as made:
        if form == "parquet":
            titles = {"item": [trained.titles.get(token) for token in tokens["item"]]}
            for side in SIDES:
                _write_parquet(made / f"{side}s.parquet", tokens[side], titles.get(side), tables[side])
        else:
            _write_safetensors(made, tokens, tables)
        if faiss is not None:
            about["index"] = _write_index(faiss, made / INDEX, index, tables)
        write_json(made / "about.json", about)
    return about


def _write_parquet(path: Path, tokens: Sequence[str], titles: Sequence[str | None] | None, table: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(table.reshape(-1)), table.shape[1])
    columns = {"id": pa.array(tokens, pa.string()), "vector": vectors}
    if titles is not None:
        columns["title"] = pa.array(titles, pa.string())
    pq.write_table(pa.table(columns), path, row_group_size=1 << 16)


def _write_safetensors(folder: Path, tokens: dict[str, list[str]], tables: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({f"{side}s": table for side, table in tables.items()}, str(folder / "tables.safetensors"))
    for side in SIDES:
        (folder / f"{side}s.tokens.json").write_text(json.dumps(tokens[side], ensure_ascii=False), encoding="utf-8")


def _faiss():
    try:
        import faiss
    except ImportError:
        raise ConfigError("--index needs faiss: pip install 'recbole-rlmrec[faiss]' (or faiss-cpu).") from None
    return faiss


def _write_index(faiss, path: Path, kind: str, tables: dict[str, np.ndarray]) -> dict:
    """Write an index over the items and measure it against exact products, with users of the model as queries."""
    items = tables["item"]
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        index = faiss.index_factory(items.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(items)
        index.add(items)
    except Exception as error:
        said = " ".join(str(error).split())[-160:]
        raise ConfigError(
            f"faiss cannot make the index {kind!r} of {len(items):,} items ({said}); try Flat or HNSW32."
        ) from None
    faiss.write_index(index, str(path))
    k = min(AT, len(items))
    drawn = np.random.default_rng(0).permutation(len(tables["user"]))[:QUERIES]
    users = np.ascontiguousarray(tables["user"][drawn])
    none = torch.zeros(0, dtype=torch.long)
    exact = top_products(torch.from_numpy(users), torch.from_numpy(items), k, (none, none))[1].numpy()
    start = time.perf_counter()
    found = index.search(users, k)[1]
    seconds = time.perf_counter() - start
    hits = sum(len(set(one.tolist()) & set(other.tolist())) for one, other in zip(found, exact))
    return {
        "kind": kind,
        "file": path.name,
        f"recall@{AT}": hits / exact.size,
        "queries": len(users),
        "milliseconds_per_query": 1000 * seconds / len(users),
    }
