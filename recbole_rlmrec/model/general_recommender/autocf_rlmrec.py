r"""
AutoCF_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Lianghao Xia et al. "Automated Self-Supervised Learning for Recommendation." in WWW 2023.
"""

from recbole_rlmrec.model.general_recommender.autocf import AutoCF
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class AutoCF_RLMRec(RLMRecMixin, AutoCF):
    """AutoCF aligned with the profiles of users and positive items."""

    backbone = "AutoCF"
