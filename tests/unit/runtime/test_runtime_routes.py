"""The plan leads from what the kernel holds to what is asked for, in a safe order, past what is foreign."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import Create, Delete, Nexthop, Op, Put, Route
from quilt_runtime.core.routes import (
    OURS,
    PROTOCOL_INJECTED,
    PROTOCOL_MESH,
    Plan,
    Planner,
    Tables,
    Wanted,
    described,
    preferred_id,
)

DEVICE, OTHER_DEVICE = 7, 8
PREFIXES = [f"10.42.{number}.0/24" for number in range(5)]
GATEWAYS = ["", "10.42.1.0", "10.42.2.0"]

wanted = st.builds(
    Wanted, st.sampled_from(PREFIXES), st.sampled_from([DEVICE, OTHER_DEVICE]), st.sampled_from(GATEWAYS)
)
foreign = st.builds(
    Route, st.sampled_from(PREFIXES), st.just(4), ifindex=st.just(DEVICE), metric=st.sampled_from([0, 50])
)
mesh = st.builds(Route, st.sampled_from(PREFIXES), st.just(PROTOCOL_MESH), nhid=st.integers(1, 2))
foreign_hops = st.lists(
    st.builds(
        Nexthop,
        st.sampled_from([preferred_id(g) for g in GATEWAYS[1:]]),
        st.just(DEVICE),
        protocol=st.just(99),
    ),
    unique_by=lambda hop: hop.id,
    max_size=2,
)
steps = st.lists(
    st.tuples(st.booleans(), wanted, st.sampled_from([PROTOCOL_MESH, PROTOCOL_INJECTED])), max_size=12
)


class World:
    """A main table and nexthop objects that follow the kernel's rules."""

    def __init__(self, routes: list[Route], nexthops: list[Nexthop]) -> None:
        self.routes = {(route.prefix, route.metric): route for route in routes}
        self.nexthops = {nexthop.id: nexthop for nexthop in nexthops}

    def tables(self) -> Tables:
        return Tables(self.routes.values(), self.nexthops.values())

    def execute(self, plan: Plan) -> None:
        for op in [*plan.nexthops.ops, *plan.routes.ops, *plan.garbage]:
            self._do(op)

    def _do(self, op: Op) -> None:
        entry = op.entry
        if isinstance(entry, Nexthop):
            if isinstance(op, Create):
                assert entry.id not in self.nexthops, "a nexthop id is never reused while it exists"
                self.nexthops[entry.id] = entry
            else:
                assert self.nexthops.pop(entry.id).protocol == PROTOCOL_MESH
                assert entry.id not in {route.nhid for route in self.routes.values()}, (
                    "it would take a route along"
                )
            return
        assert isinstance(entry, Route)
        key = (entry.prefix, entry.metric)
        if isinstance(op, Delete):
            assert self.routes.pop(key).protocol in OURS
            return
        assert not entry.nhid or entry.nhid in self.nexthops, "the nexthop comes before its route"
        assert isinstance(op, Put) == (key in self.routes)
        assert key not in self.routes or self.routes[key].protocol in OURS
        self.routes[key] = entry


@given(st.lists(foreign, max_size=3, unique_by=lambda r: (r.prefix, r.metric)), foreign_hops, steps)
def test_any_sequence_ends_where_it_should(
    others: list[Route], hops: list[Nexthop], sequence: list[tuple[bool, Wanted, int]]
) -> None:
    world = World(others, hops)
    kept = world.tables()
    expected: dict[str, Wanted] = {}
    foreign_prefixes = {route.prefix for route in others}
    for add, want, protocol in sequence:
        planner = Planner(kept, str)
        if add:
            planner.add(0, want, protocol)
        else:
            planner.remove(0, want.prefix, OURS)
        plan = planner.finish()
        assert (0 in plan.refused) == (want.prefix in foreign_prefixes)
        world.execute(plan)
        if want.prefix not in foreign_prefixes:
            expected.pop(want.prefix, None)
            if add:
                expected[want.prefix] = want
    held = {prefix: (via, device) for p in OURS for prefix, via, device in described(world.tables(), p)}
    assert held == {prefix: (want.gateway, want.ifindex) for prefix, want in expected.items()}
    assert set(others) <= set(world.routes.values())
    assert set(hops) <= set(world.nexthops.values())
    used = {route.nhid for route in world.routes.values()}
    assert {hop.id for hop in world.nexthops.values() if hop.protocol == PROTOCOL_MESH} <= used
    assert kept.by_prefix == world.tables().by_prefix, "the tables that are kept say what the kernel says"


