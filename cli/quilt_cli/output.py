"""Printing: one console for people, plain JSON for machines; colors only where somebody can see them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from quilt_cli.core.finding import Finding, Level, summary

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.UNKNOWN: "dim"}
_SIGNS = {Level.OK: "✓", Level.WARN: "!", Level.FAIL: "✗", Level.UNKNOWN: "?"}
# A pipe has no width; sentences must not be cut for it.
_PIPE_WIDTH = 200
_GAP = 3
# A list of hundreds hides what else is wrong.
_ALIKE = 5


def console(*, stderr: bool = False) -> Console:
    """Where people read; `stderr` for progress, so that a pipe gets the answer alone."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _PIPE_WIDTH)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that tells how far something is."""
    out = console(stderr=True)
    with out.status("starting") as spinner:

        def tell(text: str) -> None:
            spinner.update(text)
            if not out.is_terminal:
                out.print(text, style="dim")

        yield tell


def print_json(document: Any, *, compact: bool = False) -> None:
    """The document on standard output, on one line with `compact`; structs by the names of their fields."""
    plain = msgspec.to_builtins(document)
    print(json.dumps(plain, indent=None if compact else 2, ensure_ascii=False))


def print_table(out: Console, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table in the manner of kubectl: no lines, a few spaces between, nothing cut or folded.

    What is too wide for the terminal is shown as one block a row: an address that is broken in the middle can
    be neither read nor copied.
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    head = [Text(name, "bold") for name in columns]
    widths = [max(cell.cell_len for cell in column) + _GAP for column in zip(head, *cells, strict=True)]
    if out.is_terminal and sum(widths) - _GAP > out.width:
        _print_blocks(out, columns, cells)
        return
    for row in (head, *cells):
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell).append(" " * (width - cell.cell_len))
        line.rstrip()
        out.print(line, soft_wrap=True)


def _print_blocks(out: Console, columns: Sequence[str], rows: Iterable[Sequence[Text]]) -> None:
    names = [f"  {name:<{max(map(len, columns[1:]))}}  " for name in columns[1:]]
    for first, *others in rows:
        out.print(Text(first.plain, first.style or "bold"), soft_wrap=True)
        for name, cell in zip(names, others, strict=True):
            out.print(Text.assemble((name, "dim"), cell), soft_wrap=True)


def print_findings(out: Console, findings: Sequence[Finding]) -> None:
    """Each finding as one line, the next step on a second; of many alike the first few and how many more."""
    shown: Counter[str] = Counter()
    total = Counter(item.code for item in findings if item.level is not Level.OK)
    for item in findings:
        shown[item.code] += 1
        more = total[item.code] - _ALIKE
        if more <= 0 or shown[item.code] <= _ALIKE:
            out.print(_line(item), soft_wrap=True)
        elif shown[item.code] == _ALIKE + 1:
            text = f"  … and {more} more like this ({item.code}); all of them: -o json"
            out.print(text, style="dim", markup=False, soft_wrap=True)


def _line(item: Finding) -> Text:
    sign = (f"{_SIGNS[item.level]} ", _STYLES[item.level])
    todo = (f"\n    → {item.todo}" if item.todo else "", "cyan")
    return Text.assemble(sign, (f"{item.about}: ", "bold"), item.message, todo)


def counts(findings: Iterable[Finding]) -> Text:
    """`12 ok, 1 warn` with colors, without zero counts."""
    held = summary(findings).items()
    return Text(", ").join(Text(f"{number} {level}", _STYLES[level]) for level, number in held if number)
