"""Conditions over the columns of a table, ``category == 'Books' and price < 20``: read as data, never run as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from recbole_rlmrec.data.atomic import FeatureType
from recbole_rlmrec.errors import ConfigError

LONGEST = 10_000
_ORDERED: dict[type, Callable] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUAL: dict[type, Callable] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}


def rows_where(text: str, table: pd.DataFrame, types: Mapping[str, FeatureType], separator: str = " ") -> np.ndarray:
    """Which rows of a table fit a condition.

    Columns are compared with texts and numbers by ``== != < <= > >=``, with lists by ``in``; ``'x' in column`` asks for a
    value of a sequence, or for a part of a text; ``and``, ``or``, ``not`` and parentheses join conditions. A number may stand
    in quotes beside a column of type float. A comparison with a number is false where the column has none, one by order where
    the column is empty. Two columns are ordered as numbers where both are of type float or mostly hold such, as texts
    otherwise.

    Parameters
    ----------
    text : str
        The condition.
    table : DataFrame
        Columns of text, missing values empty.
    types : mapping of str to FeatureType
    separator : str
        Between the values of a sequence.

    Returns
    -------
    ndarray of bool [n_rows]

    Raises
    ------
    ConfigError
        The condition is none, or names a column that is not there.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"--where has {len(text):,} characters; {LONGEST:,} are the most.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _Condition(text, table, types, separator).rows(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as reason:
        if isinstance(reason, ConfigError):
            raise
        raise ConfigError(
            f"--where {text[:80]!r} is no condition; write, for example, \"category == 'Books' and price < 20\"."
        ) from None


class _Condition:
    def __init__(self, text: str, table: pd.DataFrame, types: Mapping[str, FeatureType], separator: str):
        self._text, self._table, self._types, self._separator = text, table, types, separator

    def rows(self, node: ast.AST) -> np.ndarray:
        if isinstance(node, ast.BoolOp):
            parts = [self.rows(value) for value in node.values]
            return np.logical_and.reduce(parts) if isinstance(node.op, ast.And) else np.logical_or.reduce(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.rows(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            return np.logical_and.reduce([self._compare(op, *pair) for op, pair in zip(node.ops, zip(sides, sides[1:]))])
        raise self._refused(node)

    def _compare(self, op: ast.cmpop, left: ast.AST, right: ast.AST) -> np.ndarray:
        if not any(isinstance(side, ast.Name) for side in (left, right)):
            raise self._refused(left)
        if isinstance(op, ast.In | ast.NotIn):
            if isinstance(left, ast.Name):
                return self._one_of(left, right, isinstance(op, ast.In))
            found = self._holds(left, right)
            return found if isinstance(op, ast.In) else ~found
        compare = {**_ORDERED, **_EQUAL}.get(type(op))
        if compare is None:
            raise self._refused(left)
        values = [self._column(side.id) if isinstance(side, ast.Name) else self._constant(side) for side in (left, right)]
        for column, other in ((left, 1), (right, 0)):
            if isinstance(column, ast.Name) and isinstance(values[other], str):
                values[other] = self._fitting(column.id, values[other])
        constants = [value for value in values if not isinstance(value, pd.Series)]
        if any(isinstance(value, float) for value in constants) or (type(op) in _ORDERED and self._numeric(left, right)):
            numbers = [_numbers(value) if isinstance(value, pd.Series) else value for value in values]
            there = np.logical_and.reduce([~np.isnan(value) for value in numbers if isinstance(value, np.ndarray)])
            return compare(*numbers) & there
        found = np.asarray(compare(*values), dtype=bool)
        if type(op) in _ORDERED:  # what is missing stands neither before nor after anything
            found = found & np.logical_and.reduce(
                [(value != "").to_numpy() for value in values if isinstance(value, pd.Series)]
            )
        return found

    def _fitting(self, column: str, text: str) -> str | float:
        """What a column is compared with: the number that a text holds where the column is of numbers; '' asks for none."""
        if self._types.get(column) != FeatureType.FLOAT or not text:
            return text
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"--where: {column!r} is a column of numbers; compare it with one, not with {text!r}.") from None

    def _numeric(self, *sides: ast.AST) -> bool:
        """Whether two columns are compared as numbers: where both are of that type or mostly hold such."""
        return all(
            isinstance(side, ast.Name)
            and (self._types.get(side.id) == FeatureType.FLOAT or _holds_numbers(self._column(side.id)))
            for side in sides
        )

    def _one_of(self, left: ast.Name, right: ast.AST, among: bool) -> np.ndarray:
        """Rows whose value is one of a list, or none of it: as ``==`` joined by or, ``!=`` joined by and."""
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self._refused(right)
        found = np.full(len(self._table), not among)
        for one in right.elts:
            if among:
                found |= self._compare(ast.Eq(), left, one)
            else:
                found &= self._compare(ast.NotEq(), left, one)
        return found

    def _holds(self, left: ast.AST, right: ast.AST) -> np.ndarray:
        wanted = self._constant(left)
        if not isinstance(wanted, str) or not isinstance(right, ast.Name):
            raise self._refused(left)
        column = self._column(right.id)
        if self._types[right.id] in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ):
            return np.array([wanted in value.split(self._separator) for value in column], dtype=bool)
        return np.array([wanted in value for value in column], dtype=bool)

    def _column(self, name: str) -> pd.Series:
        if name not in self._table:
            raise ConfigError(
                f"--where: there is no column {name!r}; there are {', '.join(self._table)}. Texts stand in quotes."
            )
        return self._table[name]

    def _constant(self, node: ast.AST) -> str | float:
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign, node = -1 if isinstance(node.op, ast.USub) else 1, node.operand
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                raise self._refused(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            try:
                return sign * float(node.value)
            except OverflowError:
                raise self._refused(node) from None
        raise self._refused(node)

    def _refused(self, node: ast.AST) -> ConfigError:
        part = ast.get_source_segment(self._text.strip(), node) or self._text
        return ConfigError(
            f"--where cannot take {part[:60]!r}; it compares columns with texts in quotes and numbers (== != < <= > >= in), "
            "joined by and, or, not."
        )


def _holds_numbers(column: pd.Series) -> bool:
    """Whether most of the values that are not missing are numbers."""
    filled = column[column != ""]
    return int(np.isfinite(_numbers(filled)).sum()) * 2 > len(filled) or filled.empty


def _numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
