r"""
SGL_KAR
################################################

Reference:
    Yunjia Xi et al. "Towards Open-World Recommendation with Knowledge Augmentation from Large Language Models."
    arXiv 2306.10933.
    Jiancan Wu et al. "SGL: Self-supervised Graph Learning for Recommendation" in SIGIR 2021.
"""

from recbole_rlmrec.model.general_recommender.sgl_rlmrec import SGL_RLMRec
from recbole_rlmrec.model.kar import KARMixin


class SGL_KAR(KARMixin, SGL_RLMRec):
    """SGL on embeddings to which KAR's augmented vectors are concatenated; its views see the same vectors."""
