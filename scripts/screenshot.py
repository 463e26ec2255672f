"""A picture of the site's start page, taken by a real browser: `python scripts/screenshot.py SITE`.

Debian's Chromium opens the built page from the disk and writes SITE/start-page.png. Where it is absent it is
installed, once: some 100 MB.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.hostpackages import install_missing
from quilt_devcluster.shell import run

# As in quilt_devcluster.hostpackages. Without a font text would be boxes.
NEEDED = {
    "chromium": "chromium",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf": "fonts-dejavu-core",
}
WIDTH, HEIGHT = 1280, 960
PATIENCE = 300.0
_PNG = b"\x89PNG\r\n\x1a\n"


def take(site: Path, browser: str = "chromium") -> Path:
    """Write the picture of a built site's start page; return its path. Raises DevclusterError without one."""
    page, picture = site / "index.html", site / "start-page.png"
    if not page.is_file():
        raise DevclusterError(f"{page} does not exist.", hint="build the site first: `make docs`")
    picture.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="quilt-browser-") as profile:
        flags = [
            "--headless",
            # Chromium refuses to run as root with its sandbox; what it opens here is our own.
            "--no-sandbox",
            "--disable-gpu",
            # Not /dev/shm, which is small in a container.
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={picture}",
        ]
        run([browser, *flags, page.resolve().as_uri()], what=f"Opening {page}", timeout=PATIENCE)
    if not picture.is_file() or size(picture.read_bytes()) != (WIDTH, HEIGHT):
        raise DevclusterError(f"{browser} wrote no picture of {WIDTH} by {HEIGHT} pixels to {picture}.")
    return picture


def size(content: bytes) -> tuple[int, int]:
    """Return width and height of a PNG picture in pixels; zeros where it is not one."""
    if len(content) < 24 or not content.startswith(_PNG):
        return 0, 0
    # PNG specification, 11.2.1: IHDR is the first chunk and begins with both.
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def main() -> int:
    """Command line; answers the exit code."""
    try:
        install_missing(lambda text: print(text, file=sys.stderr), NEEDED)  # noqa: T201 - a person waits
        take(Path(sys.argv[1]))
    except DevclusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
