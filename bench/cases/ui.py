"""The pages of `quiltctl ui` with 5,000 nodes, in Debian's Chromium without a window, on the same machine.

A simulated API server has the objects; the command has read them when the browser comes. First view: from the
beginning of the visit until rows are drawn. Tasks: what keeps the page from answering while its table is
scrolled from end to end by wheel and by keys; the browser reports those above 50 ms. They last longer where
the machine is busy; the processor's time of a step, mean of 160, does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.result import Line, Result, median
from quilt_log import silence
from tests.support.browser import chromium, visit
from tests.support.ui_mesh import UiMesh
from tests.support.ui_served import served

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "The page of 5,000 nodes"
NODES = 5000
VISITS = 5


def measure(bench: Bench) -> Result:
    silence()
    mesh = UiMesh(NODES)
    mesh.down("node-4321")
    mesh.fail("node-1", "node-3")
    views, longest, busy, elements = [], [], [], 0
    with served(mesh) as here, chromium() as browser:
        for _ in range(2 if bench.quick else VISITS):
            with visit(browser, here.server.url) as found:
                views.append(found.first_view())
                scrolled = found.scrolled()
                longest.append(max(scrolled.tasks, default=0.0))
                busy.append(scrolled.busy)
                elements = found.page.locator("*").count()
    return Result(
        lines=[
            Line(what="first view", value=round(median(views)), unit="ms", target=2000),
            Line(what="first view, the slowest", value=round(max(views)), unit="ms", target=2000),
            Line(what="longest task while scrolling", value=round(max(longest)), unit="ms", target=200),
            Line(what="processor for one step of scrolling", value=round(median(busy), 1), unit="ms"),
            Line(what="elements of the page", value=elements, unit=""),
        ]
    )
