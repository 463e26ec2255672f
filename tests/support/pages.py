"""The pages, and what they tell a reader to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "helm").rglob("*.md"),
        *ROOT.glob(".github/**/*.md"),
    ]
)
SHELL = {"", "sh", "bash", "shell"}
PROGRAMS = {"quiltctl", "kubectl", "helm", "docker", "buildah", "make", "python", "pip"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page, as the shell would split it: a program and its arguments."""

    page: Path
    words: tuple[str, ...]

    def __str__(self) -> str:
        """Where it is, and what it is."""
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def rendered(text: str) -> list[Token]:
    """The tokens of a page, tables included."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def commands() -> Iterator[Command]:
    """Every command of the pages, in code blocks and in the text; what another one runs follows by itself."""
    for page in PAGES:
        # Decisions stay as they were written.
        lines = () if page.parent.name == "decisions" else _lines(page.read_text())
        for line in lines:
            for part in re.split(r"\s(?:\|\|?|&&|;|[0-9]?>)\s", line):
                yield from (Command(page, words) for words in _split(part))


def _lines(text: str) -> Iterator[str]:
    for token in rendered(text):
        if token.type == "fence" and token.info.strip() in SHELL:
            yield from re.sub(r"\\\n\s*", "", token.content).splitlines()
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content


def _split(line: str) -> Iterator[tuple[str, ...]]:
    try:
        words = tuple(shlex.split(line.strip().removeprefix("$ "), comments=True))
    except ValueError:
        return
    if words and words[0] in PROGRAMS:
        yield words
        if "--" in words:
            inner = words[words.index("--") + 1 :]
            yield from [inner] if inner and inner[0] in PROGRAMS else []


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    """The code blocks of a language, with their pages."""
    for page in PAGES:
        for token in rendered(page.read_text()):
            if token.type == "fence" and token.info.strip() == language:
                yield page, token.content


def page_block(page: Path, language: str) -> str:
    """The first code block of a language on a page."""
    fences = (token for token in rendered(page.read_text()) if token.type == "fence")
    return next(token.content for token in fences if token.info.strip() == language)


def section(page: Path, heading: str) -> Iterator[tuple[str, str]]:
    """Language and text of a section's code blocks, in their order; those of one language at a time."""
    current, blocks = "", []
    tokens = rendered(page.read_text())
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            current = token.content
        elif token.type == "fence" and current == heading:
            blocks.append((token.info.strip(), token.content))
    assert blocks, f"{page.name} has no commands below {heading!r}"
    for language, group in groupby(blocks, key=itemgetter(0)):
        yield language, "".join(text for _, text in group)
