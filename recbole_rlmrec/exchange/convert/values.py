"""Values of Arrow arrays as fields of an atomic file: no line breaks, no tabs, no markup, lists in one field."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_rlmrec.data.atomic import MISSING, field_text

# Between the values of a list until the separator of the data set is known; cleaned texts do not hold it.
JOINT = "\x1f"
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
WHOLE = r"^[+-]?\d+$"
_ABSENT = pa.array(sorted(MISSING | {"\\N"}))
_CONTROL = r"\s*[\x{00}-\x{1f}\x{7f}-\x{9f}\x{2028}\x{2029}]+\s*"
_TAGS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|center|cite|code|div|em|embed|figure|font|footer|form|h[1-6]|head|header|hr|"
    "html|i|iframe|img|input|li|link|meta|nav|object|ol|option|p|param|pre|s|section|select|small|source|span|strike|strong|"
    "sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul|video"
)
_MARKUP = rf"(?is)\s*(?:<(?:script|style)\b[^>]*>.*?</(?:script|style)\s*>|<!--.*?-->|</?(?:{_TAGS})(?:\s[^<>]*)?/?>)+\s*"
_ENTITY = r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]+);"
_LITERAL = re.compile(r"^\s*\[.*\]\s*$", re.DOTALL)


def is_nested(kind: pa.DataType) -> bool:
    """Whether a type holds records, which no field of an atomic file can."""
    if _is_list(kind):
        return is_nested(kind.value_type)
    return pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind)


def is_list(array: pa.Array) -> bool:
    """Whether the values are lists."""
    return _is_list(array.type)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def raw_texts(array: pa.Array) -> pa.Array:
    """Values of any type but lists as text, as they are; missing ones are empty."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return raw_texts(array.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.array([""] * len(array), pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([(value or b"").decode("utf-8", "replace") for value in array.to_pylist()], pa.string())
    if pa.types.is_floating(kind):
        return _numbers(array)
    if is_nested(kind):
        values = (None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in array.to_pylist())
        return pc.fill_null(pa.array(values, pa.string()), "")
    if not pa.types.is_string(kind):
        array = array.cast(pa.string())
    return pc.fill_null(array, "") if array.null_count else array


def _numbers(array: pa.Array) -> pa.Array:
    values = array.to_numpy(zero_copy_only=False).astype(np.float64)
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
    texts = array.cast(pa.float64()).cast(pa.string()) if array.type == pa.float64() else array.cast(pa.string())
    integers = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    texts = pc.if_else(pa.array(whole), integers, texts)
    return pc.fill_null(pc.if_else(pa.array(np.isnan(values)), "", texts), "")


def ids(array: pa.Array) -> pa.Array:
    """Values as ids: without space around them, empty where RecBole would take them for missing."""
    texts = pc.utf8_trim_whitespace(_one_line(raw_texts(array)))
    return _quoted(without_missing(texts))


def numbers(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Values as numbers, empty where there is none, and which are neither, bool [n]."""
    texts = without_missing(pc.utf8_trim_whitespace(raw_texts(array)))
    good = pc.or_(pc.match_substring_regex(texts, NUMBER), pc.equal(texts, ""))
    return texts, ~good.to_numpy(zero_copy_only=False)


def without_missing(texts: pa.Array) -> pa.Array:
    """Texts, empty where RecBole or a dump of a database means that there is none."""
    return pc.if_else(pc.is_in(texts, _ABSENT), "", texts)


def texts(array: pa.Array) -> pa.Array:
    """Values as fields; those of a list stand between ``JOINT``."""
    if is_list(array):
        return _joined(array)
    return _quoted(_clean(raw_texts(array)))


def parts(array: pa.Array, split: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Texts that hold lists, taken apart and joined as the lists of :func:`texts`."""
    return texts(split(raw_texts(array)))


def _joined(array: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    flat = array.flatten()
    inner = _joined(flat) if is_list(flat) else pc.utf8_trim_whitespace(_clean(raw_texts(flat)))
    kept = pc.not_equal(inner, "").to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(array)), lengths)[kept]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(array)))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner.filter(pa.array(kept)))
    return _quoted(pc.binary_join(lists, JOINT))


