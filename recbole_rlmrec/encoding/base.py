"""What a text encoder is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np


class TextEncoder(Protocol):
    """Texts in, vectors out. A class may inherit from it for the defaults, or just look like it.

    Attributes
    ----------
    name : str
        What the user called it; names the folder of its matrices.
    needs_fit : bool
        Whether :meth:`fit` must see all texts first, so that vectors of an earlier fit are of no use.
    truncated : int
        How many of the texts encoded so far were longer than the encoder reads.
    sided : bool
        Whether texts of users are encoded in another way than those of items; :meth:`prepare` then says which come next.
    at_once : int
        How many texts a call should have at least to keep the encoder busy.
    """

    name: str
    needs_fit: bool = False
    truncated: int = 0
    sided: bool = False
    at_once: int = 1

    def prepare(self, side: str) -> None:
        """Called before texts of a side, ``user`` or ``item``, are encoded where ``sided`` is set."""

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from all texts; called once before :meth:`encode` where ``needs_fit`` is set."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str
            At least one.

        Returns
        -------
        ndarray
            float32 [len(texts), d], rows in the order of the texts.

        Raises
        ------
        EncoderError
            The encoder fails.
        """
        ...

    def stream(self, texts: Sequence[str]) -> Iterator[tuple[slice, np.ndarray]]:
        """Encode texts in parts as they get ready, each once, in any order; what was yielded before an error is kept.

        Yields
        ------
        slice
            Which of the texts.
        ndarray
            float32 [n, d]
        """
        yield slice(0, len(texts)), self.encode(texts)

    def info(self) -> dict:
        """What decides about the vectors (model, revision, prompt, normalisation, ...) as a JSON-able dict.

        Vectors are kept for the next run as long as this stays the same.
        """
        ...
