"""Where a route over a nexthop object leads: its number tells, but for those of which it does not."""

from __future__ import annotations

import pytest

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import Create, Link, Nexthop, Put, Route
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.overlay import Hop
from quilt_nodeagent.kernel.observe import RouteReader
from quilt_runtime.core.routes import preferred_id

PREFIX, GATEWAY = "10.42.2.0/24", "10.42.2.0"
NUMBER = preferred_id(GATEWAY)


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel([Link("vxlan100", kind="veth", up=True), Link("eth0", kind="veth", up=True)])


def made(
    kernel: FakeKernel, number: int, device: str, gateway: str, protocol: int = MESH_PROTOCOL
) -> Nexthop:
    link = kernel.link(device)
    assert link is not None
    nexthop = Nexthop(number, link.index, gateway, protocol)
    kernel.run(Create(nexthop))
    kernel.run(Put(Route(PREFIX, MESH_PROTOCOL, nhid=number)))
    return nexthop


@pytest.mark.parametrize(
    ("number", "device", "gateway", "protocol", "kept"),
    [
        (NUMBER, "vxlan100", GATEWAY, MESH_PROTOCOL, False),
        (NUMBER + 1, "vxlan100", GATEWAY, MESH_PROTOCOL, True),
        (NUMBER, "vxlan100", "10.42.9.0", MESH_PROTOCOL, True),
        (NUMBER, "eth0", GATEWAY, MESH_PROTOCOL, True),
        (NUMBER, "vxlan100", GATEWAY, 3, True),
    ],
)
def test_a_route_leads_where_its_nexthop_does(
    kernel: FakeKernel, number: int, device: str, gateway: str, protocol: int, kept: bool
) -> None:
    """One of another program leads nowhere we want; what the number tells is not kept."""
    nexthop = made(kernel, number, device, gateway, protocol)
    hop = Hop(gateway, device) if protocol == MESH_PROTOCOL else Hop("", f"nexthop {number}")
    reader, notified = RouteReader(kernel), RouteReader(kernel)
    assert reader.read() == {PREFIX: hop}
    notified.learn(nexthop)
    assert reader.others == notified.others == ({number: hop} if kept else {})
    assert notified.over(number) == hop


def test_an_object_that_leads_elsewhere_and_back_is_no_longer_kept(kernel: FakeKernel) -> None:
    nexthop = made(kernel, NUMBER, "vxlan100", GATEWAY)
    reader = RouteReader(kernel)
    reader.learn(Nexthop(NUMBER, nexthop.ifindex, "10.42.9.0", MESH_PROTOCOL))
    assert reader.over(NUMBER) == Hop("10.42.9.0", "vxlan100")
    reader.learn(nexthop)
    assert reader.others == {}


def test_the_overlay_may_have_another_name() -> None:
    kernel = FakeKernel([Link("mesh0", kind="veth", up=True)])
    made(kernel, NUMBER, "mesh0", GATEWAY)
    reader = RouteReader(kernel)
    assert reader.read("mesh0") == {PREFIX: Hop(GATEWAY, "mesh0")}
    assert reader.others == {}
    assert reader.read() == {PREFIX: Hop(GATEWAY, "mesh0")}
