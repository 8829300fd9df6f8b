"""Times as they are written until the split is drawn, and what must be known of them afterwards.

RecBole makes float32 of every number before it sorts by time: above 2^24 neighbouring seconds become one, Unix times of
today are 128 s apart, and which interaction is a user's last is drawn by lot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch.nn.utils.rnn import pad_sequence

from recbole_rlmrec.data.deadlines import Deadlines


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
    lists = f"{field}{dataset.config['LIST_SUFFIX']}"
    if lists in frame and made.interaction[lists].dim() == 2:
        rows = [torch.as_tensor(row[: dataset.field2seqlen[lists]], dtype=torch.float64) for row in frame[lists]]
        made.interaction[lists] = pad_sequence(rows, batch_first=True)
    return made


def remember_scale(original, dataset) -> None:
    """``Dataset._normalize`` that leaves word of how it has scaled the times."""
    field, feat = dataset.time_field, dataset.inter_feat
    before = feat[field].to_numpy(dtype="float64", copy=True) if field in feat else None
    original(dataset)
    if before is not None and len(before) and not (before == feat[field].to_numpy(dtype="float64")).all():
        low, high = before.min(), before.max()
        dataset.rlmrec_time_scale = (float(low), float(high - low))


@contextmanager
def keeping_times(dataset) -> Iterator[Callable[[list], None]]:
    """Keep times that ``unused_col`` names while a split is drawn; yields what drops them afterwards, from the parts too."""
    field, unused = dataset.time_field, dataset.config["unused_col"]
    if field is None or field not in (unused or {}).get("inter", []):
        yield lambda parts: None
        return

    def drop(parts: list) -> None:
        for part in [dataset, *parts]:
            if field in part.inter_feat:
                part._del_col(part.inter_feat, field)

    dataset.config["unused_col"] = {**unused, "inter": [name for name in unused["inter"] if name != field]}
    try:
        yield drop
    finally:
        dataset.config["unused_col"] = unused


def note_deadlines(dataset, datasets) -> None:
    """Let the training split know from when on each user's interactions are held out, where the split goes by time."""
    in_time = dataset.config["benchmark_filename"] or dataset.config["eval_args"]["order"] == "TO"
    if len(datasets) == 3 and in_time:
        low, span = getattr(dataset, "rlmrec_time_scale", (0.0, 1.0))
        datasets[0].rlmrec_deadlines = Deadlines.of_splits(datasets[0], datasets[1:], (low, span)) if span else None


def as_recbole_has_them(datasets) -> None:
    """Make float32 of the times, and of sequences of them, in data sets whose split is drawn."""
    for dataset in datasets:
        columns = getattr(dataset.inter_feat, "interaction", {})
        columns.update({name: column.float() for name, column in columns.items() if column.dtype is torch.float64})
