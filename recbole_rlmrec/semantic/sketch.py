"""What a checkpoint keeps of the vectors that a model has read: enough to tell whether later ones are the same.

A tag can be encoded anew. With LSA, or with ``semantic_dim``, one more profile or one that was corrected turns the vectors of
all, and a network that was trained on the old ones makes nothing of the new.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from recbole_rlmrec.data.profile import SIDES
from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.semantic.table import Semantic, SemanticTable

SHAPE = {side: {"ids": torch.Tensor, "values": torch.Tensor} for side in SIDES}
ROWS, COLUMNS = 128, 32
ALIKE = 0.1
"""How far vectors may be from what they were, as a share of their length: the median over those that are looked at."""


def sketch(semantic: Semantic) -> dict[str, dict[str, torch.Tensor]]:
    """Some columns of some rows.

    Returns
    -------
    dict
        By side ``ids``, int64 [k], internal ids at equal distances among those with a profile, and ``values``, float32 [k, c].
    """
    return {side: _part(getattr(semantic, side)) for side in SIDES}


def _part(table: SemanticTable, ids: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    ids = table.ids[_spaced(table.count, ROWS).to(table.ids.device)] if ids is None else ids
    columns = _spaced(table.dim, COLUMNS)
    return {"ids": ids.cpu(), "values": table.rows(ids).cpu()[:, columns]}


def _spaced(count: int, most: int) -> torch.Tensor:
    return torch.from_numpy(np.arange(min(count, most)) * count // max(min(count, most), 1))


def check_sketch(known: Mapping, semantic: Semantic) -> None:
    """Refuse vectors that are not those which a model was trained with; those of a few may have changed with their texts.

    Parameters
    ----------
    known : mapping
        Of the model's checkpoint.
    semantic : Semantic
        Of the same internal ids, and perhaps of more.

    Raises
    ------
    SemanticError
        They are of another size, or the median distance from what they were is above ``ALIKE``.
    """
    away = []
    for side in SIDES:
        table, ids, before = getattr(semantic, side), known[side]["ids"], known[side]["values"]
        there = (ids < table.n) & table.covered.cpu()[ids.clamp(max=table.n - 1)]
        now = _part(table, ids[there].to(table.ids.device))["values"]
        if now.shape[1] != before.shape[1]:
            away.append(torch.full((len(now),), torch.inf))
            continue
        before = before[there]
        away.append((now - before).norm(dim=1) / before.norm(dim=1).clamp_min(1e-12))
    away = torch.cat(away)
    if len(away) and float(away.median()) > ALIKE:
        raise SemanticError(
            f"The vectors of tag {semantic.tag!r} are not those that the model was trained with: its texts have been encoded "
            "anew, or others have come to them, and the model makes nothing of the new ones. Train it again, or bring back the "
            "tag as it was."
        )
