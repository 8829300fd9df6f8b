r"""
DCCF_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Xubin Ren et al. "Disentangled Contrastive Collaborative Filtering." in SIGIR 2023.
"""

from recbole_rlmrec.model.general_recommender.dccf import DCCF
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class DCCF_RLMRec(RLMRecMixin, DCCF):
    """DCCF aligned with the profiles of users and items."""

    backbone = "DCCF"
