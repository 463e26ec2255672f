"""One table of all figures, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.console import Console
from rich.table import Table

from bench.result import Line, Result


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def target(line: Line) -> str:
    """The target as text; what says no direction is an upper limit."""
    if line.target is None:
        return ""
    limit = f"{number(line.target)} x" if line.target_is_ratio else f"{number(line.target)} {line.unit}"
    return f"at least {limit}" if line.better == "more" else limit


def ratio(line: Line) -> str:
    """The ratio with its interval, empty without one."""
    if line.ratio is None:
        return ""
    interval = f" ({line.turns.low:.2f} to {line.turns.high:.2f})" if line.turns else ""
    return f"{line.ratio:.2f}{interval}"


def verdict(line: Line) -> str:
    """met, missed or nothing."""
    return {None: "", True: "met", False: "MISSED"}[line.met]


FIGURES = ("median", "p50", "p99", "against", "its", "ratio", "better")
"""What `figures` are, in order."""
HEAD = ("benchmark", "figure", *FIGURES, "target", "")
_TEXTS = ("benchmark", "figure", "against")


def show(results: Iterable[Result]) -> None:
    """Print the table, without columns that no line fills."""
    rows = [
        (result.name, line.what, *figures(line), target(line), verdict(line))
        for result in results
        for line in result.lines
    ]
    used = filled(rows)
    table = Table(show_lines=False)
    for at in used:
        table.add_column(HEAD[at], justify="left" if HEAD[at] in _TEXTS else "right")
    for row, following in zip_longest(rows, rows[1:]):
        ends = following is not None and following[0] != row[0]
        table.add_row(*(row[at] for at in used), end_section=ends)
    Console(width=170).print(table)


def filled(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns that some row fills: others are left out."""
    return [at for at, column in enumerate(zip(*rows, strict=True)) if any(column)]


def figures(line: Line) -> tuple[str, ...]:
    """What was measured, as texts; empty where a line has no such figure."""
    return (
        f"{number(line.value)} {line.unit}".strip(),
        *("" if value is None else number(value) for value in (line.p50, line.p99)),
        line.against,
        "" if line.other is None else f"{number(line.other)} {line.unit}".strip(),
        ratio(line),
        line.better,
    )
