"""GCSAN whose session graphs are built for a batch at once.

Reference:
    Chengfeng Xu et al. "Graph Contextualized Self-Attention Network for Session-based Recommendation." in IJCAI 2019.
"""

from __future__ import annotations

from recbole.model.sequential_recommender import GCSAN

from recbole_rlmrec.model.rlmrec import RLMRecMixin
from recbole_rlmrec.model.session_graph import SessionGraphs


class GCSAN_RLMRec(RLMRecMixin, SessionGraphs, GCSAN):
    """GCSAN aligned with the profiles of users and items."""

    backbone = "GCSAN"
