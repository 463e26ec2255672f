"""The followed cluster: the board says what `quiltctl status` says, and follows what changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from quilt_cli.api.read import snapshot
from quilt_cli.core.board import Changes
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.status import report
from quilt_cli.ui.live import Live
from quilt_cli.ui.pages import ClusterPages
from quilt_crds.names import POD, QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_kube.sync import Client
from tests.support.logs import capture_logs
from tests.support.ui_mesh import UiMesh

PATIENCE = 60.0
Call = Callable[..., None]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


@contextmanager
def followed(mesh: UiMesh) -> Iterator[tuple[Live, Client, Call]]:
    with mesh.api.served_beside() as (access, call):
        client = Client(access, agent="test")
        with closing(Live(client)) as live:
            live.start()
            yield live, client, call


def until(live: Live, true: Callable[[Changes], bool]) -> Changes:
    """Everything, once it is so."""
    version = 0
    while True:
        found = live.changes(version, PATIENCE)
        assert found is not None, "nothing more changes"
        version = found.version
        if true(everything := live.changes(0, PATIENCE) or found):
            return everything


def codes(found: Changes) -> list[str]:
    return [item.code for item in found.overview.findings] if found.overview else []


def test_it_says_what_quiltctl_status_says_and_follows_it() -> None:
    mesh = UiMesh()
    with followed(mesh) as (live, client, call):
        first = until(live, lambda found: found.overview is not None)
        assert first.nodes is not None
        assert [line.row for line in first.nodes.changed.values()] == [*report(snapshot(client)).nodes]
        assert (codes(first), first.events) == ([], None)
        call(mesh.down, "node-2")
        down = until(live, lambda found: "node-down" in codes(found) and found.events is not None)
        assert down.nodes is not None
        assert down.nodes.changed["node-2"].row.phase == "Down"
        assert down.events is not None
        assert [item.reason for item in down.events.changed.values()] == ["PhaseDown"]
        for kind in (QUILTNODE, QUILTSUBNET):
            call(mesh.api.drop, kind, "node-2" if kind is QUILTNODE else "10.42.2.0-24")
        gone = until(live, lambda found: "node-not-in-mesh" in codes(found))
        assert gone.subnets is not None
        assert "10.42.2.0-24" not in gone.subnets.changed


def test_what_may_not_be_read_is_named_and_hides_nothing_else() -> None:
    mesh = UiMesh()
    mesh.api.absent = {POD.path(), "/api/v1/events"}
    with followed(mesh) as (live, _, _call):
        found = until(live, lambda found: found.overview is not None)
        assert found.overview is not None
        assert sorted(found.overview.unreadable) == ["events", "pods"]
        assert found.overview.up == 3


def test_a_cluster_without_the_mesh_is_one_and_an_install_is_followed() -> None:
    mesh = UiMesh()
    mesh.api.absent = {kind.path() for kind in (QUILTNETWORK, QUILTNODE, QUILTSUBNET)}
    with followed(mesh) as (live, _, _call):
        assert codes(until(live, lambda found: found.overview is not None)) == ["not-installed"]
        mesh.api.absent.clear()
        until(live, lambda found: found.overview is not None and found.overview.up == 3)


def test_an_api_server_that_is_gone_is_named_and_what_was_known_stays() -> None:
    mesh = UiMesh()
    with followed(mesh) as (live, _, call):
        until(live, lambda found: found.overview is not None)
        # Whatever is asked from now on does not exist.
        mesh.api.absent = {"/api"}
        call(mesh.api.end_watches)
        found = until(live, lambda found: found.overview is not None and len(found.overview.silent) == 8)
        assert found.overview is not None
        assert found.overview.up == 3


def test_nodes_are_looked_at_from_within_and_asked_once_for_what_they_measured() -> None:
    mesh = UiMesh()
    mesh.fail("node-1", "node-3")
    with followed(mesh) as (live, client, _call):
        until(live, lambda found: found.overview is not None)
        pages = ClusterPages(client, live)
        assert [item.about for item in pages.latency("").findings] == ["node-1 → node-3"]
        asked = len(mesh.api.asked)
        assert len(pages.latency("").nodes) == 3
        assert len(mesh.api.asked) == asked
        found = pages.node("node-1")
        assert [item.code for item in found.checks] == ["kernel", "mtu", "forward"]
        assert found.line.findings[0].code == "paths-failing"
        assert [(peer.node, peer.well) for peer in found.peers] == [("node-3", False), ("node-2", True)]
        with pytest.raises(CannotTellError, match="no node x"):
            pages.node("x")
        mesh.api.execute = lambda pod, command: b"no JSON"
        assert sorted(pages.node("node-1").blind) == ["checks", "entries of peers"]
