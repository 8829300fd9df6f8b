"""Figures as plotly.js draws them: plain dictionaries, texts from data escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_rlmrec.experiments.results.stats import mean_and_deviation

# Each can be told from a white page and from a dark one, and white text can be read on it.
COLOURS = {"base": "#6b7480", "con": "#1570b8", "gen": "#c2410c", "kar": "#15803d"}
MORE = ("#7c4ff0", "#a16207", "#d02c72", "#0e7490", "#4d7c0f", "#c92a4f", "#64748b")
DASHES = {"base": "dot", "con": "solid", "gen": "dash", "kar": "dashdot"}
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "hexagon")
LINE_POINTS = 300


@dataclass
class Figure:
    """One plot.

    Attributes
    ----------
    title : str
    traces : list of dict
        plotly.js traces.
    layout : dict
        What differs from the page's layout.
    """

    title: str
    traces: list[dict]
    layout: dict

    def as_dict(self) -> dict:
        """JSON-able form for the page's script."""
        return {"title": self.title, "data": self.traces, "layout": self.layout}


@dataclass
class Figures:
    """Plots side by side, redrawn for each choice of a selector.

    Attributes
    ----------
    caption : str
        Below the plots.
    choices : dict of str to list of Figure
        As many figures for each choice; with one choice there is no selector.
    label : str
        Of the selector.
    """

    caption: str
    choices: dict[str, list[Figure]]
    label: str = "Show"

    def as_dict(self) -> dict:
        """JSON-able form for the page's script."""
        return {name: [figure.as_dict() for figure in figures] for name, figures in self.choices.items()}


def text(value: object) -> str:
    """A text that plotly.js shows as it is: it reads some HTML otherwise."""
    return html.escape(str(value), quote=False)


def colour(name: str, names: Sequence[str]) -> str:
    """Colour of a variant; those without a colour of their own take one by position."""
    others = [one for one in names if one not in COLOURS]
    return COLOURS.get(name) or MORE[others.index(name) % len(MORE)]


def axis(title: str, **more) -> dict:
    """An axis with a title."""
    return {"title": {"text": text(title), "standoff": 8}, **more}


def summary(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation over seeds; None where there are none, or one."""
    known = [value for value in values if value is not None]
    return mean_and_deviation(known) if known else (None, None)


def error_bars(deviations: Sequence[float | None]) -> dict:
    """Error bars of these lengths; none where no deviation is known."""
    known = any(deviation is not None for deviation in deviations)
    return {"type": "data", "array": list(deviations), "thickness": 1.5, "width": 4, "visible": known}


def bars(
    title: str, groups: Sequence[str], values: dict[str, list], labels: dict[str, list] | None = None, unit: str = ""
) -> Figure:
    """Grouped bars with error bars.

    Parameters
    ----------
    title : str
    groups : sequence of str
        One place on the x axis each.
    values : dict of str to list of list of float
        For each variant, the values of each group over seeds.
    labels : dict of str to list of str, optional
        Texts over the bars.
    unit : str
        Title of the y axis.
    """
    traces = []
    for name, members in values.items():
        means, deviations = zip(*(summary(one) for one in members), strict=True)
        said = (labels or {}).get(name)
        trace = {
            "type": "bar",
            "name": text(name),
            "x": [text(group) for group in groups],
            "y": list(means),
            "error_y": error_bars(deviations),
            "marker": {"color": colour(name, list(values))},
            "hovertemplate": "%{x}, " + text(name).replace("{", "&#123;") + ": %{y:.4g}<extra></extra>",
        }
        if said and any(said):
            trace |= {"text": [text(label) for label in said], "textposition": "inside", "insidetextanchor": "start"}
            trace["insidetextfont"] = {"color": "#ffffff", "size": 13}
        traces.append(trace)
    layout = {"barmode": "group", "bargap": 0.3, "yaxis": axis(unit, rangemode="tozero"), "xaxis": {"type": "category"}}
    return Figure(title, traces, layout)


def dots(title: str, values: dict[str, list], unit: str) -> Figure:
    """One line per name, from above: a dot with an error bar.

    Parameters
    ----------
    title : str
    values : dict of str to list of float
        By name, the values over seeds.
    unit : str
        Title of the x axis.
    """
    means, deviations = zip(*map(summary, values.values()), strict=True)
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": list(means),
        "y": [text(name) for name in values],
        "error_x": error_bars(deviations),
        "marker": {"size": 10, "color": COLOURS["con"]},
        "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
    }
    order = [text(name) for name in reversed(values)]
    yaxis = {"type": "category", "categoryorder": "array", "categoryarray": order, "automargin": True}
    xaxis = axis(unit) | ({"range": [0, 2 * max(means[0], 1e-9)]} if len(means) == 1 else {})
    layout = {"xaxis": xaxis, "yaxis": yaxis, "height": 120 + 30 * len(values), "showlegend": False}
    return Figure(title, [trace], layout)


def lines(title: str, series: Sequence[dict], x: str, y: str) -> Figure:
    """Lines.

    Parameters
    ----------
    title : str
    series : sequence of dict
        ``name`` (variant), ``x``, ``y``, and perhaps ``error`` and ``faint``.
    x, y : str
        Titles of the axes.
    """
    names = list(dict.fromkeys(one["name"] for one in series))
    traces, seen = [], set()
    for one in series:
        name = one["name"]
        trace = {
            "type": "scatter",
            "mode": "lines+markers" if len(one["x"]) < 12 else "lines",
            "name": text(name),
            "legendgroup": text(name),
            "showlegend": name not in seen,
            "opacity": 0.4 if one.get("faint") else 1,
            "x": thinned(one["x"]),
            "y": thinned(one["y"]),
            "line": {"color": colour(name, names), "dash": DASHES.get(name, "solid"), "width": 2},
        }
        if one.get("error"):
            trace["error_y"] = error_bars(one["error"])
        traces.append(trace)
        seen.add(name)
    return Figure(title, traces, {"xaxis": axis(x), "yaxis": axis(y)})


def thinned(values: Sequence) -> list:
    """At most ``LINE_POINTS`` of the values, evenly, the last among them."""
    step = -(-len(values) // LINE_POINTS)
    kept = list(values[::step]) if step > 1 else list(values)
    return kept if step <= 1 or (len(values) - 1) % step == 0 else [*kept, values[-1]]
