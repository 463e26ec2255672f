"""Debian's Chromium, driven by Playwright: what a page asks for, what it complains of, how it keeps up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from quilt_devcluster.hostpackages import BROWSER, install_missing

Scheme = Literal["light", "dark"]
# Milliseconds: how long something may take to appear on a busy machine. Figures are in bench/.
PATIENCE = 60_000
# Turns of the wheel from end to end.
_STEPS = 80
# Before any script of the page: when its first row is there, and what keeps it from answering.
_WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries()))
  .observe({ type: "longtask", buffered: true });
new MutationObserver((_, observer) => {
  if (document.querySelector("table.rows tbody a")) {
    requestAnimationFrame(() => setTimeout(() => { window.firstRow = performance.now(); }));
    observer.disconnect();
  }
}).observe(document, { subtree: true, childList: true });
"""
_FIRST_ROW = """
() => new Promise((known) => {
  const look = () => (window.firstRow ? known(window.firstRow) : requestAnimationFrame(look));
  look();
})
"""
_CONTROLS = """
() => {
  const found = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
    .filter((one) => !one.disabled && one.checkVisibility());
  found.forEach((one) => { one.reached = false; });
  document.addEventListener("focusin", (event) => { event.target.reached = true; });
  window.controls = found;
  return found.length;
}
"""
_MISSED = "() => controls.filter((one) => one.isConnected && !one.reached).map((one) => one.outerHTML)"


@dataclass(frozen=True, slots=True)
class Scrolled:
    """What scrolling took: `tasks` of more than 50 ms, and what each step kept the processor busy, in ms."""

    tasks: list[float]
    busy: float


@dataclass
class Visit:
    """A page that is open; `asked` are the addresses that it asked for, `complaints` its console."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> list[str]:
        """Requests that are not for this machine."""
        return [url for url in self.asked if urlsplit(url).hostname != "127.0.0.1"]

    def faults(self) -> list[str]:
        """What axe-core finds that is serious or critical, with what it is about."""
        self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
        found = self.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        return [
            f"{item['id']} ({item['impact']}): {', '.join(node['html'] for node in item['nodes'])}"
            for item in found["violations"]
            if item["impact"] in {"serious", "critical"}
        ]

    def missed_by_keyboard(self) -> list[str]:
        """Controls to which no number of presses of the tab key comes."""
        presses = self.page.evaluate(_CONTROLS) + 20
        for _ in range(presses):
            self.page.keyboard.press("Tab")
        missed: list[str] = self.page.evaluate(_MISSED)
        return missed

    def first_view(self) -> float:
        """Milliseconds from the beginning of the visit until rows are shown."""
        return float(self.page.evaluate(_FIRST_ROW))

    def scrolled(self) -> Scrolled:
        """Scroll the table to its end and back, by wheel and by keys."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable")
        begun, busy = self.page.evaluate("performance.now()"), _busy(session)
        table = self.page.locator(".scrolled")
        table.hover()
        for way in (3000, -3000):
            for _ in range(_STEPS):
                self.page.mouse.wheel(0, way)
                self.page.evaluate("() => new Promise(requestAnimationFrame)")
        table.focus()
        for key in ("End", "PageUp", "PageUp", "Home", "PageDown"):
            self.page.keyboard.press(key)
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        ran = "(begun) => longTasks.filter((task) => task.startTime >= begun).map((task) => task.duration)"
        return Scrolled(self.page.evaluate(ran, begun), 1000 * (_busy(session) - busy) / (2 * _STEPS))


def _busy(session: CDPSession) -> float:
    """Seconds of the processor that a page's own thread had since the session began."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(item["value"] for item in metrics if item["name"] == "ThreadTime"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; the first time it is installed."""
    install_missing(print, BROWSER)
    flags = [
        # Chromium refuses to run as root with its sandbox; what it opens here is our own.
        "--no-sandbox",
        "--disable-gpu",
        # Not /dev/shm, which is small in a container.
        "--disable-dev-shm-usage",
    ]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=flags, timeout=PATIENCE)
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, url: str, scheme: Scheme = "light") -> Iterator[Visit]:
    """Open a page, as somebody who prefers it light or dark."""
    size: Any = {"width": 1280, "height": 900}
    context = browser.new_context(color_scheme=scheme, viewport=size)
    context.set_default_timeout(PATIENCE)
    context.add_init_script(_WATCH)
    page = context.new_page()
    found = Visit(page)
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.goto(url)
    yield found
    context.close()
