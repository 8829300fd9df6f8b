r"""
GCCF_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Lei Chen et al. "Revisiting Graph based Collaborative Filtering: A Linear Residual Graph Convolutional Network
    Approach." in AAAI 2020.
"""

from recbole_rlmrec.model.general_recommender.gccf import GCCF
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class GCCF_RLMRec(RLMRecMixin, GCCF):
    """GCCF aligned with the profiles of users and items, all layers at once."""

    backbone = "GCCF"
