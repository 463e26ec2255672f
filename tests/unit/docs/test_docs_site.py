"""The documents as a site: it is built without a warning, links and tables are whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.pages import ROOT
from tests.support.site import build_site

SOURCES = ("docs", "scripts", "README.md", "mkdocs.yml")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    code, printed = build_site(made)
    assert code == 0, printed
    assert "WARNING" not in printed
    return made


def test_every_document_is_a_page(site: Path) -> None:
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in ROOT.glob("docs/**/*.md")}
    built = {str(page.relative_to(site).with_suffix("")) for page in site.rglob("*.html")}
    assert built == pages - {"decisions/template"} | {"index", "screens", "404"}


def test_every_table_is_one(site: Path) -> None:
    """A row that the renderer does not take for one is left as text with its pipes."""
    stray = [
        f"{page.relative_to(site)}: {text[:80]}"
        for page in site.rglob("*.html")
        for text in re.findall(r"<p>(\|.*?)</p>", page.read_text(), re.DOTALL)
    ]
    assert not stray


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs/backup.md").open("a") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    code, printed = build_site(tmp_path / "site", tmp_path)
    assert code != 0
    assert "nowhere.md" in printed
