"""A kernel before 5.3 has no nexthop objects: routes carry their gateway themselves, and all else holds."""

from __future__ import annotations

import pytest

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import Delete, Link, Put, Route
from quilt_netlink.fake import FakeKernel
from quilt_runtime.core.routes import OURS, Asked, Terms
from quilt_runtime.kernel.routes import RouteExecutor


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel([Link("vxlan100", kind="veth", up=True)], nexthop_objects=False)


def apply(kernel: FakeKernel, *adds: Asked, removes: tuple[str, ...] = ()) -> int:
    """Apply and return how many writes it took."""
    before = kernel.writes
    done = RouteExecutor(kernel).apply(adds, removes, Terms(MESH_PROTOCOL, removable=OURS))
    assert not any(outcome.error for outcome in done)
    return kernel.writes - before


def index(kernel: FakeKernel) -> int:
    link = kernel.link("vxlan100")
    assert link is not None
    return link.index


def test_routes_carry_their_gateway_and_are_not_written_twice(kernel: FakeKernel) -> None:
    device = index(kernel)
    wanted = [Asked(f"10.42.{n}.0/24", f"10.42.{n}.0", "vxlan100") for n in range(2, 50)]
    assert apply(kernel, *wanted) == 48
    held = {route.prefix: route for route in kernel.routes(protocol=MESH_PROTOCOL)}
    assert len(held) == 48
    route = held["10.42.2.0/24"]
    assert (route.gateway, route.ifindex, route.nhid, route.onlink) == ("10.42.2.0", device, 0, True)
    assert apply(kernel, *wanted) == 0


def test_another_gateway_replaces_and_removal_removes(kernel: FakeKernel) -> None:
    apply(kernel, Asked("10.42.2.0/24", "10.42.2.0", "vxlan100"))
    apply(kernel, Asked("10.42.2.0/24", "10.42.7.0", "vxlan100"))
    assert [r.gateway for r in kernel.routes(protocol=MESH_PROTOCOL)] == ["10.42.7.0"]
    apply(kernel, removes=("10.42.2.0/24",))
    assert kernel.routes(protocol=MESH_PROTOCOL) == []


def test_drift_is_repaired_and_foreign_routes_stay(kernel: FakeKernel) -> None:
    device = index(kernel)
    foreign = Route("10.42.9.0/24", 4, ifindex=device, scope=253)
    kernel.run(Put(foreign))
    wanted = Asked("10.42.2.0/24", "10.42.2.0", "vxlan100")
    apply(kernel, wanted)
    kernel.run(Delete(kernel.routes(protocol=MESH_PROTOCOL)[0]))
    assert apply(kernel, wanted) == 1
    assert foreign in kernel.routes()
