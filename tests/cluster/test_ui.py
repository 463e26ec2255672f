"""`quiltctl ui` on the real cluster: its three nodes, looked at from within, and one that fails."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from tests.support.browser import Visit, chromium, visit
from tests.support.commands import QUILTCTL
from tests.support.mesh import Mesh, until

expect.set_options(timeout=120_000)


@pytest.fixture
def opened(mesh: Mesh) -> Iterator[Visit]:
    """A browser that shows the address which the command prints."""
    command = [QUILTCTL, "ui", "--no-browser", "-o", "json", "--kubeconfig", str(mesh.cluster.kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        url = json.loads(serving.stdout.readline())["url"]
        try:
            with chromium() as browser, visit(browser, url) as found:
                yield found
        finally:
            serving.send_signal(signal.SIGINT)
    assert serving.returncode == 0


def apart(call: Callable[[str], object], node: str) -> None:
    """Call in another thread: the browser's driver has the event loop of this one, and pyroute2 needs one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call, node).result()


def test_every_node_is_shown_and_looked_at_from_within(mesh: Mesh, opened: Visit) -> None:
    page, names = opened.page, mesh.nodes()
    expect(page.get_by_text(f"Nothing is wrong: {len(names)} nodes.")).to_be_visible()
    expect(page.get_by_text(f"{len(names)} of {len(names)} Up")).to_be_visible()
    for name in names:
        cidr = mesh.quiltnode(name)["subnets"][0]
        expect(page.get_by_role("row").filter(has_text=cidr)).to_contain_text(name)
    page.get_by_role("link", name=names[0], exact=True).click()
    expect(page.get_by_text("As it should be: ")).to_be_visible()
    expect(page.get_by_text(f"because of {len(names) - 1} subnets of peers is there")).to_be_visible()
    page.get_by_role("link", name="Latency").click()
    expect(page.get_by_text("Read at")).to_be_visible()
    expect(page.get_by_role("table", name="Rows send").get_by_role("row")).to_have_count(len(names) + 1)
    assert not opened.elsewhere
    assert not opened.complaints


def test_a_node_that_fails_is_shown_as_down_and_as_up_when_it_is_back(
    mesh: Mesh, victim: str, opened: Visit
) -> None:
    page, count = opened.page, len(mesh.nodes())
    page.get_by_role("link", name="Nodes").click()
    expect(page.get_by_text(f"{count} of {count} Up")).to_be_visible()
    apart(mesh.cluster.kill_node, victim)
    try:
        expect(page.get_by_text(f"{count - 1} of {count} Up")).to_be_visible()
        finding = page.get_by_role("listitem").filter(has_text="routes to this node are withdrawn")
        expect(finding).to_contain_text(f"kubectl describe node {victim}")
        page.get_by_role("link", name="Events").click()
        expect(page.get_by_role("row").filter(has_text="PhaseDown").first).to_contain_text(victim)
    finally:
        apart(mesh.cluster.start_node, victim)
        until("the node is Up again", lambda: mesh.quiltnode(victim)["phase"] == "Up", timeout=120)
    page.get_by_role("link", name="Nodes").click()
    expect(page.get_by_text(f"{count} of {count} Up")).to_be_visible()
