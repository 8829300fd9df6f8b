"""SemanticRecommender: the semantic embeddings alone as a recommender, the first row of the paper's results.

Reference:
    Xubin Ren et al. "Representation Learning with Large Language Models for Recommendation." in WWW 2024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType

from recbole_rlmrec.model.options import flag
from recbole_rlmrec.semantic.load import load_semantic
from recbole_rlmrec.semantic.table import SemanticTable


class SemanticRecommender(GeneralRecommender):
    """Scores an item for a user by the cosine of their profiles' embeddings; those without a profile score 0.

    As they come, profiles point almost the same way, users' in one and items' in another direction, so that their cosines
    hardly rank better than chance: with ``semantic_center`` the mean of each side is taken off first.
    """

    input_type = InputType.POINTWISE
    type = ModelType.TRADITIONAL

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        semantic = load_semantic(config, dataset)
        self.semantic_provenance = semantic.provenance
        self.users, self.items = semantic.user, semantic.item
        center = flag(config, "semantic_center")
        self.centers = [table.mean() if center else 0.0 for table in (self.users, self.items)]
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self):
        pass

    def calculate_loss(self, interaction):
        return self.nothing

    def predict(self, interaction):
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        mine, theirs = self.centers
        return (_vectors(self.users, users, mine) * _vectors(self.items, items, theirs)).sum(dim=1)

    def full_sort_predict(self, interaction):
        everything = torch.arange(self.n_items, device=self.device)
        mine, theirs = self.centers
        users = _vectors(self.users, interaction[self.USER_ID], mine)
        return (users @ _vectors(self.items, everything, theirs).T).view(-1)


def _vectors(table: SemanticTable, ids: torch.Tensor, center: torch.Tensor | float) -> torch.Tensor:
    """Unit vectors [k, dim] of internal ids less a center, zero for those without a profile."""
    vectors = torch.zeros(len(ids), table.dim, device=ids.device)
    covered = table.covered[ids]
    vectors[covered] = F.normalize(table.rows(ids[covered]) - center)
    return vectors
