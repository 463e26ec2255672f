"""What another program does to routes and next hop objects between two calls is met: none is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from socket import AF_INET6

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quilt_netlink import Create, Delete, Failure, Kernel, Link, Nexthop, Op, Put, Route, Vxlan
from quilt_netlink.channel import Consumer
from quilt_runtime.core.routes import OURS, Asked, Terms
from quilt_runtime.kernel.routes import RouteExecutor
from tests.support.namespaces import Namespace

MESH = Terms(81, removable=OURS)
PREFIXES = st.sampled_from([f"10.43.{n}.0/24" for n in range(4)])
IDS = st.integers(1, 4)
OPS = st.one_of(
    st.builds(lambda n, gateway: Put(Nexthop(n, 0, f"10.42.{gateway}.0", 81)), IDS, IDS),
    st.builds(lambda n: Delete(Nexthop(n, 0, "", 81)), IDS),
    st.builds(lambda prefix, n: Put(Route(prefix, 81, nhid=n)), PREFIXES, IDS),
    st.builds(lambda prefix, n: Create(Route(prefix, 4, nhid=n, metric=7)), PREFIXES, IDS),
    st.builds(lambda prefix: Put(Route(prefix, 4, ifindex=-1, scope=253)), PREFIXES),
    st.builds(lambda prefix, n: Delete(Route(prefix, n)), PREFIXES, st.sampled_from([81, 4])),
)
ASKED = st.builds(lambda p, n: Asked(p, f"10.42.{n}.0", "vxlan100"), PREFIXES, IDS)


@pytest.fixture
def own(netns: Namespace) -> Iterator[Kernel]:
    """The runtime's kernel, with the overlay's device."""
    with Kernel.open(f"/run/netns/{netns.name}") as kernel:
        kernel.run(Create(Link("vxlan100", kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "127.0.0.1"))))
        yield kernel


@pytest.fixture
def other(own: Kernel, netns: Namespace) -> Iterator[Kernel]:
    """The kernel as another program works on it."""
    with Kernel.open(f"/run/netns/{netns.name}") as kernel:
        yield kernel


def device(kernel: Kernel) -> int:
    link = kernel.link("vxlan100")
    assert link is not None
    return link.index


def test_whatever_others_did_a_route_ends_as_asked_or_is_refused_for_theirs(
    own: Kernel, other: Kernel
) -> None:
    executor, index = RouteExecutor(own), device(other)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.lists(st.tuples(st.lists(OPS, max_size=4), ASKED), max_size=4))
    def met(rounds: list[tuple[list[Op], Asked]]) -> None:
        for ops, asked in rounds:
            other.apply([_on(op, index) for op in ops])
            there = [route for route in other.routes() if route.prefix == asked.destination]
            counts = min(there, key=lambda route: route.metric, default=None)
            (outcome,) = executor.apply([asked], [], MESH)
            if counts is not None and counts.protocol == 4:
                assert "does not belong to the mesh" in outcome.error
                assert [route for route in other.routes() if route.prefix == asked.destination] == there
            else:
                assert not outcome.error
                assert asked in executor.held()

    met()


def test_a_nexthop_id_taken_this_very_moment_is_left_to_its_owner(
    own: Kernel, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign: list[Nexthop] = []
    write = own.apply

    def taken_before(ops: Sequence[Op]) -> list[Failure]:
        """Let another program be faster by one message."""
        wanted = [op.entry for op in ops if isinstance(op, Create) and isinstance(op.entry, Nexthop)]
        if wanted and not foreign:
            foreign.append(Nexthop(wanted[0].id, device(other), "10.42.9.0", 199))
            other.run(Create(foreign[0]))
        return write(ops)

    monkeypatch.setattr(own, "apply", taken_before)
    executor = RouteExecutor(own)
    asked = [Asked(f"10.42.{n}.0/24", f"10.42.{n}.0", "vxlan100") for n in (2, 3)]
    assert [outcome.error for outcome in executor.apply(asked, [], MESH)] == ["", ""]
    assert sorted(executor.held()) == asked
    hops = {nexthop.id: nexthop.gateway for nexthop in other.nexthops()}
    assert hops[foreign[0].id] == "10.42.9.0"
    routes = {route.prefix: hops[route.nhid] for route in other.routes(81)}
    assert routes == {"10.42.2.0/24": "10.42.2.0", "10.42.3.0/24": "10.42.3.0"}


@pytest.mark.kernel
def test_t12_a_deleted_route_is_made_again_where_the_kernel_has_no_ipv6(
    own: Kernel, other: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """t12: A deleted route is made again on a kernel that answers for IPv6 with its IPv4 routes."""
    dump = own._channel.dump

    def without_ipv6(message: bytes, consume: Consumer) -> None:
        """Ask for IPv6 as for any family: the handler that is IPv6's answers for a family without one."""
        dump(message[:16] + b"\0" + message[17:] if message[16] == AF_INET6 else message, consume)

    monkeypatch.setattr(own._channel, "dump", without_ipv6)
    executor = RouteExecutor(own)
    asked = [Asked("10.42.2.0/24", "10.42.2.0", "vxlan100")]
    for _ in range(2):
        assert [outcome.error for outcome in executor.apply(asked, [], MESH)] == [""]
        assert executor.held() == asked
        other.run(Delete(Route("10.42.2.0/24", 81)))
        executor.apply(asked, [], MESH)
        assert [route.prefix for route in other.routes(81)] == ["10.42.2.0/24"]


def test_what_single_look_ups_cannot_tell_is_read_in_full(own: Kernel, other: Kernel) -> None:
    """A route of a longer prefix, or of another table, precedes the one at hand."""
    executor, index = RouteExecutor(own), device(other)
    foreign = Route("10.42.2.0/24", 4, ifindex=index, scope=253, metric=50)
    other.run(Put(foreign))
    other.run(Put(Route("10.42.2.0/25", 4, ifindex=index, scope=253)))
    (outcome,) = executor.apply([Asked("10.42.2.0/24", "10.42.2.0", "vxlan100")], [], MESH)
    assert "does not belong to the mesh" in outcome.error
    assert foreign in other.routes()


def _on(op: Op, index: int) -> Op:
    entry = op.entry
    if isinstance(entry, Nexthop):
        return type(op)(Nexthop(entry.id, index, entry.gateway, entry.protocol))
    if isinstance(entry, Route) and entry.ifindex:
        return type(op)(Route(entry.prefix, entry.protocol, ifindex=index, scope=entry.scope))
    return op
