"""Results as drawings: SVG with text as text, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.result import Plot, Result

COLOURS = ("#2f6f4f", "#c05a2b", "#3b5f8a", "#8a6d3b", "#6b4c86", "#9a3b4f", "#5a7d2a", "#707070")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "quilt",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw(results: Iterable[Result], folder: Path) -> list[Path]:
    """Write every plot of the results; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        for result in results:
            for plot in result.plots:
                path = folder / f"{plot.name}.svg"
                _figure(plot).savefig(path, metadata={"Date": None, "Creator": None})
                written.append(path)
    return written


def _figure(plot: Plot) -> Figure:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for colour, series in zip(COLOURS, plot.series, strict=False):
        x = [point[0] for point in series.points]
        y = [point[1] for point in series.points]
        marker = "" if plot.kind == "cdf" else "o"
        axes.plot(x, y, color=colour, label=series.name, marker=marker, markersize=3.5, linewidth=1.6)
    if plot.kind == "line":
        axes.set_xscale("log")
        axes.set_yscale("log")
    elif plot.kind == "cdf":
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
    else:
        axes.set_ylim(bottom=0)
    if plot.limit is not None:
        axes.axvline(plot.limit, color="#a00000", linewidth=1, linestyle="--", label=f"target {plot.limit:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_title(plot.title, loc="left", fontsize=10)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.legend()
    return figure
