"""Scores of single items for recommenders that RecBole lets score all items alone."""

from __future__ import annotations

import torch


class PairScores:
    """``predict`` of SASRecCPR and GRU4RecCPR: RecBole's asserts False, and its own runs stop there as they count operations.

    Every pair costs a softmax over all items, as in RecBole's RepeatNet: rank by ``mode: full`` where that is too slow. Scores
    need no targets.
    """

    def calculate_loss_prob(self, interaction, only_compute_prob=False):
        return super().calculate_loss_prob(interaction, only_compute_prob or self.POS_ITEM_ID not in interaction)

    def predict(self, interaction) -> torch.Tensor:
        scores = super().full_sort_predict(interaction)
        return scores.gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)
