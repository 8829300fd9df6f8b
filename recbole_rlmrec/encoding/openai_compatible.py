"""A text encoder behind ``/embeddings`` of an OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp, LM Studio."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from recbole_rlmrec.encoding.instructions import Instructed
from recbole_rlmrec.errors import ChatError, ConfigError, EncoderError
from recbole_rlmrec.llm.models import get_endpoint
from recbole_rlmrec.llm.patience import PATIENCE, Pace, Patience, Tries
from recbole_rlmrec.llm.pool import Pool
from recbole_rlmrec.llm.tokens import TokenCounter, cut

PREFIX = "openai:"
MOST_BYTES = 128 * 1024 * 1024
_LIMITS = {"text-embedding-3-small": 8191, "text-embedding-3-large": 8191, "text-embedding-ada-002": 8191}


class OpenAICompatibleEncoder(Instructed):
    """Embeddings from a server.

    Parameters
    ----------
    name : str
        ``openai:MODEL``, for example ``openai:text-embedding-3-small``.
    base_url : str, optional
        OpenAI's by default.
    api_key_env : str, optional
        Environment variable with the key; by default OPENAI_API_KEY for OpenAI's own address and none for any other.
    batch_size : int
        Texts in one request.
    concurrency : int
        Requests in flight.
    dimensions : int, optional
        Asked of models that can shorten their vectors.
    normalize : bool
        Whether vectors get length 1.
    prompt : str or dict, optional
        Put before every text, or before those of a ``user`` and of an ``item``; by default the instruction that the model was
        trained with, where its name is known (:mod:`recbole_rlmrec.encoding.instructions`). An empty text is none.
    max_tokens : int, optional
        Longest text; longer ones are cut at the end of a word and counted. Known for OpenAI's models.
    timeout : float
        Seconds that an answer may take.
    first_wait : float
        Seconds of the first wait after a failed request.
    patience : float
        Minutes without one answer after which it gives up.

    Raises
    ------
    ConfigError
        An option is out of range, the address is unusable, or the variable is not set.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None = None,
        api_key_env: str | None = None,
        batch_size: int = 64,
        concurrency: int = 4,
        dimensions: int | None = None,
        normalize: bool = True,
        prompt: str | dict[str, str] | None = None,
        max_tokens: int | None = None,
        timeout: float = 120.0,
        first_wait: float = 1.0,
        patience: float = PATIENCE / 60,
    ):
        model = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or not model:
            raise ConfigError(f"{name!r} names no model; write {PREFIX}MODEL, for example {PREFIX}text-embedding-3-small.")
        for option, value in (("batch_size", batch_size), ("concurrency", concurrency), ("dimensions", dimensions or 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{option} must be a positive integer, not {value!r}.")
        self.name = name
        self.truncated = 0
        self.max_tokens = max_tokens or _LIMITS.get(model)
        self._model, self._dimensions, self._normalize = model, dimensions, normalize
        self._instruct(model, prompt)
        self._batch_size, self._concurrency = batch_size, concurrency
        self._counter = TokenCounter(model)
        self._endpoint = get_endpoint(base_url, api_key_env, timeout, concurrency)
        self._width: int | None = None
        self._pace = Pace(concurrency, first_wait=first_wait, patience=60 * patience)

    def info(self) -> dict:
        """See :meth:`TextEncoder.info`."""
        return {
            "encoder": self.name,
            "revision": None,
            "server": self._endpoint.host,
            "normalised": self._normalize,
            "prompt": self._told_prompt(),
            "dimensions": self._dimensions,
            "max_tokens": self.max_tokens,
        }

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: float32 [n, d].

        Raises
        ------
        EncoderError
            The server cannot be reached, refuses, or answers unusably.
        """
        parts = sorted(self.stream(texts), key=lambda part: part[0].start)
        return np.concatenate([vectors for _, vectors in parts])

    @property
    def at_once(self) -> int:
        """Texts that keep all requests in flight, twice over."""
        return 2 * self._batch_size * self._concurrency

    def stream(self, texts: Sequence[str]) -> Iterator[tuple[slice, np.ndarray]]:
        """See :meth:`TextEncoder.stream`: what was paid for is handed over before an error is told.

        Raises
        ------
        EncoderError
            As :meth:`encode`.
        """
        inputs = [self._fitted(self._prompt + text) for text in texts]
        patience = self._pace.begin(threading.Event(), self._endpoint.describe(self._model))
        places = (slice(start, start + self._batch_size) for start in range(0, len(inputs), self._batch_size))

        def work(place: slice, tries: Tries) -> tuple[slice, np.ndarray]:
            return place, self._vectors(inputs[place], patience, tries)

        try:
            for place, vectors in Pool(places, work, patience, self._concurrency):
                self._width = self._width or vectors.shape[1]
                if vectors.shape[1] != self._width:
                    raise EncoderError(f"{self.name} returned vectors of different widths: {self._width}, {vectors.shape[1]}.")
                yield place, self._scaled(vectors)
        except ChatError as error:
            raise EncoderError(f"{self.name}: {error}") from None

    def _fitted(self, text: str) -> str:
        if not self.max_tokens or len(text) <= self.max_tokens or self._counter.count(text) <= self.max_tokens:
            return text
        self.truncated += 1
        return cut(text, self.max_tokens, self._counter)

    def _vectors(self, texts: list[str], patience: Patience, tries: Tries) -> np.ndarray:
        payload = {"model": self._model, "input": texts}
        if self._dimensions:
            payload["dimensions"] = self._dimensions
        answer = patience.call(lambda: self._endpoint.post("embeddings", payload, MOST_BYTES), 0, tries)
        try:
            by_index = {entry["index"]: entry["embedding"] for entry in answer["data"]}
            vectors = np.array([by_index[number] for number in range(len(texts))], dtype=np.float32)
        except (KeyError, TypeError, ValueError):
            raise ChatError(f"the server did not answer with one vector for each of {len(texts)} texts.") from None
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise ChatError("the server answered with something that is not a vector for each text.")
        return vectors

    def _scaled(self, vectors: np.ndarray) -> np.ndarray:
        if not self._normalize:
            return vectors
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
