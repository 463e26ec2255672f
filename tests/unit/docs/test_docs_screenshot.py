"""The picture of the site's start page: what a browser is asked for, and that none is noticed."""

from __future__ import annotations

import struct
from pathlib import Path
from types import ModuleType

import pytest

from quilt_devcluster.errors import DevclusterError
from tests.support.programs import load

WRITES = """#!/bin/sh
for flag; do case $flag in --screenshot=*) cp "$(dirname "$0")/drawn" "${flag#--screenshot=}";; esac; done
echo "$@" > "$(dirname "$0")/asked"
"""


@pytest.fixture(scope="module")
def screenshot() -> ModuleType:
    return load("scripts/screenshot.py")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<p>Quilt Mesh</p>")
    return tmp_path / "site"


def browser(folder: Path, drawn: bytes) -> str:
    """A program that writes these bytes where a browser would write its picture."""
    program = folder / "browser"
    program.write_text(WRITES)
    program.chmod(0o755)
    (folder / "drawn").write_bytes(drawn)
    return str(program)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def test_the_start_page_is_drawn_into_the_site(screenshot: ModuleType, site: Path, tmp_path: Path) -> None:
    drawn = png(screenshot.WIDTH, screenshot.HEIGHT)
    assert screenshot.take(site, browser(tmp_path, drawn)) == site / "start-page.png"
    assert (site / "start-page.png").read_bytes() == drawn
    assert (tmp_path / "asked").read_text().split()[-1] == (site / "index.html").as_uri()


@pytest.mark.parametrize("drawn", [b"", b"not a picture, however long it is", png(1, 1)])
def test_a_browser_that_draws_nothing_fails(
    screenshot: ModuleType, site: Path, tmp_path: Path, drawn: bytes
) -> None:
    (site / "start-page.png").write_bytes(b"of before")
    with pytest.raises(DevclusterError, match="wrote no picture"):
        screenshot.take(site, browser(tmp_path, drawn))


def test_a_site_that_is_not_built_is_named(screenshot: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match=r"index\.html does not exist"):
        screenshot.take(tmp_path, "browser")
