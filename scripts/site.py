"""Hooks of mkdocs: the README is the site's first page, and links out of `docs` become the names of files.

The page of pictures is the site's alone: scripts/screenshot.py draws them once the site is built.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
HOME = "index.md"
# Page → its source, which is not in `docs`.
ELSEWHERE = {HOME: "README.md", "screens.md": "scripts/screens.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs`."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Make links work from where the page is on the site."""
    here = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    folder = "" if page.file.src_uri == HOME else here

    def replaced(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if not path.startswith("docs/") or (ROOT / path).is_dir():
            return text if text.startswith("`") else f"{text} (`{path}`)"
        return f"{image}[{text}]({posixpath.relpath(path, here)}{anchor})"

    return LINK.sub(replaced, markdown)
