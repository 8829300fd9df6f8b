"""How alignment reaches the representations of each recommender, and how it masks their initial embeddings.

An :class:`Adapter` is a few lines: which call of the recommender yields representations, how to look them up by id,
and whether its loss is a mean or a sum over the batch. ``register_adapter("MyModel", MyAdapter())`` makes
``MyModel_RLMRec``. docs/models.md tells what each adapter aligns.
"""

from __future__ import annotations

from recbole_rlmrec.errors import ModelError
from recbole_rlmrec.model.adapters.autoencoders import (
    CDAEAdapter,
    DiffRecAdapter,
    LDiffRecAdapter,
    MacridVAEAdapter,
    MultiDAEAdapter,
    MultiVAEAdapter,
    RecVAEAdapter,
)
from recbole_rlmrec.model.adapters.base import (
    Adapter,
    BatchAdapter,
    Call,
    EmbeddingAdapter,
    GraphAdapter,
    Lookup,
    batch_ids,
    item_terms,
    liked,
    token_rows,
)
from recbole_rlmrec.model.adapters.factorisation import (
    BPRAdapter,
    DMFAdapter,
    FISMAdapter,
    NeuMFAdapter,
    OwnLossAdapter,
    SimpleXAdapter,
    SummedLossAdapter,
)
from recbole_rlmrec.model.adapters.graphs import GCMCAdapter, NCLAdapter, NGCFAdapter, SpectralCFAdapter
from recbole_rlmrec.model.adapters.paper import AutoCFAdapter, GCCFAdapter
from recbole_rlmrec.model.adapters.sequences import (
    BERT4RecAdapter,
    FPMCAdapter,
    GRU4RecCPRAdapter,
    HGNAdapter,
    KSRAdapter,
    NPEAdapter,
    RepeatNetAdapter,
    S3RecAdapter,
    SASRecCPRAdapter,
    SequenceAdapter,
    SRGNNAdapter,
    TransRecAdapter,
    UserSequenceAdapter,
    sequence_adapter,
)

ADAPTERS: dict[str, Adapter] = {
    "LightGCN": GraphAdapter(),
    "GCCF": GCCFAdapter(),
    "SGL": GraphAdapter(),
    "SimGCL": GraphAdapter(),
    "DCCF": GraphAdapter(),
    "AutoCF": AutoCFAdapter(),
    "BPR": BPRAdapter(),
    "NCL": NCLAdapter(),
    "NGCF": NGCFAdapter(),
    "DGCF": GraphAdapter(),
    "SpectralCF": SpectralCFAdapter(),
    "GCMC": GCMCAdapter(),
    "LINE": OwnLossAdapter(),
    "NeuMF": NeuMFAdapter(),
    "NNCF": OwnLossAdapter(),
    "ConvNCF": SummedLossAdapter(),
    "ENMF": SummedLossAdapter(),
    "SimpleX": SimpleXAdapter(),
    "FISM": FISMAdapter(),
    "DMF": DMFAdapter(),
    "MultiVAE": MultiVAEAdapter(),
    "MultiDAE": MultiDAEAdapter(),
    "RecVAE": RecVAEAdapter(),
    "MacridVAE": MacridVAEAdapter(),
    "CDAE": CDAEAdapter(),
    "DiffRec": DiffRecAdapter(),
    "LDiffRec": LDiffRecAdapter(),
    "RaCT": MultiVAEAdapter(),
    "BERT4Rec": BERT4RecAdapter(),
    "CORE": sequence_adapter(trims=True),
    "Caser": UserSequenceAdapter(),
    "FDSA": sequence_adapter("item_trm_encoder", trims=True, features="selected_features"),
    "FEARec": sequence_adapter("item_encoder"),
    "FOSSIL": SequenceAdapter(),
    "FPMC": FPMCAdapter(),
    "GCSAN": sequence_adapter("self_attention", trims=True),
    "GRU4Rec": sequence_adapter("dense", trims=True),
    "GRU4RecCPR": GRU4RecCPRAdapter(),
    "GRU4RecF": sequence_adapter("dense_layer", trims=True, features="selected_features"),
    "GRU4RecKG": sequence_adapter("dense_layer", trims=True),
    "HGN": HGNAdapter(),
    "HRM": UserSequenceAdapter(),
    "KSR": KSRAdapter(),
    "LightSANs": sequence_adapter("trm_encoder"),
    "NARM": sequence_adapter(trims=True),
    "NPE": NPEAdapter(),
    "NextItNet": sequence_adapter("residual_blocks"),
    "RepeatNet": RepeatNetAdapter(),
    "S3Rec": S3RecAdapter(),
    "SASRec": sequence_adapter("trm_encoder", trims=True),
    "SASRecCPR": SASRecCPRAdapter(),
    "SASRecF": sequence_adapter("trm_encoder", trims=True, features="selected_features"),
    "SHAN": UserSequenceAdapter(),
    "SINE": SequenceAdapter(),
    "SRGNN": SRGNNAdapter(),
    "STAMP": SequenceAdapter(),
    "TransRec": TransRecAdapter(),
}

_SIMILARITY = "it computes item similarities, with nothing to train, and represents neither users nor items"

_CANDIDATE = "it weights a user's history anew for every candidate item, so a user has no representation of its own"

NOT_ALIGNABLE: dict[str, str] = {
    "Pop": "it counts interactions and represents neither users nor items",
    "Random": "it draws scores at random and represents neither users nor items",
    "ItemKNN": _SIMILARITY,
    "AsymKNN": _SIMILARITY,
    "EASE": _SIMILARITY,
    "SLIMElastic": _SIMILARITY,
    "ADMMSLIM": _SIMILARITY,
    "NCEPLRec": "its factors are computed in closed form before training, so no gradient can align them",
    "NAIS": _CANDIDATE,
    "DIN": _CANDIDATE,
    "DIEN": _CANDIDATE,
}


def register_adapter(backbone: str, adapter: Adapter) -> None:
    """Make ``BACKBONE_RLMRec`` available for a recommender of RecBole, of this package or of your own.

    Raises
    ------
    ModelError
        The object is no Adapter.
    """
    if not isinstance(adapter, Adapter):
        raise ModelError(
            f"The adapter of {backbone} is {type(adapter).__name__}; derive it from recbole_rlmrec.Adapter and pass an "
            "instance."
        )
    ADAPTERS[backbone] = adapter


def get_adapter(backbone: str) -> Adapter:
    """The adapter of a recommender.

    Raises
    ------
    ModelError
        The recommender has none; the message gives the reason where it is known.
    """
    if backbone in ADAPTERS:
        return ADAPTERS[backbone]
    if backbone in NOT_ALIGNABLE:
        raise ModelError(f"{backbone} cannot be aligned: {NOT_ALIGNABLE[backbone]}. Models that can: {_alignable()}.")
    raise ModelError(
        f"{backbone} cannot be aligned: no adapter reaches its user and item representations. Models that can: "
        f"{_alignable()}. For a model of your own call recbole_rlmrec.register_adapter."
    )


def _alignable() -> str:
    return ", ".join(sorted(ADAPTERS))


__all__ = [
    "ADAPTERS",
    "NOT_ALIGNABLE",
    "Adapter",
    "BatchAdapter",
    "Call",
    "EmbeddingAdapter",
    "GraphAdapter",
    "Lookup",
    "SequenceAdapter",
    "batch_ids",
    "get_adapter",
    "item_terms",
    "liked",
    "register_adapter",
    "token_rows",
]
