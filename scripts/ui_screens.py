"""Pictures of `quiltctl ui` into the built site, from the root: `python scripts/ui_screens.py SITE`.

A simulated mesh of forty nodes, of which one is Down and one pair fails, served as the command serves it, in
Debian's Chromium. Like those of scripts/screenshot.py they are for the page `screens.html` and not kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser

from quilt_devcluster.errors import DevclusterError
from quilt_log import silence
from tests.support.browser import Scheme, chromium, visit
from tests.support.ui_mesh import UiMesh
from tests.support.ui_served import Served, served

NODES = 40
# Picture → the page, the color scheme, and the text that is there once all is drawn.
PICTURES: dict[str, tuple[str, Scheme, str]] = {
    "screen-ui-nodes.png": ("nodes", "light", "39 of 40 Up"),
    "screen-ui-subnets.png": ("subnets", "dark", "1 quarantined"),
    "screen-ui-latency.png": ("latency", "light", "Read at"),
    "screen-ui-node.png": ("node/node-1", "dark", "Looked at"),
}


def mesh() -> UiMesh:
    """A mesh in which there is something to see."""
    made = UiMesh(NODES)
    made.down("node-7")
    made.fail("node-1", "node-3")
    made.release(44)
    return made


def take_all(site: Path) -> list[Path]:
    """Write every picture into a built site; return their paths. Raises DevclusterError without a browser."""
    with served(mesh()) as here, chromium() as browser:
        return [_take(browser, here, site, name) for name in PICTURES]


def _take(browser: Browser, here: Served, site: Path, name: str) -> Path:
    page, scheme, last = PICTURES[name]
    with visit(browser, here.server.url, scheme) as found:
        found.page.goto(here.page(page))
        found.page.get_by_text(last).first.wait_for()
        found.page.screenshot(path=site / name)
    return site / name


def main() -> int:
    """Command line; answers the exit code."""
    silence()
    try:
        take_all(Path(sys.argv[1]))
    except DevclusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
