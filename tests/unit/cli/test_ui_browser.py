"""The pages in a real browser: what they show, that nothing leaves the machine, that all can use them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from quilt_cli.commands.ui import shown
from tests.support.browser import PATIENCE, Scheme, Visit, chromium, visit
from tests.support.cli_fakeapi import FakeApi
from tests.support.commands import QUILTCTL
from tests.support.logs import capture_logs
from tests.support.ui_mesh import UiMesh
from tests.support.ui_served import Served, served

expect.set_options(timeout=PATIENCE)
PAGES = ("nodes", "subnets", "latency", "events", "node/node-1")
MANY = 5000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


def troubled() -> UiMesh:
    """A mesh with a Down node, a failing pair and a subnet in quarantine."""
    mesh = UiMesh()
    mesh.down("node-2")
    mesh.fail("node-1", "node-3")
    mesh.release(9)
    return mesh


@pytest.fixture(scope="module")
def troubles() -> Iterator[Served]:
    with served(troubled()) as found:
        yield found


@pytest.fixture(scope="module")
def many() -> Iterator[Served]:
    mesh = UiMesh(MANY)
    mesh.down("node-4321")
    mesh.fail("node-1", "node-3")
    with served(mesh) as found:
        yield found


def row(page: Page, name: str) -> list[str]:
    return page.locator(f"tr:has(a:text-is('{name}'))").first.inner_text().split()


def is_clean(found: Visit) -> bool:
    """Whether a visit asked nobody else, and the browser had nothing to complain of."""
    assert found.asked
    assert not found.elsewhere
    assert not found.complaints
    return True


def drawn(page: Page, folder: Path) -> bool:
    """Whether a picture of the page has something on it, and all is within the window or scrolled there."""
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= innerWidth && {root}.scrollHeight <= innerHeight")
    picture = folder / "page.png"
    page.screenshot(path=picture)
    with Image.open(picture) as image:
        return image.convert("RGB").getcolors(32) is None


def test_a_healthy_mesh(browser: Browser, tmp_path: Path) -> None:
    with served(UiMesh()) as mesh, visit(browser, mesh.server.url) as found:
        page = found.page
        expect(page.get_by_text("Nothing is wrong: 3 nodes.")).to_be_visible()
        expect(page.get_by_text("3 of 3 Up")).to_be_visible()
        assert row(page, "node-2")[:4] == ["node-2", "Up", "10.42.2.0/24", "192.0.2.2"]
        assert "token" not in page.url
        assert drawn(page, tmp_path)
        assert is_clean(found)


def test_what_changes_is_brought_to_a_page_that_is_open(browser: Browser) -> None:
    mesh = UiMesh()
    with served(mesh) as here, visit(browser, here.server.url) as found:
        page = found.page
        expect(page.get_by_text("3 of 3 Up")).to_be_visible()
        page.evaluate("window.same = true")
        here.call(mesh.down, "node-2")
        expect(page.get_by_text("2 of 3 Up")).to_be_visible()
        finding = page.get_by_role("listitem").filter(has_text="routes to this node are withdrawn")
        expect(finding.get_by_text("kubectl describe node node-2", exact=True)).to_be_visible()
        page.get_by_role("link", name="Events").click()
        expect(page.get_by_text("1 Events, the newest first")).to_be_visible()
        here.call(mesh.fail, "node-1", "node-3")
        expect(page.get_by_text("2 Events, the newest first")).to_be_visible()
        expect(page.get_by_role("row").nth(1)).to_contain_text("PathFailing")
        assert page.evaluate("window.same")
        assert is_clean(found)


def test_a_down_node(browser: Browser, troubles: Served, tmp_path: Path) -> None:
    with visit(browser, troubles.server.url) as found:
        page = found.page
        page.get_by_role("link", name="node-2").first.click()
        expect(page.get_by_role("heading", name="node-2", level=1)).to_be_focused()
        expect(page.get_by_text("routes to this node are withdrawn").first).to_be_visible()
        expect(page.get_by_text("As it should be: 2 checks.")).to_be_visible()
        expect(page.get_by_text("All that it should hold because of 2 subnets")).to_be_visible()
        expect(page.get_by_role("table", name="Conditions")).to_contain_text("PeersReachable")
        expect(page.get_by_role("table", name="Events")).to_contain_text("PhaseDown")
        assert page.title() == "node-2 · Quilt Mesh"
        page.goto(troubles.page("subnets"))
        expect(page.get_by_text("1 of a node that is Down")).to_be_visible()
        expect(page.get_by_text("1 quarantined")).to_be_visible()
        expect(page.get_by_text("250 free")).to_be_visible()
        assert drawn(page, tmp_path)
        assert is_clean(found)


def test_a_failing_pair(browser: Browser, troubles: Served, tmp_path: Path) -> None:
    with visit(browser, troubles.server.url) as found:
        page = found.page
        page.get_by_role("link", name="Latency").click()
        expect(page.get_by_role("listitem").filter(has_text="node-1 → node-3")).to_contain_text(
            "does UDP 4789 pass"
        )
        table = page.get_by_role("table", name="Rows send")
        expect(table.get_by_role("row").nth(1)).to_contain_text("lost")
        expect(table.get_by_role("row").nth(3)).not_to_contain_text("lost")
        page.get_by_label("Nodes with").fill("node-3")
        page.keyboard.press("Enter")
        expect(table.get_by_role("row")).to_have_count(2)
        assert drawn(page, tmp_path)
        page.goto(troubles.page("node/node-1"))
        expect(page.get_by_text("For 1 of 1 subnets of peers it holds something else")).to_be_visible()
        expect(page.get_by_role("table", name="Entries of peers")).to_contain_text("should be 192.0.2.3")
        assert is_clean(found)


def test_5000_nodes_are_few_elements_and_every_row_is_reached(
    browser: Browser, many: Served, tmp_path: Path
) -> None:
    """The times are in bench/: on a busy machine they prove nothing."""
    with visit(browser, many.server.url) as found:
        page = found.page
        found.first_view()
        expect(page.get_by_text("4,999 of 5,000 Up")).to_be_visible()
        table = page.get_by_role("table", name="Nodes")
        assert table.get_attribute("aria-rowcount") == "5001"
        assert page.locator("tbody tr").count() < 100
        # The worst are first.
        assert "Down" in page.get_by_role("row").nth(2).inner_text()
        found.scrolled()
        page.keyboard.press("End")
        expect(page.get_by_role("link", name="node-5000")).to_be_visible()
        page.get_by_label("Nodes with").fill("10.80.225.0")
        expect(page.get_by_text("1 of 5,000 nodes")).to_be_visible()
        expect(page.get_by_role("link", name="node-4321").last).to_be_visible()
        assert drawn(page, tmp_path)
        page.goto(many.page("subnets"))
        expect(page.get_by_text("3,190 free")).to_be_visible()
        assert drawn(page, tmp_path)
        assert is_clean(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(browser: Browser, troubles: Served, name: str, scheme: Scheme) -> None:
    with visit(browser, troubles.server.url, scheme) as found:
        page = found.page
        page.goto(troubles.page(name))
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        if name in {"latency", "node/node-1"}:
            expect(page.get_by_text(re.compile("(Read|Looked) at"))).to_be_visible()
        assert found.faults() == []


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_reaches_every_control(browser: Browser, troubles: Served, name: str) -> None:
    with visit(browser, troubles.server.url) as found:
        page = found.page
        page.goto(troubles.page(name))
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        if name in {"latency", "node/node-1"}:
            expect(page.get_by_text(re.compile("(Read|Looked) at"))).to_be_visible()
        assert found.missed_by_keyboard() == []


def test_the_map_is_walked_by_keyboard_and_opens_a_node(browser: Browser, troubles: Served) -> None:
    with visit(browser, troubles.server.url) as found:
        page = found.page
        page.goto(troubles.page("subnets"))
        drawing = page.get_by_role("application", name="Map of 10.42.0.0/16")
        drawing.focus()
        expect(page.get_by_text("10.42.0.0/24: kept back")).to_be_visible()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_text("10.42.1.0/24: node-1, Up")).to_be_visible()
        page.keyboard.press("End")
        expect(page.get_by_text("10.42.255.0/24: kept back")).to_be_visible()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="node-1", level=1)).to_be_focused()


def test_who_has_not_the_token_sees_nothing(browser: Browser, troubles: Served) -> None:
    with visit(browser, troubles.page("nodes")) as found:
        expect(found.page.get_by_text("its token is missing here")).to_be_visible()
        assert "node-1" not in found.page.content()


def test_a_page_of_another_port_gets_nothing(browser: Browser, troubles: Served) -> None:
    """The same site for a browser, which sends the cookie along: CSP there and Sec-Fetch-Site here refuse."""
    with served(UiMesh()) as other, visit(browser, troubles.server.url) as found:
        expect(found.page.get_by_text("2 of 3 Up")).to_be_visible()
        found.page.goto(other.server.url)
        target = f"http://127.0.0.1:{troubles.server.server_port}/api/latency"
        script = (
            f"fetch('{target}', {{credentials: 'include'}}).then((answer) => answer.status, () => 'refused')"
        )
        assert found.page.evaluate(script) == "refused"


def test_a_browser_is_led_to_the_page_by_a_file_that_only_its_owner_reads(
    browser: Browser, troubles: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody on a machine reads the arguments of its programs."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with shown(troubles.server.url), visit(browser, opened[0]) as found:
        expect(found.page.get_by_text("Live", exact=True)).to_be_visible()
        file = Path(opened[0].removeprefix("file://"))
        assert troubles.server.guard.token in file.read_text()
        assert file.parent.stat().st_mode & 0o777 == 0o700
    assert troubles.server.guard.token not in opened[0]
    assert not file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted_and_the_page_says_that_it_ended(
    browser: Browser, tmp_path: Path, number: signal.Signals
) -> None:
    with UiMesh().api.served_beside() as (access, _):
        config = FakeApi(access.server).kubeconfig(tmp_path)
        command = [QUILTCTL, "ui", "--no-browser", "-o", "json", "--kubeconfig", str(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
            assert serving.stdout is not None
            try:
                url = json.loads(serving.stdout.readline())["url"]
                with visit(browser, url) as found:
                    expect(found.page.get_by_text("3 of 3 Up")).to_be_visible()
                    expect(found.page.locator("#context")).to_have_text("x")
                    serving.send_signal(number)
                    expect(found.page.get_by_text("quiltctl ui does not answer")).to_be_visible()
                assert serving.wait(60) == 0
                assert serving.stdout.read() == ""
            finally:
                serving.kill()
