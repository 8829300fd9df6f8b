"""Times as they are written until the split is drawn.

RecBole makes float32 of every number before it sorts by time: above 2^24 neighbouring seconds become one, Unix times of
today are 128 s apart, and which interaction is a user's last is drawn by lot.
"""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType


def to_interaction(original, dataset, frame) -> Interaction:
    """``Dataset._dataframe_to_interaction`` that leaves times in float64.

    Parameters
    ----------
    original : callable
        RecBole's.
    dataset : recbole.data.dataset.Dataset
    frame : DataFrame
    """
    made = original(dataset, frame)
    field = dataset.time_field
    if field in frame and dataset.field2type[field] is FeatureType.FLOAT and made.interaction[field].dim() == 1:
        made.interaction[field] = torch.from_numpy(frame[field].to_numpy(dtype="float64", copy=True))
    return made


def as_recbole_has_them(datasets) -> None:
    """Make float32 of the times, and of sequences of them, in data sets whose split is drawn."""
    for dataset in datasets:
        columns = getattr(dataset.inter_feat, "interaction", {})
        columns.update({name: column.float() for name, column in columns.items() if column.dtype is torch.float64})
