"""docs/performance.md and docs/plots from the results that are kept: no figure is typed by hand."""

from __future__ import annotations

from pathlib import Path

from bench.plots import draw
from bench.result import Line, Result, saved
from bench.show import FIGURES, figures, filled, number, ratio, target

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """\
# Performance

This page is written by `make bench` from `bench/results/*.json`; `python -m bench NAME` measures one
benchmark again, `python -m bench --page` writes the page alone. Its plots are drawn by packages of
`requirements-bench.lock`, which `make bench` installs; without it: `pip install -r requirements-bench.lock`.
Everything that a figure is compared with is measured in the same run on the same machine, in turn. Times are
wall-clock medians unless a line says otherwise. A target is an upper limit unless it says "at least". A ratio
with two figures behind it is the median of the ratios of all turns, with the interval that holds it at 95 %
(that of the sign test); its target is met when the interval reaches it. Where the machine is busy, ratios say
more than times.

"""


def write() -> None:
    """Write the page and its drawings."""
    results = [result for result in saved() if result.lines]
    draw(results, DOCS / "plots")
    sections = [_summary(results), *map(_section, results)]
    (DOCS / "performance.md").write_text(HEAD + "\n".join(sections))


def _summary(results: list[Result]) -> str:
    lines = [
        f"| {result.title} | {line.what} | {_figure(line)} | {target(line)} | {_verdict(line)} |"
        for result in results
        for line in result.lines
        if line.target is not None
    ]
    return "\n".join(["## Targets", "", "| benchmark | figure | measured | target | |", _rule(5), *lines, ""])


def _figure(line: Line) -> str:
    if line.target_is_ratio and line.ratio is not None:
        return f"{ratio(line)} × {line.against}"
    return f"{number(line.value)} {line.unit}"


def _verdict(line: Line) -> str:
    return {None: "", True: "met", False: "**missed**"}[line.met]


def _section(result: Result) -> str:
    head = ["figure", *FIGURES]
    rows = [_cells(line) for line in result.lines]
    used = filled(rows)
    table = [[head[at] for at in used], *([row[at] for at in used] for row in rows)]
    text = [f"## {result.title}", "", result.method, ""]
    text += [f"`{result.command or f'python -m bench {result.name}'}`, {result.machine}.", ""]
    text += ["| " + " | ".join(table[0]) + " |", _rule(len(used))]
    text += ["| " + " | ".join(row) + " |" for row in table[1:]]
    text += ["", *(f"![{plot.title}](plots/{plot.name}.svg)\n" for plot in result.plots)]
    return "\n".join(text)


def _cells(line: Line) -> list[str]:
    note = f" ({line.note})" if line.note else ""
    return [line.what + note, *figures(line)]


def _rule(columns: int) -> str:
    return "|" + " --- |" * columns
