r"""
LightGCN_KAR
################################################

Reference:
    Yunjia Xi et al. "Towards Open-World Recommendation with Knowledge Augmentation from Large Language Models."
    arXiv 2306.10933.
    Xiangnan He et al. "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation." in SIGIR 2020.
"""

from recbole_rlmrec.model.general_recommender.lightgcn_rlmrec import LightGCN_RLMRec
from recbole_rlmrec.model.kar import KARMixin


class LightGCN_KAR(KARMixin, LightGCN_RLMRec):
    """LightGCN on embeddings to which KAR's augmented vectors are concatenated."""
