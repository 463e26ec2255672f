"""One table of all figures, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from bench.result import Line, Result


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def target(line: Line) -> str:
    """The target as text."""
    if line.target is None:
        return ""
    return f"{number(line.target)} x" if line.target_is_ratio else f"{number(line.target)} {line.unit}"


def verdict(line: Line) -> str:
    """met, missed or nothing."""
    return {None: "", True: "met", False: "MISSED"}[line.met]


def show(results: Iterable[Result]) -> None:
    """Print the table."""
    table = Table(show_lines=False)
    for column in ("benchmark", "figure", "median", "p50", "p99", "against", "its", "ratio", "target", ""):
        table.add_column(column, justify="left" if column in ("benchmark", "figure", "against") else "right")
    for result in results:
        for line in result.lines:
            cells = [
                f"{number(line.value)} {line.unit}",
                *("" if v is None else number(v) for v in (line.p50, line.p99)),
                line.against,
                "" if line.other is None else f"{number(line.other)} {line.unit}",
                "" if line.ratio is None else f"{line.ratio:.2f}",
                target(line),
                verdict(line),
            ]
            table.add_row(result.name, line.what, *cells)
        table.add_section()
    Console(width=170).print(table)
