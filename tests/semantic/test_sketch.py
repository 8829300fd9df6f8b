"""Whether vectors are those that a model was trained with."""

from __future__ import annotations

import numpy as np
import pytest
from stand_ins import semantic

from recbole_rlmrec.errors import SemanticError
from recbole_rlmrec.semantic.sketch import COLUMNS, ROWS, check_sketch, sketch


def test_vectors_of_a_few_may_change_and_others_may_come():
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(300, 40)), rng.normal(size=(50, 40))
    known = sketch(semantic(users, items, missing_users=[3, 4]))
    assert known["user"]["values"].shape == (ROWS, COLUMNS) and known["item"]["ids"].tolist() == list(range(1, 51))
    check_sketch(known, semantic(users, items))
    items[:10] = rng.normal(size=(10, 40))
    check_sketch(known, semantic(users, np.vstack([items, rng.normal(size=(9, 40))]), missing_items=[20]))


def test_vectors_that_were_made_anew_are_refused():
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(30, 8)), rng.normal(size=(50, 8))
    known, turned = sketch(semantic(users, items)), np.linalg.qr(rng.normal(size=(8, 8)))[0]
    for other in (semantic(users @ turned, items @ turned), semantic(users[:, :4], items[:, :4]), semantic(-users, -items)):
        with pytest.raises(SemanticError, match="not those that the model was trained with"):
            check_sketch(known, other)


def test_one_side_alone():
    rng = np.random.default_rng(0)
    items = rng.normal(size=(5, 3))
    nobody = semantic(np.zeros((4, 3)), items, missing_users=[1, 2, 3, 4])
    known = sketch(nobody)
    assert len(known["user"]["ids"]) == 0
    check_sketch(known, nobody)
    with pytest.raises(SemanticError):
        check_sketch(known, semantic(np.zeros((4, 3)), -items))
