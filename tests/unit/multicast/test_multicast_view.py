"""What is shown of multicast: names of interfaces and nodes, and nothing while it is off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quilt_multicast.core.forwarding import Forwarding, Topology
from quilt_multicast.core.members import Limits, LocalMembers, RemoteMembers
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE
from quilt_multicast.mroute import FlowCounters
from quilt_multicast.view import TOTALS, GroupInfo, MulticastState, RouteInfo
from quilt_nodeagent.core.peer import make_peer

GROUP, SOURCE = "239.1.1.1", "10.42.1.9"
PEER = make_peer("default", "10.42.2.0/24", "node-2", "Up", "198.18.0.2")


def engine() -> Any:
    """Two pods of this node and one of node-2 are members; a pod here sends."""
    local, remote = LocalMembers(Limits()), RemoteMembers()
    for port in (1, 999999):
        local.join(port, GROUP)
    remote.change(PEER.vtep, [GROUP], ())
    forwarding = Forwarding(local, remote, Limits())
    forwarding.topology = Topology(["10.42.1.0/24"], [PEER])
    forwarding.add(SOURCE, GROUP, POD_SIDE)
    return SimpleNamespace(
        local=local,
        remote=remote,
        forwarding=forwarding,
        dataplane=SimpleNamespace(
            interfaces={POD_SIDE: "quilt0", MESH_SIDE: "vxlan100"},
            counters=lambda: [FlowCounters(SOURCE, GROUP, 7, 99, 0)],
        ),
    )


def test_the_dataplane_is_shown_by_names_of_interfaces() -> None:
    held = engine()
    state = MulticastState(lambda: held)
    assert state.groups() == [GroupInfo(GROUP, "quilt0", ("lo", "#999999"), ("node-2",))]
    assert state.routes() == [
        RouteInfo(GROUP, SOURCE, "quilt0", ("vxlan100",), ("198.18.0.2",), packets=7, bytes=99)
    ]
    assert list(state.counters().values()) == [1, 1, 1, 1, 1, 7, 99]
    assert state.traffic() == (7, 99)


def test_nothing_is_shown_while_multicast_is_off() -> None:
    state = MulticastState()
    assert (state.groups(), state.routes(), state.traffic()) == ([], [], (0, 0))
    assert state.counters() == dict.fromkeys(TOTALS, 0)
