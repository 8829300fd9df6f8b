"""GRU4RecCPR that scores single items, too.

Reference:
    Haw-Shiuan Chang et al. "To Copy, or not to Copy; That is a Critical Issue of the Output Softmax Layer in Neural Sequential
    Recommenders." in WSDM 2024.
"""

from __future__ import annotations

from recbole.model.sequential_recommender import GRU4RecCPR

from recbole_rlmrec.model.pair_scores import PairScores
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class GRU4RecCPR_RLMRec(RLMRecMixin, PairScores, GRU4RecCPR):
    """GRU4RecCPR aligned with the profiles of users and items."""

    backbone = "GRU4RecCPR"
