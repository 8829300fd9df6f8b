"""Lists of items for users, by a trained model: the best, the best that differ, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm import tqdm

from recbole_rlmrec.data.files import file_digest
from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import ProfileStore
from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.plugin.sampler import UserItems
from recbole_rlmrec.runs.trained import Trained
from recbole_rlmrec.semantic.default import offline_tag

POOL = 5
BECAUSE = 2
_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORDS = re.compile(r"\w{2,}")


class Recommended(NamedTuple):
    """An item that is recommended.

    Attributes
    ----------
    item : str
        Token.
    title : str or None
    score : float
    because : list of str
        The nearest items of the user's history, by token.
    profile : str or None
        The sentence of the user's profile that is nearest to the item's.
    """

    item: str
    title: str | None
    score: float
    because: Sequence[str] = ()
    profile: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What lists should be.

    Attributes
    ----------
    k : int
        Items per user.
    hidden : UserItems
        Items that are left out.
    allowed : BoolTensor [n_items] or None
        Items that may be shown.
    diversify : float
        0 for the best; up to 1, how much more it counts that an item differs from those before it.
    """

    k: int
    hidden: UserItems
    allowed: torch.Tensor | None = None
    diversify: float = 0.0


def recommend(
    trained: Trained, users: torch.Tensor, wanted: Wanted, reasons: Reasons | None = None
) -> Iterator[tuple[str, list[Recommended]]]:
    """Lists of users.

    Parameters
    ----------
    trained : Trained
    users : LongTensor [n]
        Internal ids.
    wanted : Wanted
    reasons : Reasons, optional
        Gives a reason for each item.

    Yields
    ------
    user : str
        Token.
    items : list of Recommended
        At most k, the best first; fewer where the user has fewer items left.

    Raises
    ------
    ModelError
        The lists should differ, and the model has no representations of items to tell by.
    """
    tokens, names, titles = trained.tokens("item").tolist(), trained.tokens("user").tolist(), trained.titles
    vectors = item_vectors(trained) if wanted.diversify else None
    with tqdm(total=len(users), desc="users", unit="user", ncols=100, disable=len(users) <= trained.block or None) as bar:
        for part in users.split(trained.block):
            k = wanted.k if vectors is None else wanted.k * POOL
            scores, items = trained.top(part, k, wanted.hidden, wanted.allowed)
            if vectors is not None:
                scores, items = diverse(scores, items, vectors, wanted.k, wanted.diversify)
            for user, row, ids in zip(part.tolist(), scores.tolist(), items.tolist()):
                found = [(tokens[item], score) for item, score in zip(ids, row) if score > -torch.inf]
                listed = [Recommended(token, titles.get(token), score) for token, score in found]
                yield names[user], listed if reasons is None else reasons.add(user, ids[: len(listed)], listed)
            bar.update(len(part))


def item_vectors(trained: Trained) -> torch.Tensor:
    """Unit vectors of the items [n_items, d] as the model represents them.

    Raises
    ------
    ModelError
        It does not.
    """
    return normalize(trained.representations()[1].float(), dim=1)


