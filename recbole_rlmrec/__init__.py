"""RLMRec for RecBole: importing this package repairs RecBole for today's packages and registers its models."""

from recbole_rlmrec.plugin import compat

compat.apply()

from recbole_rlmrec.plugin import seams  # noqa: E402  (RecBole is importable only after the repairs)

seams.apply()

from recbole_rlmrec.encoding.base import TextEncoder  # noqa: E402
from recbole_rlmrec.encoding.registry import register_encoder  # noqa: E402
from recbole_rlmrec.model.adapters import Adapter, EmbeddingAdapter, GraphAdapter, register_adapter  # noqa: E402
from recbole_rlmrec.model.alignment import Alignment, register_alignment  # noqa: E402
from recbole_rlmrec.model.lookup import register_model  # noqa: E402
from recbole_rlmrec.model.options import Option  # noqa: E402
from recbole_rlmrec.model.rlmrec import RLMRecMixin  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Alignment",
    "EmbeddingAdapter",
    "GraphAdapter",
    "Option",
    "RLMRecMixin",
    "TextEncoder",
    "register_adapter",
    "register_alignment",
    "register_encoder",
    "register_model",
]
