"""Pictures of what a browser shows, into the built site: `python scripts/screenshot.py SITE`.

Debian's Chromium opens files of the site from the disk: its start page, and the drawings of what `quiltctl`
prints. The page `screens.html` shows the pictures; they are not kept in the repository, because they
follow the machine's fonts. Where Chromium is absent it is installed, once: some 100 MB.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.hostpackages import BROWSER, install_missing
from quilt_devcluster.shell import run

# Picture → the file of the site that it is of.
PICTURES = {
    "screen-start.png": "index.html",
    "screen-status.png": "quiltctl-status.svg",
    "screen-connectivity.png": "quiltctl-connectivity.svg",
}
PAGE_SIZE = (1280, 960)
# A blank page has one, or a few with what the browser draws around it.
LEAST_COLORS = 32
PATIENCE = 300.0
_VIEW_BOX = re.compile(r'viewBox="0 0 (\S+) (\S+)"')


def take_all(site: Path, browser: str = "chromium") -> list[Path]:
    """Write every picture into a built site; return their paths. Raises DevclusterError where one fails."""
    return [take(site / shown, site / name, browser) for name, shown in PICTURES.items()]


def take(shown: Path, picture: Path, browser: str) -> Path:
    """Have the browser draw one file. Raises DevclusterError where what it wrote is not a picture of it."""
    if not shown.is_file():
        raise DevclusterError(f"{shown} does not exist.", hint="build the site first: `make docs`")
    size = window(shown)
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
            # Beside a terminal's round corners, so that it fits a light page and a dark one.
            "--default-background-color=00000000",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={picture}",
        ]
        run([browser, *flags, shown.resolve().as_uri()], what=f"Opening {shown}", timeout=PATIENCE)
    if (found := seen(picture)) != (*size, True):
        raise DevclusterError(
            f"{browser} wrote no picture of {size[0]} by {size[1]} pixels with something on it to {picture}.",
            hint=f"width, height and whether something is on it: {found}",
        )
    return picture


def window(shown: Path) -> tuple[int, int]:
    """Return width and height in pixels at which a file is shown whole: a drawing's own, or a page's."""
    drawing = _VIEW_BOX.search(shown.read_text()) if shown.suffix == ".svg" else None
    return (math.ceil(float(drawing[1])), math.ceil(float(drawing[2]))) if drawing else PAGE_SIZE


def seen(picture: Path) -> tuple[int, int, bool]:
    """Return a PNG's width and height, and whether it has as many colors as something drawn has."""
    try:
        with Image.open(picture, formats=["PNG"]) as image:
            # None is for more colors than the limit.
            few = image.convert("RGB").getcolors(LEAST_COLORS)
            return *image.size, few is None
    except OSError:
        return 0, 0, False


def main() -> int:
    """Command line; answers the exit code."""
    try:
        install_missing(lambda text: print(text, file=sys.stderr), BROWSER)  # noqa: T201 - a person waits
        take_all(Path(sys.argv[1]))
    except DevclusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
