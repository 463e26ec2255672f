"""Routes end as asked, whatever is there before, in an order that kernels take, past what is foreign."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quilt_crds.names import INJECTED_PROTOCOL, MESH_PROTOCOL
from quilt_netlink import Create, Delete, Failure, Link, Nexthop, Op, Put, Route
from quilt_netlink.fake import FakeKernel
from quilt_runtime.core.routes import OURS, Asked, Terms, preferred_id
from quilt_runtime.kernel import route_attempt, routes
from quilt_runtime.kernel.routes import RouteExecutor

DEVICES = ["vxlan100", "other0"]
PREFIXES = [f"10.42.{number}.0/24" for number in range(5)]
GATEWAYS = ["", "10.42.1.0", "10.42.2.0"]

asked = st.builds(Asked, st.sampled_from(PREFIXES), st.sampled_from(GATEWAYS), st.sampled_from(DEVICES))
foreign = st.lists(
    st.builds(
        Route, st.sampled_from(PREFIXES), st.just(4), ifindex=st.just(1), metric=st.sampled_from([0, 50])
    ),
    max_size=3,
    unique_by=lambda route: (route.prefix, route.metric),
)
foreign_hops = st.lists(
    st.builds(
        Nexthop,
        st.sampled_from([preferred_id(gateway) for gateway in GATEWAYS[1:]]),
        st.just(1),
        protocol=st.just(99),
    ),
    unique_by=lambda hop: hop.id,
    max_size=2,
)
steps = st.lists(
    st.tuples(st.booleans(), asked, st.sampled_from([MESH_PROTOCOL, INJECTED_PROTOCOL])), max_size=12
)


def kernel_with(routes: list[Route], hops: list[Nexthop]) -> FakeKernel:
    """A kernel of two devices and what other programs have made; the first one is theirs, too."""
    kernel = FakeKernel([Link(name, kind="veth", up=True) for name in DEVICES])
    index = kernel.link(DEVICES[0]).index  # type: ignore[union-attr]
    assert kernel.apply([Put(_on(route, index)) for route in routes]) == []
    assert kernel.apply([Create(Nexthop(hop.id, index, hop.gateway, hop.protocol)) for hop in hops]) == []
    return kernel


def _on(route: Route, index: int) -> Route:
    return Route(route.prefix, route.protocol, ifindex=index, scope=253, metric=route.metric)


def held(executor: RouteExecutor) -> dict[str, Asked]:
    return {route.destination: route for protocol in OURS for route in executor.held(protocol)}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(foreign, foreign_hops, steps)
def test_any_sequence_ends_where_it_should(
    others: list[Route], hops: list[Nexthop], sequence: list[tuple[bool, Asked, int]]
) -> None:
    kernel = kernel_with(others, hops)
    foreign_routes, foreign_nexthops = kernel.routes(protocol=4), kernel.nexthops(protocol=99)
    executor = RouteExecutor(kernel)
    expected: dict[str, Asked] = {}
    foreign_prefixes = {route.prefix for route in others}
    for add, want, protocol in sequence:
        terms = Terms(protocol, removable=OURS)
        (done,) = executor.apply([want] if add else [], [] if add else [want.destination], terms)
        assert bool(done.error) == (want.destination in foreign_prefixes), done
        if not done.error:
            expected.pop(want.destination, None)
            if add:
                expected[want.destination] = want
    assert held(executor) == expected
    assert kernel.routes(protocol=4) == foreign_routes
    assert kernel.nexthops(protocol=99) == foreign_nexthops
    executor.remove_unused()
    used = {route.nhid for route in kernel.routes()}
    assert {hop.id for hop in kernel.nexthops(protocol=MESH_PROTOCOL)} <= used


@settings(deadline=None)
@given(st.lists(asked, max_size=8, unique_by=lambda want: want.destination))
def test_the_same_again_writes_nothing(wants: list[Asked]) -> None:
    kernel = kernel_with([], [])
    executor = RouteExecutor(kernel)
    for _ in range(2):
        writes = kernel.writes
        assert not any(done.error for done in executor.apply(wants, [], Terms(MESH_PROTOCOL)))
    assert kernel.writes == writes


def test_t12_a_route_that_is_notified_twice_is_removed_once() -> None:
    """t12: A route that was notified more than once is one route, and is gone once it is removed."""

    class Twice(FakeKernel):
        def routes(
            self,
            protocol: int = 0,
            table: int = 254,
            ifindex: int = 0,
            *,
            but: frozenset[int] = frozenset(),
        ) -> list[Route]:
            return super().routes(protocol, table, ifindex, but=but) * 2

    kernel = Twice([Link(name, kind="veth", up=True) for name in DEVICES])
    executor = RouteExecutor(kernel)
    prefixes = [f"10.43.{number}.0/24" for number in range(route_attempt.FEW + 1)]
    wants = [Asked(prefix, prefix.partition("/")[0], "vxlan100") for prefix in prefixes]
    terms = Terms(MESH_PROTOCOL, removable=OURS)
    assert not any(done.error for done in executor.apply(wants, [], terms))
    assert not any(done.error for done in executor.apply([], prefixes, terms))
    executor.remove_unused()
    assert kernel.routes() == kernel.nexthops() == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(foreign, foreign_hops, st.lists(asked, min_size=1, max_size=4))
def test_what_is_looked_up_one_by_one_is_what_a_whole_table_shows(
    monkeypatch: pytest.MonkeyPatch, others: list[Route], hops: list[Nexthop], wants: list[Asked]
) -> None:
    found = []
    for few in (route_attempt.FEW, 0):
        kernel = kernel_with(others, hops)
        executor = RouteExecutor(kernel)
        with monkeypatch.context() as patch:
            patch.setattr(route_attempt, "FEW", few)
            done = executor.apply(wants, [], Terms(MESH_PROTOCOL))
        found.append((done, held(executor), kernel.nexthops()))
    assert found[0] == found[1]


def test_leftover_nexthops_are_garbage_once_found() -> None:
    kernel = kernel_with([], [Nexthop(5, 0, "10.42.9.0", MESH_PROTOCOL)])
    executor = RouteExecutor(kernel)
    executor.apply([Asked(PREFIXES[2], "10.42.2.0", "vxlan100")], [], Terms(MESH_PROTOCOL))
    executor.apply([], [PREFIXES[2]], Terms(MESH_PROTOCOL, removable=OURS))
    executor.remove_unused()
    assert kernel.nexthops() == []


def test_a_change_of_one_route_reads_no_table() -> None:
    dumped: list[str] = []

    class Counting(FakeKernel):
        def nexthops(self, protocol: int = 0, ifindex: int = 0) -> list[Nexthop]:
            dumped.append("nexthops")
            return super().nexthops(protocol, ifindex)

        def nexthop(self, number: int) -> Nexthop | None:
            return next((entry for entry in super().nexthops() if entry.id == number), None)

    kernel = Counting([Link(name, kind="veth", up=True) for name in DEVICES])
    executor = RouteExecutor(kernel)
    want = Asked(PREFIXES[2], "10.42.2.0", "vxlan100")
    executor.apply([want], [], Terms(MESH_PROTOCOL))
    dumped.clear()
    executor.apply([], [PREFIXES[2]], Terms(MESH_PROTOCOL, removable=OURS))
    (again,) = executor.apply([want], [], Terms(MESH_PROTOCOL))
    assert again.changed
    assert dumped == []
    executor.remove_unused()
    assert len(kernel.nexthops()) == 1


def test_unused_nexthops_wait_until_calls_cease_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "TIDY_S", 3600.0)
    kernel = kernel_with([], [])
    executor = RouteExecutor(kernel)
    executor.apply([Asked(PREFIXES[2], "10.42.2.0", "vxlan100")], [], Terms(MESH_PROTOCOL))
    executor.apply([], [PREFIXES[2]], Terms(MESH_PROTOCOL, removable=OURS))
    executor._tidy(at_last=math.inf)
    assert len(kernel.nexthops()) == 1
    executor._tidy(at_last=0.0)
    assert kernel.nexthops() == []
    executor.apply([Asked(PREFIXES[2], "10.42.2.0", "vxlan100")], [], Terms(MESH_PROTOCOL))
    executor.apply([], [PREFIXES[2]], Terms(MESH_PROTOCOL, removable=OURS))
    monkeypatch.setattr(routes, "TIDY_S", 0.0)
    executor._tidy(at_last=math.inf)
    assert kernel.nexthops() == []


def test_a_nexthop_led_elsewhere_by_others_costs_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_with([], [])
    executor = RouteExecutor(kernel)
    want = Asked(PREFIXES[2], "10.42.2.0", "vxlan100")
    executor.apply([want], [], Terms(MESH_PROTOCOL))
    (hop,) = kernel.nexthops()
    kernel.run(Put(Nexthop(hop.id, hop.ifindex, "10.42.250.0", MESH_PROTOCOL)))
    numbers = []

    def nexthop(number: int) -> Nexthop | None:
        numbers.append(number)
        return FakeKernel.nexthop(kernel, number)

    monkeypatch.setattr(kernel, "nexthop", nexthop)
    (done,) = executor.apply([want], [], Terms(MESH_PROTOCOL))
    assert done.changed
    assert executor.held() == [want]
    assert numbers == [hop.id, hop.id + 1]


def test_the_nexthop_of_a_route_that_is_there_is_not_made_in_vain() -> None:
    asked: list[Op] = []

    class Noting(FakeKernel):
        def apply(self, ops: Sequence[Op]) -> list[Failure]:
            asked.extend(ops)
            return super().apply(ops)

    executor = RouteExecutor(Noting([Link(name, kind="veth", up=True) for name in DEVICES]))
    want = Asked(PREFIXES[2], "10.42.2.0", "vxlan100")
    executor.apply([want], [], Terms(MESH_PROTOCOL))
    assert [type(op.entry) for op in asked] == [Nexthop, Route]
    (again,) = executor.apply([want], [], Terms(MESH_PROTOCOL))
    assert not again.changed
    assert len(asked) == 2
    # Over the other device it is another one, under the next id.
    executor.apply([want._replace(interface="other0")], [], Terms(MESH_PROTOCOL))
    assert executor.held() == [want._replace(interface="other0")]


def test_one_gateway_is_one_nexthop_for_many_routes() -> None:
    kernel = kernel_with([], [])
    wants = [Asked(prefix, "10.42.1.0", "vxlan100") for prefix in PREFIXES]
    RouteExecutor(kernel).apply(wants, [], Terms(MESH_PROTOCOL))
    index = kernel.link("vxlan100").index  # type: ignore[union-attr]
    assert kernel.nexthops() == [Nexthop(0x0A2A0100, index, "10.42.1.0", MESH_PROTOCOL)]
    assert len(kernel.routes(protocol=MESH_PROTOCOL)) == len(PREFIXES)


def test_nexthop_ids_of_ipv6_peers_differ_without_a_search_and_are_nobodys_low_numbers() -> None:
    ids = [preferred_id(f"fd42:42:0:{number:x}::") for number in range(1, 5001)]
    assert len(set(ids)) == 5000
    assert min(ids) >= 1 << 30


@pytest.mark.parametrize("count", [1, route_attempt.FEW + 1])
def test_many_are_added_without_reading_the_meshs_and_no_foreign_one_is_touched(count: int) -> None:
    kernel = FakeKernel([Link(name, kind="veth", up=True) for name in DEVICES])
    executor = RouteExecutor(kernel)
    prefixes = [f"10.43.{number}.0/24" for number in range(count)]
    wants = [Asked(prefix, prefix.partition("/")[0], "vxlan100") for prefix in prefixes]
    foreign = Route(prefixes[-1], 4, ifindex=wanted_index(kernel), metric=100)
    kernel.run(Put(foreign))
    terms = Terms(MESH_PROTOCOL, removable=OURS)
    for _ in range(2):
        *fine, refused = executor.apply(wants, [], terms)
        assert not any(done.error for done in fine)
        assert "does not belong to the mesh" in refused.error
    assert kernel.routes(but=OURS) == [foreign]
    assert len(kernel.routes(MESH_PROTOCOL)) == count - 1


def wanted_index(kernel: FakeKernel) -> int:
    link = kernel.link("vxlan100")
    assert link is not None
    return link.index


def test_a_next_hop_that_cannot_be_removed_fails_no_route() -> None:
    class Refusing(FakeKernel):
        def apply(self, ops: Sequence[Op]) -> list[Failure]:
            kept = [op for op in ops if isinstance(op, Delete) and isinstance(op.entry, Nexthop)]
            return [Failure(at, op, 1, "Not permitted") for at, op in enumerate(kept)] or super().apply(ops)

    kernel = Refusing([Link(name, kind="veth", up=True) for name in DEVICES])
    executor = RouteExecutor(kernel)
    executor.apply([Asked(PREFIXES[2], "10.42.2.0", "vxlan100")], [], Terms(MESH_PROTOCOL))
    (done,) = executor.apply([], [PREFIXES[2]], Terms(MESH_PROTOCOL, removable=OURS))
    assert done.changed
    assert not done.error
    executor.remove_unused()
    assert kernel.routes() == []
    assert len(kernel.nexthops()) == 1
