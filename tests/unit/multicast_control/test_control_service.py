"""The control plane inside the agent: fed from claims and the dataplane, and never the agent's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from quilt_multicast.core.members import Limits, LocalMembers
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE, Forward
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.main import main
from quilt_pim.core.config import ControlConfig
from quilt_pim.core.events import EventType, IgmpMembershipChange, PimRouteChange
from quilt_pim.core.ring import Cursor
from quilt_pim.core.rpf import RpfInfo
from quilt_pim.service import ControlService
from tests.support.control_doubles import Client, eventually
from tests.support.logs import capture_logs


@asynccontextmanager
async def following(table: PeerTable, config: ControlConfig) -> AsyncIterator[ControlService]:
    service = ControlService(config, table, CollectorRegistry())
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def claim(number: int, phase: str = "Up") -> Peer:
    cidr = f"10.42.{number}.0/24"
    return make_peer("default", cidr, f"node-{number}", phase, f"198.18.0.{number}")


def names(service: ControlService) -> list[tuple[str, str, str]]:
    return [(n.interface, n.address, n.source.tag) for n in service.plane.neighbors]


async def test_peers_are_neighbors_while_they_are_up(tmp_path: Path) -> None:
    table = PeerTable("node-1", "vxlan100")
    table.replace([claim(1), claim(2), claim(3)])
    async with following(table, ControlConfig(control_sock="")) as service:
        service.changed()
        await eventually(lambda: len(service.plane.neighbors) == 2)
        assert names(service) == [
            ("vxlan100", "10.42.2.0", "quilt-mesh/node-2"),
            ("vxlan100", "10.42.3.0", "quilt-mesh/node-3"),
        ]
        assert service.plane.upstream("10.42.1.9") == RpfInfo("quilt0", None, 0)
        assert service.plane.upstream("10.42.2.9") == RpfInfo("vxlan100", "10.42.2.0", 1)
        table.upsert(claim(2, "Down"))
        service.changed()
        await eventually(lambda: len(service.plane.neighbors) == 1)
        assert service.plane.upstream("10.42.2.9") is None
        table.remove("10.42.3.0/24")
        service.changed()
        await eventually(lambda: len(service.plane.neighbors) == 0)


async def test_routes_that_are_kept_are_answered_and_their_node_is_no_neighbor() -> None:
    table = PeerTable("node-1", "vxlan100")
    table.follow(replace(table.way, keep_down=True))
    table.replace([claim(1), claim(2, "Down"), claim(3)])
    async with following(table, ControlConfig(control_sock="")) as service:
        service.changed()
        await eventually(lambda: len(service.plane.neighbors) == 1)
        assert service.plane.upstream("10.42.2.9") == RpfInfo("vxlan100", "10.42.2.0", 1)


async def test_while_multicast_is_off_routes_are_answered_and_nobody_is_a_neighbor() -> None:
    table = PeerTable("node-1", "vxlan100")
    table.replace([claim(1), claim(2)])
    service = ControlService(ControlConfig(control_sock=""), table, CollectorRegistry(), lambda: False)
    task = asyncio.create_task(service.run())
    service.changed()
    await asyncio.sleep(0.15)
    assert names(service) == []
    assert service.plane.upstream("10.42.1.9") == RpfInfo("quilt0", None, 0)
    assert service.plane.upstream("10.42.2.9") == RpfInfo("vxlan100", "10.42.2.0", 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_before_the_first_list_nothing_is_published() -> None:
    table = PeerTable("node-1", "vxlan100")
    table.upsert(claim(2))
    async with following(table, ControlConfig(control_sock="")) as service:
        service.changed()
        await asyncio.sleep(0.15)
        assert names(service) == []


async def test_a_path_that_cannot_be_had_is_logged_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    table = PeerTable("node-1", "vxlan100")
    table.replace([claim(2)])
    config = ControlConfig(control_sock=str(tmp_path / "file" / "control.sock"))
    with capture_logs() as logs:
        async with following(table, config) as service:
            service.changed()
            await eventually(lambda: len(service.plane.neighbors) == 1)
            assert not service.plane.serving.is_set()
        assert [entry["event"] for entry in logs].count("control_not_serving") == 1


async def test_a_path_that_becomes_free_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = Immediately()
    monkeypatch.setattr("quilt_pim.service.Backoff", lambda *_: backoff)
    (tmp_path / "run").touch()
    config = ControlConfig(str(tmp_path / "run" / "control.sock"), str(tmp_path / "run" / "rpf.sock"))
    async with following(PeerTable("node-1", "vxlan100"), config) as service:
        await eventually(lambda: backoff.failures)
        (tmp_path / "run").unlink()
        await eventually(service.plane.serving.is_set)
        client = Client(*await asyncio.open_unix_connection(config.control_sock))
        await client.ok("GetConfig")
        await client.close()


class Immediately:
    failures = 0

    def delay(self) -> float:
        self.failures += 1
        return 0.01


def test_members_of_the_bridge_are_published_as_a_router_knows_them() -> None:
    service = ControlService(ControlConfig(), PeerTable("node-1", "vxlan100"), CollectorRegistry())
    cursor = Cursor(service.plane.broadcast.ring, [EventType.IGMP_MEMBERSHIP])
    published, members = [], LocalMembers(Limits())
    for port, joined in ((7, True), (8, True), (7, True), (7, False), (7, False), (8, False)):
        if members.follow(port, "239.1.1.1", joined):
            for _again in range(2):  # As a dataplane that starts again does.
                service.observer.member("239.1.1.1", joined)
        while (event := cursor.read()) is not None:
            assert isinstance(event, IgmpMembershipChange)
            published.append((port, event.interface, event.action))
    assert published == [(7, "quilt0", "Join"), (8, "quilt0", "Leave")]


def test_flows_are_published_as_routes() -> None:
    service = ControlService(ControlConfig(), PeerTable("node-1", "vxlan100"), CollectorRegistry())
    cursor = Cursor(service.plane.broadcast.ring, [EventType.PIM_ROUTE])
    flow = ("10.42.1.9", "239.1.1.1")
    idle, busy = Forward(POD_SIDE), Forward(POD_SIDE, frozenset((MESH_SIDE,)))
    for old, new in ((None, idle), (idle, busy), (busy, busy), (busy, None)):
        service.observer.flow(flow, old, new)
    published = []
    while isinstance(event := cursor.read(), PimRouteChange):
        published.append((event.route_type, event.source, event.group, event.action))
    assert published == [("SG", *flow, action) for action in ("Add", "Update", "Remove")]


def test_what_happened_is_counted() -> None:
    registry = CollectorRegistry()
    ControlService(ControlConfig(), PeerTable("node-1", "vxlan100"), registry)
    text = generate_latest(registry).decode()
    assert 'quilt_multicast_control_total{what="stranger_refused"} 0.0' in text


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--rpf-provider", "kernel"], "rpf_provider: 'kernel' must be"),
        (["--event-buffer-size", "65537"], "1 to 65536 are allowed"),
        (["--rpf-cache-ttl", "-1"], "0 to 86400 are allowed"),
        (["--pim-interface", "a/b"], "is not an interface name"),
        (["--control-sock", "run/control.sock"], "must be an absolute path"),
    ],
)
def test_flags_that_cannot_be_used_stop_the_agent_at_its_start(flags: list[str], error: str) -> None:
    result = CliRunner().invoke(main, ["--node-name", "x", *flags])
    assert result.exit_code == 2
    assert error in result.output
