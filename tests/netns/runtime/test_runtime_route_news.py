"""What another program does to routes and nexthop objects is taken in as told: a dump shows the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import AF_INET6

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quilt_netlink import Create, Delete, Failure, Kernel, Link, Nexthop, Op, Put, Route, Vxlan
from quilt_netlink.channel import Consumer
from quilt_netlink.namespaces import socket_in
from quilt_runtime.core.routes import Tables
from quilt_runtime.kernel import routeview
from quilt_runtime.kernel.routes import Asked, RouteExecutor, Terms
from quilt_runtime.kernel.routeview import RouteView

from .conftest import Namespace

PREFIXES = st.sampled_from([f"10.43.{n}.0/24" for n in range(4)])
IDS = st.integers(1, 4)
OPS = st.one_of(
    st.builds(lambda n, gateway: Put(Nexthop(n, 0, f"10.42.{gateway}.0")), IDS, IDS),
    st.builds(lambda n: Delete(Nexthop(n, 0)), IDS),
    st.builds(lambda prefix, n: Put(Route(prefix, 81, nhid=n)), PREFIXES, IDS),
    st.builds(lambda prefix, n: Create(Route(prefix, 4, nhid=n, metric=7)), PREFIXES, IDS),
    st.builds(lambda prefix: Put(Route(prefix, 4, ifindex=-1, scope=253)), PREFIXES),
    st.builds(lambda prefix, n: Delete(Route(prefix, n)), PREFIXES, st.sampled_from([81, 4])),
)


@pytest.fixture
def view(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[RouteView]:
    """A view whose sockets are in the namespace."""
    path = str(Path("/run/netns") / netns.name)

    class Sockets:
        """`socket`, but in there."""

        def __getattr__(self, name: str) -> object:
            return getattr(routeview_socket, name)

        def socket(self, _family: int, kind: int, _protocol: int) -> object:
            sock = socket_in(path)
            sock.setblocking(not kind & routeview_socket.SOCK_NONBLOCK)
            return sock

    routeview_socket = routeview.socket
    monkeypatch.setattr(routeview, "socket", Sockets())
    made = RouteView()
    yield made
    made.close()


def test_news_and_dump_agree(view: RouteView, netns: Namespace) -> None:
    other = Kernel.open(f"/run/netns/{netns.name}")
    other.run(Create(Link("vxlan100", kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "127.0.0.1"))))
    link = other.link("vxlan100")
    assert link is not None
    index = link.index
    counted = {"kept": 0, "read": 0}

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.lists(OPS, max_size=12))
    def agree(ops: list[Op]) -> None:
        view.tables()
        for op in ops:
            other.apply([_on(op, index)])
            tables, fresh = view.tables()
            counted["read" if fresh else "kept"] += 1
            assert _comparable(tables) == _comparable(Tables(other.routes(), other.nexthops()))

    agree()
    other.close()
    assert counted["kept"] > counted["read"]


def test_a_nexthop_id_taken_this_very_moment_is_left_to_its_owner(
    view: RouteView, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Kernel.open(f"/run/netns/{netns.name}")
    other.run(Create(Link("vxlan100", kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "127.0.0.1"))))
    link = other.link("vxlan100")
    assert link is not None
    foreign: list[Nexthop] = []
    write = view.kernel.apply

    def taken_before(ops: Sequence[Op]) -> list[Failure]:
        """Let another program be faster by one message."""
        wanted = [op.entry for op in ops if isinstance(op, Create) and isinstance(op.entry, Nexthop)]
        if wanted and not foreign:
            foreign.append(Nexthop(wanted[0].id, link.index, "10.42.9.0", 199))
            other.run(Create(foreign[0]))
        return write(ops)

    monkeypatch.setattr(view.kernel, "apply", taken_before)
    executor = RouteExecutor(view)
    asked = [Asked(f"10.42.{n}.0/24", f"10.42.{n}.0", "vxlan100") for n in (2, 3)]
    assert [outcome.error for outcome in executor.apply(asked, [], Terms(81))] == ["", ""]
    assert sorted(executor.held()) == asked
    hops = {nexthop.id: nexthop.gateway for nexthop in other.nexthops()}
    assert hops[foreign[0].id] == "10.42.9.0"
    routes = {route.prefix: hops[route.nhid] for route in other.routes(81)}
    assert routes == {"10.42.2.0/24": "10.42.2.0", "10.42.3.0/24": "10.42.3.0"}
    other.close()


@pytest.mark.kernel
def test_t12_a_deleted_route_is_made_again_where_the_kernel_has_no_ipv6(
    view: RouteView, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """t12: A deleted route is made again on a kernel that answers for IPv6 with its IPv4 routes."""
    other = Kernel.open(f"/run/netns/{netns.name}")
    other.run(Create(Link("vxlan100", kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "127.0.0.1"))))
    dump = view.kernel._channel.dump

    def without_ipv6(message: bytes, consume: Consumer) -> None:
        """Ask for IPv6 as for any family: the same handler answers that is IPv6's where there is none."""
        dump(message[:16] + b"\0" + message[17:] if message[16] == AF_INET6 else message, consume)

    monkeypatch.setattr(view.kernel._channel, "dump", without_ipv6)
    executor = RouteExecutor(view)
    asked = [Asked("10.42.2.0/24", "10.42.2.0", "vxlan100")]
    for _ in range(2):
        assert [outcome.error for outcome in executor.apply(asked, [], Terms(81))] == [""]
        view.forget()
        assert executor.held() == asked
        other.run(Delete(Route("10.42.2.0/24", 81)))
        executor.apply(asked, [], Terms(81))
        assert [route.prefix for route in other.routes(81)] == ["10.42.2.0/24"]
    other.close()


def _on(op: Op, index: int) -> Op:
    entry = op.entry
    if isinstance(entry, Nexthop):
        return type(op)(Nexthop(entry.id, index, entry.gateway))
    if isinstance(entry, Route) and entry.ifindex:
        return type(op)(Route(entry.prefix, entry.protocol, ifindex=index, scope=entry.scope))
    return op


def _comparable(tables: Tables) -> object:
    routes = {prefix: sorted(held, key=repr) for prefix, held in tables.by_prefix.items()}
    users = {number: count for number, count in tables.users.items() if count}
    return routes, tables.nexthops, users
