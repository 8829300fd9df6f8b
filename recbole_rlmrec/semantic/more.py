"""Embeddings of texts that came after the profiles: the same encoder, the same settings, the same projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recbole_rlmrec.data.paths import semantic_root
from recbole_rlmrec.data.store import SIDES, ProfileStore
from recbole_rlmrec.encoding.embeddings import Embeddings, read_embeddings
from recbole_rlmrec.encoding.encode import prepare
from recbole_rlmrec.encoding.registry import same_encoder
from recbole_rlmrec.errors import EncoderError, quoted
from recbole_rlmrec.semantic.load import encoder_folder
from recbole_rlmrec.semantic.reduction import fit


def tag_embeddings(config, tag: str) -> Embeddings:
    """The whole matrices of a run's tag, as the encoder made them; ``semantic_dim`` is not applied.

    Raises
    ------
    SemanticError
        They are not there, or malformed.
    """
    return read_embeddings(encoder_folder(config, semantic_root(config) / tag), config["dataset"])


def embed_texts(config, tag: str, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Encode further texts as the profiles of a tag were encoded, and reduce them as the run does (``semantic_dim``).

    Parameters
    ----------
    config : recbole.config.Config
        Of the run.
    tag : str
        Its profiles.
    texts : mapping of str to sequence of str
        By side, ``user`` and ``item``; empty sequences are fine.

    Returns
    -------
    dict of str to ndarray
        float32 [n, d] by side, for sides that have texts.

    Raises
    ------
    EncoderError
        The encoder cannot be made here again, or gives vectors of another size.
    """
    wanted = {side: list(texts[side]) for side in SIDES if texts.get(side)}
    if not wanted:
        return {}
    found = tag_embeddings(config, tag)
    encoder = same_encoder(found.manifest)
    if encoder is None:
        named = f"--dataset {quoted(config['dataset'])} --tag {tag}"
        raise EncoderError(
            f"The embeddings of tag {tag!r} were made behind a server or elsewhere, so new texts cannot be encoded here; add "
            f"them to the tag (`recbole-rlmrec import FILE.jsonl {named}`) and encode it again, then they are found there."
        )
    if encoder.needs_fit:
        store = ProfileStore(semantic_root(config) / tag)
        encoder.fit([text for side in SIDES for text in store.texts(side).values()])
    vectors = {}
    for side, some in wanted.items():
        prepare(encoder, side)
        vectors[side] = np.asarray(encoder.encode(some), dtype=np.float32)
        if vectors[side].shape != (len(some), found.dim) or not np.isfinite(vectors[side]).all():
            raise EncoderError(
                f"{encoder.name} gave vectors of shape {vectors[side].shape}, the tag's are {found.dim} wide, or values that "
                "are not finite; encode the tag again with the encoder that is installed here."
            )
    if config["semantic_dim"] in (None, ""):
        return vectors
    mean, components, _ = fit(list(found.matrices.values()), config["semantic_dim"])
    return {side: ((rows.astype(np.float64) - mean) @ components).astype(np.float32) for side, rows in vectors.items()}
