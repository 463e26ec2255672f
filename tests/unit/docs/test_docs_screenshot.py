"""The site's pictures: what a browser is asked for, that a blank one is noticed, what a real one draws."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from quilt_devcluster.errors import DevclusterError
from tests.support.programs import load
from tests.support.site import build_site

WRITES = """#!/bin/sh
for flag; do case $flag in --screenshot=*) cp "$(dirname "$0")/drawn" "${flag#--screenshot=}";; esac; done
echo "$@" > "$(dirname "$0")/asked"
"""
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 117.4"/>'


@pytest.fixture(scope="module")
def screenshot() -> ModuleType:
    return load("scripts/screenshot.py")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<p>Quilt Mesh</p>")
    (tmp_path / "site/drawing.svg").write_text(DRAWING)
    return tmp_path / "site"


def browser(folder: Path, drawn: bytes) -> str:
    """A program that writes these bytes where a browser would write its picture."""
    program = folder / "browser"
    program.write_text(WRITES)
    program.chmod(0o755)
    (folder / "drawn").write_bytes(drawn)
    return str(program)


def png(width: int, height: int, *, blank: bool = False) -> bytes:
    """A picture of one color, or of as many as fit."""
    kept = io.BytesIO()
    image = Image.new("RGB", (width, height)) if blank else Image.effect_noise((width, height), 99)
    image.save(kept, "PNG")
    return kept.getvalue()


@pytest.mark.parametrize(("shown", "size"), [("index.html", (1280, 960)), ("drawing.svg", (640, 118))])
def test_a_file_of_the_site_is_drawn_whole(
    screenshot: ModuleType, site: Path, tmp_path: Path, shown: str, size: tuple[int, int]
) -> None:
    drawn = png(*size)
    screenshot.take(site / shown, site / "screen.png", browser(tmp_path, drawn))
    assert (site / "screen.png").read_bytes() == drawn
    asked = (tmp_path / "asked").read_text().split()
    assert asked[-1] == (site / shown).as_uri()
    assert f"--window-size={size[0]},{size[1]}" in asked


@pytest.mark.parametrize(
    "drawn",
    [
        b"",
        b"not a picture, however long it is",
        png(1280, 960)[:5000],
        png(64, 64),
        png(1280, 960, blank=True),
    ],
    ids=["nothing", "no picture", "a part", "another size", "blank"],
)
def test_a_browser_that_draws_nothing_fails(
    screenshot: ModuleType, site: Path, tmp_path: Path, drawn: bytes
) -> None:
    (site / "screen.png").write_bytes(b"of before")
    with pytest.raises(DevclusterError, match="wrote no picture"):
        screenshot.take(site / "index.html", site / "screen.png", browser(tmp_path, drawn))


def test_a_site_that_is_not_built_is_named(screenshot: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match=r"index\.html does not exist"):
        screenshot.take_all(tmp_path, "browser")


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium: `make docs` installs it")
def test_the_built_site_shows_its_pictures(screenshot: ModuleType, tmp_path: Path) -> None:
    """As `make docs` does it: its own start page, what commands print, and the pages of `quiltctl ui`."""
    code, printed = build_site(tmp_path)
    assert code == 0, printed
    taken = screenshot.take_all(tmp_path) + load("scripts/ui_screens.py").take_all(tmp_path)
    page = (tmp_path / "screens.html").read_text()
    assert sorted(re.findall(r'<img [^>]*src="([^"]+)"', page)) == sorted(path.name for path in taken)
    for path in taken:
        width, height, drawn = screenshot.seen(path)
        assert drawn, path.name
        assert width >= 1000, path.name
        assert height >= 200, path.name
