"""Times as whole numbers, exactly: numbers as they are, dates as seconds, milliseconds or microseconds since 1970 in UTC."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_rlmrec.errors import DataError
from recbole_rlmrec.exchange.convert.values import NUMBER, WHOLE, raw_texts, without_missing

_FORMATS = ("ISO8601", "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%m %d, %Y", "%b %d, %Y")
_UNITS = {1: "s", 1_000: "ms", 1_000_000: "us"}
_SPOKEN = {1: "seconds", 1_000: "milliseconds", 1_000_000: "microseconds"}
_MILLION = 1_000_000


class Times:
    """One column of times; the parts that are read decide of which kind it is and how fine.

    Parameters
    ----------
    form : str or None
        How times are written, as ``strptime`` says it; None to find out.
    """

    def __init__(self, form: str | None = None):
        self._form = form
        self._kind = "date" if form else None
        self.factor = 1
        self._needed = 1

    def settle(self) -> bool:
        """Take the finest unit that was needed; whether it is another one than was written."""
        before, self.factor = self.factor, self._needed
        return self.factor != before

    def __str__(self) -> str:
        if self._kind == "date":
            return f"dates as {_SPOKEN[self.factor]} since 1970, UTC"
        return "numbers as they are" if self.factor == 1 else f"numbers times {self.factor:,}"

    def fields(self, array: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
        """Times as whole numbers, empty where there is none, and which values are no times, bool [n].

        Raises
        ------
        DataError
            They are written in no form that is known.
        """
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            return self._dates(array)
        if pa.types.is_integer(array.type):
            self._kind = self._kind or "number"
            if self._kind == "number" and self.factor == 1:
                return raw_texts(array), np.zeros(len(array), dtype=bool)
        return self._written(array, name)

    def _dates(self, array: pa.Array) -> tuple[pa.Array, np.ndarray]:
        self._kind = self._kind or "date"
        micros = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        filled = pc.is_valid(micros).to_numpy(zero_copy_only=False)
        return self._scaled(pc.fill_null(micros, 0).to_numpy(zero_copy_only=False), filled), np.zeros(len(array), dtype=bool)

    def _written(self, array: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
        texts = without_missing(pc.utf8_trim_whitespace(raw_texts(array)))
        filled = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
        if not filled.any():
            return texts, np.zeros(len(texts), dtype=bool)
        if self._kind is None:
            first = texts.filter(pa.array(filled))[:1]
            self._kind = "number" if pc.match_substring_regex(first, NUMBER)[0].as_py() else "date"
        return self._numbers(texts, filled) if self._kind == "number" else self._parsed(texts, filled, name)

    def _numbers(self, texts: pa.Array, filled: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        whole = pc.match_substring_regex(texts, WHOLE).to_numpy(zero_copy_only=False)
        if self.factor == 1 and (whole | ~filled).all():
            return texts, ~(whole | ~filled)
        values, broken = texts.to_pylist(), np.zeros(len(texts), dtype=bool)
        for row in np.flatnonzero(filled):
            try:
                values[row] = self._exact(Decimal(values[row]))
            except (InvalidOperation, ValueError, OverflowError):
                values[row], broken[row] = "", True
        return pa.array(values, pa.string()), broken

    def _exact(self, value: Decimal) -> str:
        if not value.is_finite() or abs(value) > 10**18:
            raise ValueError
        while self._needed < _MILLION and value * self._needed % 1:
            self._needed *= 1000
        return str(int((value * self.factor).to_integral_value("ROUND_FLOOR")))

    def _parsed(self, texts: pa.Array, filled: np.ndarray, name: str) -> tuple[pa.Array, np.ndarray]:
        column = pd.Series(texts.to_numpy(zero_copy_only=False)[filled], dtype=object)
        self._form = self._form or _form_of(column.iloc[:100], name)
        times = _read(column, self._form)
        good = times.notna().to_numpy()
        micros, broken = np.zeros(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=bool)
        rows = np.flatnonzero(filled)
        broken[rows[~good]] = True
        read = times[good].dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        micros[rows[good]] = read.astype(np.int64)
        return self._scaled(micros, filled & ~broken), broken

    def _scaled(self, micros: np.ndarray, filled: np.ndarray) -> pa.Array:
        while self._needed < _MILLION and (micros[filled] % (_MILLION // self._needed)).any():
            self._needed *= 1000
        texts = pa.array(micros // (_MILLION // self.factor)).cast(pa.string())
        return texts if filled.all() else pc.if_else(pa.array(filled), texts, "")


def _read(column: pd.Series, form: str) -> pd.Series:
    try:
        return pd.to_datetime(column, format=form, utc=True, errors="coerce")
    except (ValueError, TypeError) as reason:
        raise DataError(f"--time-format {form!r} is no format of times ({reason}); write it as strptime does.") from None


def _form_of(column: pd.Series, name: str) -> str:
    read = {form: _read(column, form).notna().mean() for form in _FORMATS}
    best = max(read, key=read.get)
    if read[best] < 0.5:
        raise DataError(
            f"Times such as {column.iloc[0]!r} in the column {name} can be read in more than one way, or in none; say how they "
            "are written, for example --time-format '%d/%m/%Y %H:%M'."
        )
    return best
