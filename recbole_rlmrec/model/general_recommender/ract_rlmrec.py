r"""
RaCT_RLMRec
################################################

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
    Sam Lobel et al. "RaCT: Towards Amortized Ranking-Critical Training for Collaborative Filtering." in ICLR 2020.
"""

from recbole.model.general_recommender.ract import RaCT

from recbole_rlmrec.model.rlmrec import RLMRecMixin


class _RaCT(RaCT):
    """RaCT whose later training stages load what an earlier one left, be there an alignment network in it or not.

    RaCT loads it while it is being made, before there is an alignment network here; that one starts anew in each stage.
    """

    def load_state_dict(self, state_dict, *args, **kwargs):
        if getattr(self, "alignment", None) is None:
            state_dict = {name: value for name, value in state_dict.items() if not name.startswith("alignment.")}
        return super().load_state_dict(state_dict, *args, **kwargs)


class RaCT_RLMRec(RLMRecMixin, _RaCT):
    """RaCT aligned with the profiles of users."""

    backbone = "RaCT"
