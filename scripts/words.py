"""Words that are not the field's, wherever they are left: `python scripts/words.py [--check] [PATH ...]`.

Python files are read by token (names, messages, comments, docstrings), other text by line. What is quoted
(code spans and fences, lines that begin with >) does not count, nor do decisions, which stay as they were.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    "told": "notified, reported, configured",
    "said": "reported, described",
    "takes": "accepts, needs, uses",
    "goes": "is sent, is removed, continues",
    "stands": "exists, is written",
    "ours": "managed, of the mesh",
    "heard": "received",
    "anew": "again",
    "mend": "repair, fix",
    "mended": "repaired, fixed",
    "whoever": "the caller, who",
    "is none": "is not a, does not exist",
}
"""Each word with what the field says instead."""
APART = ("docs/decisions/", "docs/faults.md", "proto/quilt_proto/", "scripts/words.py")
TEXT = {".md", ".yaml", ".yml", ".txt", ".tpl", ".json", ".toml", ".sh", ".proto", ".go"}
PATTERN = re.compile(rf"(?<![a-zA-Z])({'|'.join(WORDS)})(?![a-zA-Z])")
QUOTED = re.compile(r"``.*?``|`[^`]*`|\{\{.*?\}\}|\"[^\"]*\"")


@dataclass(frozen=True, slots=True)
class Found:
    """A word at its place; the path is relative to the root."""

    path: str
    line: int
    word: str
    text: str


def main() -> int:
    """Print each place and the counts; with --check, fail when there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("paths", nargs="*", default=["."], help="files or folders (all of the repository)")
    parser.add_argument("--check", action="store_true", help="fail when there is one")
    asked = parser.parse_args()
    found = list(search(asked.paths))
    for one in found:
        sys.stdout.write(f"{one.path}:{one.line}: {one.word} ({WORDS[one.word]}): {one.text}\n")
    for word, count in Counter(one.word for one in found).most_common():
        sys.stdout.write(f"{count:5} {word}\n")
    return 1 if asked.check and found else 0


def search(paths: list[str]) -> Iterator[Found]:
    """Every word in files below `paths` that are under version control, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *paths]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for path in listed.stdout.splitlines():
        if path.startswith(APART):
            continue
        if path.endswith(".py"):
            yield from _python(path)
        elif Path(path).suffix in TEXT:
            yield from _text(path)


def _python(path: str) -> Iterator[Found]:
    with (ROOT / path).open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT):
                continue
            for number, text in enumerate(token.string.splitlines(), token.start[0]):
                yield from _found(path, number, text)


def _text(path: str) -> Iterator[Found]:
    fenced = False
    for number, text in enumerate((ROOT / path).read_text().splitlines(), 1):
        if text.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not text.startswith(">"):
            yield from _found(path, number, text)


def _found(path: str, number: int, text: str) -> Iterator[Found]:
    plain = QUOTED.sub(lambda quoted: " " * len(quoted[0]), text) if not path.endswith(".py") else text
    for match in PATTERN.finditer(plain):
        yield Found(path, number, match[1], text.strip())


if __name__ == "__main__":
    sys.exit(main())
