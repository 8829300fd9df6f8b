"""Tables of results as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """A table of results.

    Attributes
    ----------
    title : str
    columns : list of str
    rows : list of list
        Strings, numbers or None, one per column.
    notes : list of str
        Sentences below it.
    records : list of dict
        Its figures in full precision, one to a column, for files; empty where ``rows`` holds them so.
    """

    title: str
    columns: list[str]
    rows: list[list] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)

    def markdown(self) -> str:
        """GitHub's form."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in self._cells()]
        return "\n\n".join([f"### {self.title}", _drawn(cells, "github"), *self.notes]) + "\n"

    def text(self) -> str:
        """Aligned columns for a screen."""
        return "\n\n".join(filter(None, [self.title, _drawn(self._cells(), "simple"), "\n".join(self.notes)])) + "\n"

    def csv(self) -> str:
        """Comma-separated values with full precision."""
        if self.records:
            return write_csv(list(self.records[0]), [list(record.values()) for record in self.records])
        return write_csv(self.columns, self.rows)

    def _cells(self) -> list[list[str]]:
        """Head and rows, each cell in one line and without characters that move a cursor."""
        grid = [self.columns, *self.rows]
        return [["".join(c if c.isprintable() else " " for c in shown(value)) for value in row] for row in grid]

    def as_dict(self) -> dict:
        """JSON-able form."""
        return {"title": self.title, "columns": self.columns, "rows": self.rows, "notes": self.notes}


def _drawn(cells: list[list[str]], form: str) -> str:
    """Head and rows in one of tabulate's forms, texts as they are."""
    from tabulate import tabulate

    return tabulate(cells[1:], cells[0], form, disable_numparse=True)


def write_csv(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Comma-separated values; None is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if value is None else value for value in row] for row in rows])
    return file.getvalue()


def shown(value) -> str:
    """A value as a table shows it: four decimals, small p values in powers of ten, nothing for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or abs(value) >= 0.0001 else f"{value:.0e}"
    return str(value)


def with_deviation(mean: float, deviation: float | None) -> str:
    """``0.1234 ± 0.0012``, in ASCII."""
    return shown(mean) if deviation is None else f"{mean:.4f} +- {deviation:.4f}"


def percent(value: float | None) -> str | None:
    """``+6.1%``."""
    return None if value is None else f"{100 * value:+.1f}%"


def in_brackets(gain: float | None, p: float | None = None) -> str:
    """`` (+6.1%*)`` behind a value; nothing where there is no gain, such as over a base of 0."""
    return "" if gain is None else f" ({percent(gain)}{stars(p)})"


def stars(p: float | None) -> str:
    """Marks of significance: * below .05, ** below .01, *** below .001."""
    return "" if p is None else "*" * sum(p < limit for limit in (0.05, 0.01, 0.001))
