"""SRGNN whose session graphs are built for a batch at once.

Reference:
    Shu Wu et al. "Session-based Recommendation with Graph Neural Networks." in AAAI 2019.
"""

from __future__ import annotations

from recbole.model.sequential_recommender import SRGNN

from recbole_rlmrec.model.rlmrec import RLMRecMixin
from recbole_rlmrec.model.session_graph import SessionGraphs


class SRGNN_RLMRec(RLMRecMixin, SessionGraphs, SRGNN):
    """SRGNN aligned with the profiles of users and items."""

    backbone = "SRGNN"
