"""Any model of the sentence-transformers library, from the Hugging Face hub or a local folder."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import hash_weights
from recbole_rlmrec.encoding.instructions import Instructed
from recbole_rlmrec.errors import ConfigError, EncoderError

PRECISIONS = ("float32", "float16", "bfloat16")


class SentenceTransformerEncoder(Instructed):
    """A model of sentence-transformers; texts longer than it reads are cut, and counted.

    Parameters
    ----------
    name : str
        Name on the hub (``all-MiniLM-L6-v2``, ``sentence-transformers/all-MiniLM-L6-v2``) or a local folder.
    device : str, optional
        ``cpu``, ``cuda``, ``cuda:0``, ...; several, separated by commas, share the work through the library's own pool of
        processes; the library's choice where left out.
    batch_size : int
        Texts per forward pass; the library sorts them by length.
    precision : str
        Type that the model computes in: float32, float16 or bfloat16.
    normalize : bool
        Whether vectors get length 1.
    prompt : str or dict, optional
        Put before every text, or before those of a ``user`` and of an ``item``; by default the instruction that the model was
        trained with, where its name is known (:mod:`recbole_rlmrec.encoding.instructions`). An empty text is none.

    Raises
    ------
    ConfigError
        An option is out of range.
    EncoderError
        The library is not installed or the model cannot be loaded.
    """

    def __init__(
        self,
        name: str,
        device: str | None = None,
        batch_size: int = 32,
        precision: str = "float32",
        normalize: bool = True,
        prompt: str | dict[str, str] | None = None,
    ):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size must be a positive integer, not {batch_size!r}.")
        if precision not in PRECISIONS:
            raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}.")
        self.name = name
        self.truncated = 0
        self._batch_size, self._precision, self._normalize = batch_size, precision, normalize
        self._instruct(name, prompt)
        devices = [part.strip() for part in (device or "").split(",") if part.strip()]
        self._model = _load(name, devices[0] if devices else None, precision)
        self._pool = self._start_pool(devices) if len(devices) > 1 else None

    def _start_pool(self, devices: list[str]) -> dict:
        pool = self._model.start_multi_process_pool(devices)
        weakref.finalize(self, type(self._model).stop_multi_process_pool, pool)
        return pool

    @property
    def max_tokens(self) -> int | None:
        """Number of tokens that the model reads; None where it does not say."""
        return self._model.max_seq_length

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: float32 [n, d].

        Raises
        ------
        EncoderError
            The model fails, for example for want of memory.
        """
        texts = list(texts)
        self.truncated += self._count_truncated(texts)
        try:
            vectors = self._model.encode(
                texts,
                batch_size=self._batch_size,
                prompt=self._prompt or None,
                normalize_embeddings=self._normalize,
                convert_to_numpy=True,
                show_progress_bar=False,
                **({"pool": self._pool} if self._pool else {}),
            )
        except RuntimeError as reason:
            raise EncoderError(
                f"{self.name} failed on a batch of {self._batch_size} texts ({_first_line(reason)}); "
                f"try a smaller --batch-size or another --device."
            ) from reason
        return np.asarray(vectors, dtype=np.float32)

    def _count_truncated(self, texts: list[str]) -> int:
        limit = self.max_tokens
        long = [self._prompt + text for text in texts if limit and len(self._prompt) + len(text) > limit]
        if not long:
            return 0
        tokens = self._model.tokenizer(long, truncation=False, verbose=False)["input_ids"]
        return sum(len(ids) > limit for ids in tokens)

    def info(self) -> dict:
        """See :meth:`TextEncoder.info`."""
        return {
            "encoder": self.name,
            "revision": self._revision(),
            "normalised": self._normalize,
            "prompt": self._told_prompt(),
            "precision": self._precision,
            "max_tokens": self.max_tokens,
        }

    def _revision(self) -> str | None:
        """Commit on the hub, or for a local folder a hash of its weights; None where neither can be told."""
        if Path(self.name).is_dir():
            return hash_weights(Path(self.name))
        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        return getattr(config, "_commit_hash", None)


def _load(name: str, device: str | None, precision: str):
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise EncoderError(
            f"The encoder {name!r} needs a package that is not installed; run `pip install sentence-transformers`, "
            f"or use --encoder lsa."
        ) from None
    try:
        model = SentenceTransformer(name, device=device)
    except Exception as reason:  # the library lets through whatever its dependencies raise
        raise EncoderError(
            f"The encoder {name!r} cannot be loaded ({_first_line(reason)}); check its name and the network, "
            f"or give the folder of a model that you have."
        ) from reason
    return {"float32": model.float, "float16": model.half, "bfloat16": model.bfloat16}[precision]()


def _first_line(reason: BaseException) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")[:300]
