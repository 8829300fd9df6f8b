"""Latent semantic analysis: TF-IDF and a truncated SVD, no model to download."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_rlmrec.data.memory import give_back
from recbole_rlmrec.encoding.base import TextEncoder
from recbole_rlmrec.errors import ConfigError, EncoderError

# A word is a run of two or more letters or digits; in scripts that do not part words by spaces, each sign.
_SIGN = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = rf"(?u)[{_SIGN}]|(?:(?![{_SIGN}])\w){{2,}}"
_FLOOR = 0.01
FITTED = 50_000
"""Most texts that it is fitted to."""


class LSA(TextEncoder):
    """TF-IDF with sublinear term frequencies, reduced by a truncated SVD.

    There is no list of stop words: the inverse document frequency is log((1 + n) / (1 + df)), so that a word of every
    text weighs next to nothing in any language. Of more than 50,000 texts it is fitted to as many, evenly spaced.

    Parameters
    ----------
    name : str
        What the user called it.
    dim : int
        Size of the vectors; smaller where there are fewer texts or words.
    """

    needs_fit = True

    def __init__(self, name: str = "lsa", dim: int = 256):
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ConfigError(f"The dim of lsa must be a positive integer, not {dim!r}.")
        self.name = name
        self._dim = dim
        self._counter = self._tfidf = self._svd = None

    def fit(self, texts: Sequence[str]) -> None:
        """Learn vocabulary, weights and directions.

        Raises
        ------
        EncoderError
            The texts hold no word.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

        chosen = range(len(texts)) if len(texts) <= FITTED else np.linspace(0, len(texts) - 1, FITTED).astype(np.int64)
        texts = [texts[place] for place in chosen]
        self._counter = CountVectorizer(token_pattern=_WORD, dtype=np.float32)
        try:
            counts = self._counter.fit_transform(texts)
        except ValueError:
            raise EncoderError("The profiles hold no word that LSA could count; look at the .jsonl files.") from None
        del texts
        counts.sort_indices()
        self._tfidf = TfidfTransformer(sublinear_tf=True).fit(counts)
        self._tfidf.idf_ = self._tfidf.idf_ - (1 - _FLOOR)
        weights = self._weights(counts)
        del counts
        give_back()
        size = max(min(self._dim, weights.shape[0] - 1, weights.shape[1] - 1), 1)
        with np.errstate(invalid="ignore"):  # texts that are all alike have no variance
            self._svd = TruncatedSVD(size, n_iter=7, random_state=0).fit(weights)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts after :meth:`fit`: float32 [n, d], rows of length 1, or 0 for a text without a known word."""
        vectors = self._svd.transform(self._weights(self._counter.transform(texts)))
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(length > 0, length, 1)).astype(np.float32)

    def _weights(self, counts):
        """TF-IDF of counts of words, sparse [n, words] both, with at least two columns, which the SVD insists on."""
        weights = self._tfidf.transform(counts, copy=False)
        weights.resize(weights.shape[0], max(weights.shape[1], 2))
        return weights

    def info(self) -> dict:
        """See :meth:`TextEncoder.info`."""
        return {"encoder": self.name, "revision": None, "normalised": True, "max_dim": self._dim}
