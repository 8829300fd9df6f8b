"""Which values options take."""

import re

import pytest

from recbole_rlmrec.data.files import read_yaml
from recbole_rlmrec.data.properties import PROPERTIES
from recbole_rlmrec.errors import ConfigError
from recbole_rlmrec.runs.option_types import check_types

DECLARED = [
    (path, *found)
    for path in sorted((PROPERTIES / "model").glob("*.yaml"))
    for found in re.findall(r"^(\w+): .*# \((str or int|int or str)\)", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("path, name, _", DECLARED, ids=lambda part: getattr(part, "stem", None))
def test_an_option_that_is_a_name_or_a_number_takes_both(path, name, _):
    for value in ("batch", "all", 7):
        check_types({name: value}, read_yaml(path))
    for value in (2.5, [1], {"all": 1}):
        with pytest.raises(ConfigError, match=name):
            check_types({name: value}, read_yaml(path))


def test_there_are_such_options():
    assert {name for _, name, _ in DECLARED} == {"softmax_negatives"}
