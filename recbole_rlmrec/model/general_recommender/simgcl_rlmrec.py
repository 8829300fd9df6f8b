r"""
SimGCL_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Junliang Yu et al. "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation."
    in SIGIR 2022.
"""

from recbole_rlmrec.model.general_recommender.simgcl import SimGCL
from recbole_rlmrec.model.rlmrec import RLMRecMixin


class SimGCL_RLMRec(RLMRecMixin, SimGCL):
    """SimGCL aligned with the profiles of users and items; alignment acts on the view without noise."""

    backbone = "SimGCL"
