"""What decides about a data set which variant is worth trying, measured in about a minute without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recbole_rlmrec.data.corpus import Corpus
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import SIDES, ProfileStore, list_tags, tag_folder
from recbole_rlmrec.encoding.embeddings import list_encoders
from recbole_rlmrec.encoding.lsa import LSA
from recbole_rlmrec.errors import EncoderError, SemanticError
from recbole_rlmrec.experiments.cells.data import found_parts
from recbole_rlmrec.experiments.text_baselines import blend, item_knn, measure, popularity, text_knn
from recbole_rlmrec.profiling.sentences import item_texts
from recbole_rlmrec.profiling.shared import Shared
from recbole_rlmrec.runs.split import draw_split, make_config
from recbole_rlmrec.semantic.load import check_profiles, encoder_folder, load_semantic

K = 20
MOST_USERS = 2000
MOST_SCORES = 1 << 26
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
TEMPLATE = "columns of .item"


@dataclass(frozen=True)
class Measures:
    """What was measured of a data set.

    Attributes
    ----------
    users, items, interactions : int
        Of the run; interactions of training.
    density : float
        Training interactions per user and item.
    per_user, per_item : float
        Training interactions of a user and an item in the median, those without any included.
    unseen : float
        Share of validation and test interactions whose item training never saw.
    texts : str
        Which texts: a tag, or the columns of .item.
    covered_items, covered_users : float
        Shares that have a text.
    words : float
        Words of an item's text in the median.
    popularity, knn, text, blend : float
        Recall@20 on the validation split of popularity, item-kNN, text-kNN, and the best blend of the last two.
    share : float
        Share of the text in that blend; 0 where item-kNN alone is best.
    tag : str or None
        Of the profiles; None where the texts are columns of .item.
    """

    users: int
    items: int
    interactions: int
    density: float
    per_user: float
    per_item: float
    unseen: float
    texts: str
    covered_items: float
    covered_users: float
    words: float
    popularity: float
    knn: float
    text: float
    blend: float
    share: float
    tag: str | None = None

    @property
    def gain(self) -> float:
        """Relative gain of the blend over item-kNN; 0 where neither finds anything, infinite where texts alone do."""
        return self.blend / self.knn - 1 if self.knn else (np.inf if self.blend else 0.0)

    def figures(self) -> dict:
        """All of them by name, ``gain`` among them, and in words as ``gained``."""
        gained = f"{self.gain:+.0%}" if np.isfinite(self.gain) else "all that is found"
        return {**asdict(self), "gain": self.gain, "gained": gained}


def measure_dataset(dataset: str, options: Mapping, tag: str | None = None) -> Measures:
    """Measure a data set on the split that a run with the same options draws.

    Parameters
    ----------
    dataset : str
    options : mapping
        RecBole's options.
    tag : str, optional
        Profiles; by default the only ones, else texts are put together from the columns of ``.item``.

    Raises
    ------
    DataError, SemanticError, LeakageError
        As a run would.
    """
    options = {"gpu_id": "", **options}
    parts = options.get("benchmark_filename") or found_parts(Path(make_config("BPR", dataset, options)["data_path"]), dataset)
    options |= {"benchmark_filename": parts} if parts else {}
    config = make_config("LightGCN_RLMRec", dataset, {**options, "semantic_tag": tag})
    data, splits = draw_split(config)
    train, valid, test = (_matrix(split) for split in splits)
    texts = _Texts(config, splits[0])
    seen = popularity(train) > 0
    heldout = np.concatenate([valid.indices, test.indices])
    recalls, share = _recalls(train, valid, texts)
    return Measures(
        users=data.user_num - 1,
        items=data.item_num - 1,
        interactions=int(train.nnz),
        density=train.nnz / max((data.user_num - 1) * (data.item_num - 1), 1),
        per_user=float(np.median(np.diff(train.indptr)[1:])),
        per_item=float(np.median(popularity(train)[1:])),
        unseen=float((~seen[heldout]).mean()) if len(heldout) else 0.0,
        texts=texts.name,
        covered_items=float(texts.there[1:].mean()),
        covered_users=texts.users / max(data.user_num - 1, 1),
        words=texts.words,
        **recalls,
        share=share,
        tag=texts.tag,
    )


def _matrix(split) -> sp.csr_matrix:
    matrix = split.inter_matrix(form="csr").astype(np.float32)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _recalls(train: sp.csr_matrix, valid: sp.csr_matrix, texts: _Texts) -> tuple[dict[str, float], float]:
    """Recall@20 on the validation split, of at most 2,000 users, and the share of text in the best blend."""
    tested = np.flatnonzero((np.diff(valid.indptr) > 0) & (np.diff(train.indptr) > 0))
    most = min(MOST_USERS, max(MOST_SCORES // train.shape[1], 1))
    tested = np.sort(np.random.default_rng(0).permutation(tested)[:most])
    counts, ranked = popularity(train), np.ones(train.shape[1], dtype=bool)
    ranked[0] = False
    similar, history, wanted = item_knn(train), train[tested], valid[tested]
    by_text = text_knn(texts.vectors, texts.there, train)

    def of(scorer) -> float:
        found = measure(scorer, history, wanted, {"": (ranked, ranked)}, [K])[f"recall@{K} "]
        return float(np.nanmean(found)) if len(tested) else 0.0

    def only(scorer):
        """A scorer of the users that are tested; scores are kept, for they are blended again and again."""
        table = np.asarray(scorer(tested), dtype=np.float32)
        return lambda rows: table[rows].copy()

    knn = only(similar)
    found = {"popularity": of(lambda rows: np.tile(counts, (rows.stop - rows.start, 1))), "knn": of(knn), "text": 0.0}
    if not texts.there.any():
        return {**found, "blend": found["knn"]}, 0.0
    text = only(by_text)
    found["text"] = of(text)
    blends = {0.0: found["knn"], 1.0: found["text"], **{share: of(blend(knn, text, share)) for share in SHARES}}
    best = max(blends, key=lambda share: (blends[share], -share))
    return {**found, "blend": blends[best]}, best


class _Texts:
    """Texts of a run's items: vectors by internal id, who has one, how long they are."""

    def __init__(self, config, train):
        self._train, root = train, semantic_root(config)
        self.tag = tag = config["semantic_tag"] or self._only_tag(root)
        if tag is None:
            self.name, found, self.users = TEMPLATE, _from_columns(config, train), 0
        else:
            folder = tag_folder(root, tag, config["dataset"])
            store = ProfileStore(folder)
            if not list_encoders(folder):  # what has been encoded is checked as it is loaded
                check_profiles(store, None, train, config["leakage"])
            texts = {side: store.texts(side) for side in SIDES}
            self.name, found = f"tag {tag}", texts["item"]
            known = train.field2token_id[train.uid_field]
            self.users = sum(known.get(token, 0) > 0 for token in texts["user"])
        ids = train.field2token_id[train.iid_field]
        mine = {ids[token]: text for token, text in found.items() if ids.get(token, 0) > 0}
        self.words = float(np.median([len(text.split()) for text in mine.values()])) if mine else 0.0
        self.there = np.zeros(train.item_num, dtype=bool)
        self.there[list(mine)] = True
        self.vectors = self._embedded(config, tag, root) if tag and list_encoders(root / tag) else self._lsa(mine)

    @staticmethod
    def _only_tag(root: Path) -> str | None:
        tags = [tag for tag in list_tags(root) if not tag.startswith("template-lsa-")] if root.is_dir() else []
        if len(tags) > 1:
            raise SemanticError(f"There are several sets of profiles in {root}; choose one with --tag: {', '.join(tags)}.")
        return tags[0] if tags else None

    def _embedded(self, config, tag: str, root: Path) -> np.ndarray:
        config["semantic_tag"], config["semantic_encoder"] = tag, encoder_folder(config, root / tag).name
        table = load_semantic(config, self._train, report=False).item
        rows = np.zeros((table.n, table.dim), dtype=np.float32)
        rows[table.ids.numpy()] = table.rows(table.ids).numpy()
        self.name += f", encoder {config['semantic_encoder']}"
        return rows

    def _lsa(self, texts: dict[int, str]) -> np.ndarray:
        encoder = LSA(dim=128)
        try:
            encoder.fit(list(texts.values()))
        except (EncoderError, ValueError):  # no text at all, or none with a word
            return np.zeros((self._train.item_num, 1), dtype=np.float32)
        vectors = encoder.encode(list(texts.values()))
        rows = np.zeros((self._train.item_num, vectors.shape[1]), dtype=np.float32)
        rows[list(texts)] = vectors
        self.name += ", encoder lsa"
        return rows


def _from_columns(config, train) -> dict[str, str]:
    corpus = Corpus.from_config(config, train)
    if corpus.item_fields is None:
        return {}
    return {token: text for token, text, _ in item_texts(Shared(corpus, corpus.columns())) if text}
