"""Any model of the sentence-transformers library, from the Hugging Face hub or a local folder."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_rlmrec.data.files import hash_model
from recbole_rlmrec.encoding.instructions import Instructed
from recbole_rlmrec.errors import ConfigError, EncoderError

BATCH_TOKENS = {"cpu": 1024}
"""Tokens of a batch by type of device: a processor gains nothing from more."""
_MORE_TOKENS = 16384
_BATCH_SIZE = 32
BACKENDS = {
    "torch": ("float32", "float16", "bfloat16"),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}


def check_backend(backend: str, precision: str, device: str | None) -> None:
    """Make sure that a backend is known, computes in this precision and runs on this device.

    Raises
    ------
    ConfigError
        It is not so; the message names what there is.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}.")
    if precision not in BACKENDS[backend]:
        others = [name for name, known in BACKENDS.items() if precision in known]
        where = f"; {precision} is for the backend {' or '.join(others)}" if others else ""
        raise ConfigError(
            f"With the backend {backend}, precision must be one of {', '.join(BACKENDS[backend])}, not {precision!r}{where}."
        )
    if backend != "torch" and (device or "cpu") != "cpu":
        raise ConfigError(f"The backend {backend} runs on the processor; leave --device out, or --backend.")


class SentenceTransformerEncoder(Instructed):
    """A model of sentence-transformers; texts longer than it reads are cut, and counted.

    Parameters
    ----------
    name : str
        Name on the hub (``all-MiniLM-L6-v2``, ``sentence-transformers/all-MiniLM-L6-v2``) or a local folder.
    device : str, optional
        ``cpu``, ``cuda``, ``cuda:0``, ...; several, separated by commas, share the work through the library's own pool of
        processes; the library's choice where left out.
    batch_size : int, optional
        Most texts per forward pass.
    batch_tokens : int, optional
        Most tokens per forward pass, padding included; by default 1,024 on a processor and 16,384 elsewhere, where no
        ``batch_size`` is given.
    precision : str
        Type that the model computes in: float32, float16 or bfloat16; int8 with a backend that has it.
    backend : str
        What runs the transformer: torch, or on a processor onnx or openvino (:mod:`recbole_rlmrec.encoding.compiled`).
    normalize : bool
        Whether vectors get length 1.
    prompt : str or dict, optional
        Put before every text, or before those of a ``user`` and of an ``item``; by default the instruction that the model was
        trained with, where its name is known (:mod:`recbole_rlmrec.encoding.instructions`), else the default that the model
        itself has. An empty text is none.
    revision : str, optional
        Commit on the hub; the newest where left out. The digest of the model for a folder, which must have it.

    Raises
    ------
    ConfigError
        An option is out of range.
    EncoderError
        The library is not installed, the model cannot be loaded, or it is another than that of ``revision``.
    """

    def __init__(
        self,
        name: str,
        device: str | None = None,
        batch_size: int | None = None,
        precision: str = "float32",
        normalize: bool = True,
        prompt: str | dict[str, str] | None = None,
        backend: str = "torch",
        batch_tokens: int | None = None,
        revision: str | None = None,
    ):
        for option, value in (("batch_size", batch_size), ("batch_tokens", batch_tokens)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{option} must be a positive integer, not {value!r}.")
        check_backend(backend, precision, device)
        self.name = name
        self.truncated = 0
        self._batch_size, self._batch_tokens = batch_size, batch_tokens
        self._precision, self._normalize, self._backend = precision, normalize, backend
        self._instruct(name, prompt)
        devices = [part.strip() for part in (device or "").split(",") if part.strip()]
        if backend == "torch":
            self._model = _load(name, devices[0] if devices else None, precision, revision)
        else:
            self._model = _load(name, "cpu", "float32", revision)
            from recbole_rlmrec.encoding.compiled import compile_transformer  # loads torch

            compile_transformer(self._model, name, backend, precision)
        own = getattr(self._model, "default_prompt_name", None)
        if prompt is None and own and not any(self._prompts.values()):  # a model of another name may say what it wants
            self._instruct(name, self._model.prompts[own])
        self._pool = self._start_pool(devices) if len(devices) > 1 else None

    def _start_pool(self, devices: list[str]) -> dict:
        pool = self._model.start_multi_process_pool(devices)
        weakref.finalize(self, type(self._model).stop_multi_process_pool, pool)
        return pool

    @property
    def max_tokens(self) -> int | None:
        """Number of tokens that the model reads; None where it does not say, or reads all."""
        limit = self._model.max_seq_length
        return int(limit) if limit and limit < 1 << 30 else None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: float32 [n, d].

        Raises
        ------
        EncoderError
            The model fails, for example for want of memory.
        """
        texts = list(texts)
        if self._pool or not callable(self._model.tokenizer):
            if self._pool:
                self.truncated += int((self.lengths(self._perhaps_long(texts)) > (self.max_tokens or np.inf)).sum())
            return self._vectors(texts, self._batch_size or _BATCH_SIZE)
        lengths = self.lengths(texts)
        if self.max_tokens:
            self.truncated += int((lengths > self.max_tokens).sum())
            lengths = np.minimum(lengths, self.max_tokens)
        parts = batches(lengths, self._most_tokens(), self._batch_size)
        vectors = [self._vectors([texts[place] for place in part], len(part)) for part in parts]
        return np.concatenate(vectors)[np.argsort(np.concatenate(parts))]

    def _most_tokens(self) -> int | None:
        if self._batch_tokens or self._batch_size:
            return self._batch_tokens
        return BATCH_TOKENS.get(self._model.device.type, _MORE_TOKENS)

    def _vectors(self, texts: list[str], batch_size: int) -> np.ndarray:
        try:
            vectors = self._model.encode(
                texts,
                batch_size=batch_size,
                prompt=self._prompt,  # where it is empty, too: None would be the model's default
                normalize_embeddings=self._normalize,
                convert_to_numpy=True,
                show_progress_bar=False,
                **({"pool": self._pool} if self._pool else {}),
            )
        except RuntimeError as reason:
            raise EncoderError(
                f"{self.name} failed on a batch of {batch_size} texts ({_first_line(reason)}); "
                f"try a smaller --batch-tokens or --batch-size, or another --device."
            ) from reason
        return np.asarray(vectors, dtype=np.float32)

    def _perhaps_long(self, texts: list[str]) -> list[str]:
        """Texts of more characters than the model reads tokens."""
        return [text for text in texts if self.max_tokens and len(self._prompt) + len(text) > self.max_tokens]

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Number of tokens of each text, prompt included, int64 [n]."""
        if not texts:
            return np.zeros(0, dtype=np.int64)
        found = self._model.tokenizer([self._prompt + text for text in texts], truncation=False, verbose=False)
        return np.array([len(ids) for ids in found["input_ids"]], dtype=np.int64)

    def info(self) -> dict:
        """See :meth:`TextEncoder.info`."""
        return {
            "encoder": self.name,
            "revision": self._revision(),
            "normalised": self._normalize,
            "prompt": self._told_prompt(),
            "precision": self._precision,
            **({} if self._backend == "torch" else {"backend": self._backend}),
            "max_tokens": self.max_tokens,
        }

    def _revision(self) -> str | None:
        """Commit on the hub, or for a local folder a digest of the model; None where neither can be told."""
        if Path(self.name).is_dir():
            return hash_model(Path(self.name))
        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        return getattr(config, "_commit_hash", None)


def batches(lengths: np.ndarray, tokens: int | None, texts: int | None = None) -> list[np.ndarray]:
    """Divide texts into batches of like length.

    Parameters
    ----------
    lengths : ndarray
        Number of tokens of each text, int [n], at least one text.
    tokens : int or None
        Most tokens of a batch, each text counted as long as the longest; a longer text is a batch of its own.
    texts : int or None
        Most texts of a batch.

    Returns
    -------
    list of ndarray
        Places of the texts of each batch, the longest first.
    """
    order, parts, start = np.argsort(-lengths, kind="stable"), [], 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        count = max(min(len(order) if tokens is None else tokens // longest, texts or len(order)), 1)
        parts.append(order[start : start + count])
        start += count
    return parts


def _load(name: str, device: str | None, precision: str, revision: str | None):
    folder = Path(name).is_dir()
    if folder and revision not in (None, hash_model(Path(name))):
        raise EncoderError(
            f"The model in {name} has other weights or settings than the one that made the embeddings, so its vectors mean "
            "something else; put the old one back, or encode the tag again."
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise EncoderError(
            f"The encoder {name!r} needs a package that is not installed; run `pip install sentence-transformers`, "
            f"or use --encoder lsa."
        ) from None
    try:
        model = SentenceTransformer(name, device=device, revision=None if folder else revision)
    except Exception as reason:  # the library lets through whatever its dependencies raise
        raise EncoderError(
            f"The encoder {name!r} cannot be loaded ({_first_line(reason)}); check its name and the network, "
            f"or give the folder of a model that you have."
        ) from reason
    return {"float32": model.float, "float16": model.half, "bfloat16": model.bfloat16}[precision]()


def _first_line(reason: BaseException) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")[:300]