def diverse(
    scores: torch.Tensor, items: torch.Tensor, vectors: torch.Tensor, k: int, weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose k of each row's items by maximal marginal relevance.

    One after the other, the item with the largest ``(1 - weight) * relevance - weight * likeness``: relevance is the score,
    scaled to 0 to 1 over the row; likeness the largest cosine with an item that was chosen before.

    Parameters
    ----------
    scores : FloatTensor [b, p]
        Descending; -inf for none.
    items : LongTensor [b, p]
    vectors : FloatTensor [n_items, d]
        Of length 1.
    k : int
    weight : float

    Returns
    -------
    scores : FloatTensor [b, min(k, p)]
        As they were, in the order of choice.
    items : LongTensor [b, min(k, p)]
    """
    there = scores > -torch.inf
    lowest = scores.masked_fill(~there, torch.inf).amin(1, keepdim=True)
    span = (scores[:, :1] - lowest).clamp_min(1e-12)
    relevance = ((scores - lowest) / span).masked_fill(~there, -torch.inf)
    rows = vectors[items]
    likeness = torch.zeros_like(scores)
    chosen = []
    for step in range(min(k, items.shape[1])):
        gain = (1 - weight) * relevance - weight * likeness
        best = gain.masked_fill(~there, -torch.inf).argmax(1, keepdim=True)
        chosen.append(best)
        there = there.scatter(1, best, False)
        cosine = torch.bmm(rows, rows.gather(1, best.unsqueeze(2).expand(-1, -1, rows.shape[2])).transpose(1, 2)).squeeze(2)
        likeness = cosine if step == 0 else torch.maximum(likeness, cosine)
    places = torch.cat(chosen, dim=1)
    # A row that has run out picks one again: its score stands for none.
    left = torch.arange(places.shape[1]) < (scores > -torch.inf).sum(1, keepdim=True)
    return scores.gather(1, places).masked_fill(~left, -torch.inf), items.gather(1, places)


class Reasons:
    """Why an item is recommended: the nearest items of the user's history, and a sentence of the user's profile.

    Parameters
    ----------
    trained : Trained
    texts : mapping of str to (mapping of str to str)
        Profiles by side and token; empty where the model was trained without.
    parts : sequence of str
        Parts of the data, as :meth:`Trained.items_of` takes them, whose items may be a reason.
    """

    def __init__(self, trained: Trained, texts: Mapping[str, Mapping[str, str]], parts: Sequence[str]):
        self._history = trained.items_of(parts)
        self._tokens, self._names = trained.tokens("item").tolist(), trained.tokens("user").tolist()
        self._texts = texts
        try:
            self._vectors = item_vectors(trained).numpy()
        except ModelError:
            self._vectors = None

    def add(self, user: int, ids: Sequence[int], listed: list[Recommended]) -> list[Recommended]:
        """A user's list with reasons; ``ids`` are the internal ids of its items."""
        because = self._nearest(user, ids)
        sentences = self._sentences(self._texts["user"].get(self._names[user], ""))
        found = []
        for one, near in zip(listed, because):
            about = f"{one.title or ''} {self._texts['item'].get(one.item, '')}"
            found.append(one._replace(because=near, profile=self._fitting(sentences, about)))
        return found

    def _nearest(self, user: int, ids: Sequence[int]) -> list[list[str]]:
        history = self._history.rows(torch.tensor([user]))[1].numpy()
        if self._vectors is None or not len(history) or not len(ids):
            return [[] for _ in ids]
        cosines = self._vectors[list(ids)] @ self._vectors[history].T
        cosines[np.asarray(ids)[:, None] == history] = -np.inf  # an item is no reason for itself
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :BECAUSE]
        return [[self._tokens[history[n]] for n in row if cosine[n] > -np.inf] for row, cosine in zip(best, cosines)]

    @cached_property
    def _rarity(self) -> dict[str, float]:
        """Inverse document frequency of words over the profiles."""
        texts = [text for side in self._texts.values() for text in side.values()]
        counts = Counter(word for text in texts for word in _words(text))
        return {word: float(np.log(len(texts) / count)) for word, count in counts.items()}

    def _sentences(self, profile: str) -> list[tuple[str, set[str]]]:
        return [(part.strip(), _words(part)) for part in _ENDS.split(profile) if part.strip()]

    def _fitting(self, sentences: Sequence[tuple[str, set[str]]], about: str) -> str | None:
        """The sentence that shares the rarest words with a text; the first where none shares any."""
        if len(sentences) < 2:
            return sentences[0][0] if sentences else None
        words = _words(about)
        weights = [sum(self._rarity.get(word, 0.0) for word in mine & words) for _, mine in sentences]
        return sentences[int(np.argmax(weights))][0]


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text.lower()))


def profile_texts(trained: Trained) -> dict[str, dict[str, str]]:
    """Profiles of the run by side and token; none where its tag is not there."""
    store = ProfileStore(_tag_folder(trained))
    return {side: store.texts(side) if store.exists else {} for side in ("user", "item")}


def profile_digests(trained: Trained) -> list[str]:
    """What tells the profiles of the run and their vectors from others: digests of the manifests that are bound to them."""
    return [file_digest(path) for path in sorted(_tag_folder(trained).glob("embeddings/*/manifest.json"))]


def _tag_folder(trained: Trained) -> Path:
    return semantic_root(trained.config) / str(trained.config["semantic_tag"] or offline_tag(trained.splits[0]))