def data_of(texts: pa.Array) -> memoryview:
    """The bytes of all texts of an array, one after the other."""
    _, offsets, data = texts.buffers()
    if data is None:
        return memoryview(b"")
    bounds = np.frombuffer(offsets, dtype=np.int32)[[texts.offset, texts.offset + len(texts)]]
    return memoryview(data)[bounds[0] : bounds[1]]


def _clean(texts: pa.Array) -> pa.Array:
    data = np.frombuffer(data_of(texts), dtype=np.uint8)
    if (data == ord("&")).any():
        marked = np.flatnonzero(pc.match_substring_regex(texts, _ENTITY).to_numpy(zero_copy_only=False))
        if len(marked):
            values = texts.to_pylist()
            for row in marked:
                values[row] = html.unescape(values[row]).encode("utf-8", "replace").decode()
            texts = pa.array(values, pa.string())
            data = np.frombuffer(data_of(texts), dtype=np.uint8)
    if (data == ord("<")).any():
        texts = _spaced(texts, _MARKUP)
    return _one_line(texts)


def _one_line(texts: pa.Array) -> pa.Array:
    data = np.frombuffer(data_of(texts), dtype=np.uint8)
    # 0xC2 and 0xE2 begin the control characters and line separators beyond ASCII.
    if (data < 32).any() or ((data == 127) | (data == 0xC2) | (data == 0xE2)).any():
        return _spaced(texts, _CONTROL)
    return texts


def _spaced(texts: pa.Array, pattern: str) -> pa.Array:
    found = pc.match_substring_regex(texts, pattern)
    if not pc.any(found).as_py():
        return texts
    return pc.if_else(found, pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, pattern, " ")), texts)


def _quoted(texts: pa.Array) -> pa.Array:
    """Values in quotation marks as a whole in marks once more, since readers take the outer ones away."""
    rows = np.flatnonzero(pc.starts_with(texts, '"').to_numpy(zero_copy_only=False))
    if not len(rows):
        return texts
    values = texts.to_pylist()
    for row in rows:
        values[row] = field_text(values[row], "\t")
    return pa.array(values, pa.string())


def list_splitter(values: list[str], bars: bool = True) -> str | None:
    """How texts hold lists: ``literal`` for JSON or Python, ``|`` for bars between short values, None where they do not.

    Without ``bars`` a bar is a character as any other.
    """
    filled = [value for value in values if value.strip()]
    if not filled:
        return None
    if all(_LITERAL.match(value) for value in filled) and all(_literal(value) is not None for value in filled):
        return "literal"
    if not bars:
        return None
    barred = sum("|" in value for value in filled)
    pieces = [piece for value in filled for piece in value.split("|")]
    short = max(map(len, pieces)) <= 60 and sum(len(piece.split()) <= 4 for piece in pieces) >= 0.9 * len(pieces)
    return "|" if barred >= 0.1 * len(filled) and short and all(piece.strip() for piece in pieces) else None


def split_texts(texts: pa.Array, how: str) -> pa.Array:
    """Texts as lists, see :func:`list_splitter`; any other ``how`` is the separator."""
    if how != "literal":
        return pc.split_pattern(texts, how)
    return pa.array([_flat(value) for value in texts.to_pylist()], pa.list_(pa.string()))


def _flat(text: str) -> list[str]:
    found = _literal(text)
    if found is None:
        return [text] if text.strip() else []
    return [str(value) for value in found if value is not None]


def _literal(text: str) -> list | None:
    """A list of plain values, as JSON or as Python writes it."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list) and all(isinstance(value, str | int | float | None) for value in found):
            return found
    return None