@given(st.lists(wanted, max_size=8, unique_by=lambda want: want.prefix))
def test_a_second_plan_is_empty(wants: list[Wanted]) -> None:
    world = World([], [])
    for _ in range(2):
        planner = Planner(world.tables(), str)
        for item, want in enumerate(wants):
            planner.add(item, want, PROTOCOL_MESH)
        plan = planner.finish()
        world.execute(plan)
    assert (plan.nexthops.ops, plan.routes.ops, plan.garbage) == ([], [], [])


@given(st.lists(foreign | mesh, max_size=6), st.data())
def test_t12_tables_hold_no_route_twice(told: list[Route], data: st.DataObject) -> None:
    """t12: A route that was told more than once is held once, and is gone once it is told to be gone."""
    tables = Tables(told, [])
    for held in tables.by_prefix.values():
        assert len(set(held)) == len(held)
    for route in data.draw(st.permutations(sorted(set(told), key=repr))):
        tables.drop(route)
        assert route not in tables.by_prefix.get(route.prefix, ())
    assert (tables.by_prefix, tables.users) == ({}, {})


@given(
    st.lists(foreign, max_size=2, unique_by=lambda r: (r.prefix, r.metric)),
    foreign_hops,
    st.lists(st.tuples(st.sampled_from(PREFIXES), st.sampled_from(GATEWAYS)), min_size=1, max_size=4),
)
def test_what_is_planned_at_once_is_what_is_planned_one_by_one(
    others: list[Route], hops: list[Nexthop], asked: list[tuple[str, str]]
) -> None:
    at_once, one_by_one = (Planner(Tables(others, hops), str) for _ in range(2))
    prefixes, gateways = [prefix for prefix, _ in asked], [gateway for _, gateway in asked]
    if not at_once.add_new(prefixes, gateways, DEVICE, PROTOCOL_MESH):
        assert at_once.finish() == Plan()
        assert at_once._tables.by_prefix == Tables(others, hops).by_prefix
        return
    for item, (prefix, gateway) in enumerate(asked):
        one_by_one.add(item, Wanted(prefix, DEVICE, gateway), PROTOCOL_MESH)
    assert at_once.plan == one_by_one.plan
    for name in ("by_prefix", "hops", "nexthops", "users"):
        assert getattr(at_once._tables, name) == getattr(one_by_one._tables, name), name


def test_leftover_nexthops_are_garbage_once_found() -> None:
    leftover = Nexthop(5, DEVICE, "10.42.9.0", PROTOCOL_MESH)
    tables = Tables([], [leftover])
    plan = Planner(tables, str).finish(also=tables.unused())
    assert plan.garbage == [Delete(leftover)]


def test_one_gateway_is_one_nexthop_for_many_routes() -> None:
    tables = Tables([], [])
    planner = Planner(tables, str)
    for item, prefix in enumerate(PREFIXES):
        planner.add(item, Wanted(prefix, DEVICE, "10.42.1.0"), PROTOCOL_MESH)
    plan = planner.finish()
    assert plan.nexthops.ops == [Create(Nexthop(0x0A2A0100, DEVICE, "10.42.1.0", PROTOCOL_MESH))]


def test_nexthop_ids_of_ipv6_peers_differ_without_a_search_and_are_nobodys_low_numbers() -> None:
    ids = [preferred_id(f"fd42:42:0:{number:x}::") for number in range(1, 5001)]
    assert len(set(ids)) == 5000
    assert min(ids) >= 1 << 30
