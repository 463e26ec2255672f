"""Tables of the pages render as tables, and figures are those that were measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it.token import Token

from bench.result import FOLDER, Line
from bench.result import saved as results
from bench.show import number
from tests.support.pages import PAGES, ROOT, rendered

README = (ROOT / "README.md").read_text()
MEASURED = re.compile(
    r"\d (?:ms|\u00b5s|s|MB|KB|Gbit/s|%|thousand|transactions/s|connections/s)(?![\w/])|\d times"
)
# Pages that compare: what they quote of measurements is in one table.
COMPARING = {page: (ROOT / page).read_text() for page in ("README.md", "docs/comparison.md")}


def outside_code(token: Token) -> str:
    """The text of an inline token, without code spans."""
    return "".join(child.content for child in token.children or () if child.type != "code_inline")


def stray(text: str) -> Iterator[str]:
    """Lines of a page that were meant as a table's and are none, or have not as many cells as its head."""
    lines, tokens = text.splitlines(), rendered(text)
    for token in tokens:
        if token.type == "inline" and re.search(r"(^|\s)\|(\s|$)", outside_code(token)):
            yield token.content
        elif token.type == "table_open" and token.map:
            first, last = token.map
            rows = [len(re.findall(r"(?<!\\)\|", line)) for line in lines[first:last]]
            yield from (line for line, pipes in zip(lines[first:last], rows, strict=True) if pipes != rows[0])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_has_no_stray_pipes(path: Path) -> None:
    """D1, D2: No table of a page is broken, which shows as text with pipes or as rows with empty cells."""
    assert list(stray(path.read_text())) == []


@pytest.mark.parametrize(
    "text",
    [
        "| a | b |\n| --- | --- |\n| 1 | 2 broken\nhere |\n",
        "| a | b |\n| --- | --- |\n| 1 | 2 |\nA sentence.\n",
        "A sentence.\n\n| 1 | 2 |\n",
        "| a | b |\n| --- | --- |\n| `x|y` | 2 |\n",
    ],
)
def test_a_broken_table_is_found(text: str) -> None:
    assert list(stray(text))


def figures(text: str) -> list[list[str]]:
    """The cells of a page's table of measurements, row by row."""
    table = text.partition("| figure | Quilt Mesh |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def pair(line: Line) -> list[str]:
    other = "" if line.other is None else f"{number(line.other)} {line.unit}, {line.against}"
    return [f"{number(line.value)} {line.unit}", other]


@pytest.mark.parametrize("page", COMPARING)
def test_every_figure_of_a_comparison_is_of_a_result_file(page: str) -> None:
    """D7: What was measured is quoted with what was measured beside it, as the result file has it."""
    measured = {result.name: [pair(line) for line in result.lines] for result in results()}
    rows = figures(COMPARING[page])
    assert len(rows) >= 5
    for _, *values, benchmark in rows:
        assert values in measured[benchmark.strip("`")]
        assert (FOLDER / f"{benchmark.strip('`')}.json").is_file()


@pytest.mark.parametrize("page", COMPARING)
def test_a_comparison_quotes_no_figure_anywhere_else(page: str) -> None:
    prose = [outside_code(token) for token in rendered(COMPARING[page]) if token.type == "inline"]
    quoted = {cell for row in figures(COMPARING[page]) for cell in row}
    assert [text for text in prose if MEASURED.search(text) and text not in quoted] == []


def test_no_page_recommends_an_install_that_cannot_work() -> None:
    """D6, D12: The README installs from a registry of the reader's; no page reuses old defaults."""
    fences = [
        (path, token.content)
        for path in PAGES
        for token in rendered(path.read_text())
        if token.type == "fence"
    ]
    installs = [text for path, text in fences if path == ROOT / "README.md" and "helm install" in text]
    assert installs
    assert all("image.registry" in text for text in installs)
    assert not [text for path, text in fences if re.search(r"--reuse-values\b", text)]


def test_what_the_readme_says_of_sizes_is_so() -> None:
    """D8: It is a file that can be read at a sitting, not all of them."""
    (most,) = set(map(int, re.findall(r"(\d+)\s+lines", README)))
    folders = (
        "crds",
        "delta",
        "kube",
        "netlink",
        "policy",
        "multicast",
        "operator",
        "nodeagent",
        "runtime",
        "cli",
    )
    longest = max(
        len(path.read_text().splitlines()) for folder in folders for path in (ROOT / folder).rglob("*.py")
    )
    assert longest <= most
    assert "afternoon" not in README
