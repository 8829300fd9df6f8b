"""What a text encoder is."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    name: str
    needs_fit: bool = False
    truncated: int = 0

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

    def info(self) -> dict:
        """What decides about the vectors (model, revision, prompt, normalisation, ...) as a JSON-able dict.

        Vectors are kept for the next run as long as this stays the same.
        """
        ...
