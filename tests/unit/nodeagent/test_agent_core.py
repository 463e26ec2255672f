"""The pure core: the plan reaches the desired state from any, in an order that misleads no packet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as but

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quilt_crds.names import DOWN, RELEASING, UP
from quilt_nodeagent.core.overlay import Entries, Hop, Mark, Tables, Vxlan, owns_mac
from quilt_nodeagent.core.peer import Peer, make_peer, renewed
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.plan import Plan, make_plan, reachable, without_routed
from quilt_nodeagent.core.underlay import Direct

VXLAN = Vxlan()
NODES = ["a", "b", "c", "d", "self"]
HOSTS = ["198.18.0.1", "198.18.0.2", "198.18.0.3", ""]
CIDRS = [f"10.42.{n}.0/24" for n in range(1, 6)]
MACS = [make_peer("default", "10.42.9.0/24", node, UP, "").mac for node in NODES] + ["0a:00:00:00:00:01"]
VTEPS = [cidr.partition("/")[0] for cidr in CIDRS]

claims = st.builds(
    make_peer,
    st.just("default"),
    st.sampled_from(CIDRS),
    st.sampled_from(NODES),
    st.sampled_from([UP, DOWN, RELEASING]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", "uid-1", "uid-2"]),
)
hops = st.builds(Hop, st.sampled_from([*VTEPS, "198.18.0.254"]), st.sampled_from(["vxlan100", "eth0"]))


def entries(
    neighbours: dict[str, str] | None = None,
    fdb: dict[str, str] | None = None,
    routes: dict[str, Hop] | None = None,
) -> Entries:
    return {"neighbour": neighbours or {}, "fdb": fdb or {}, "route": routes or {}, "unreachable": {}}


kernels = st.builds(
    entries,
    st.dictionaries(st.sampled_from(VTEPS), st.sampled_from(MACS)),
    st.dictionaries(st.sampled_from(MACS), st.sampled_from(HOSTS[:3])),
    st.dictionaries(st.sampled_from(CIDRS), hops),
)
LINKS = [
    Direct("eth0", {}),
    Direct("eth0", {"198.18.0.2/31": True}),
    Direct("eth1", {"198.18.0.0/24": True, "198.18.0.3/32": False}),
]
histories = st.lists(
    st.one_of(
        claims,
        st.sampled_from(CIDRS),
        st.tuples(st.just("deleted"), st.sampled_from(CIDRS)),
        st.lists(claims, max_size=4),
        st.booleans(),
        st.sampled_from(LINKS),
    ),
    max_size=12,
)
Event = Peer | str | tuple[str, str] | list[Peer] | bool | Direct


def live(table: PeerTable, history: list[Event]) -> set[Mark]:
    """Let a table live through upserts, removals, relists, changes of nodeDownPolicy and of the link."""
    marks: set[Mark] = set()
    for event in history:
        match event:
            case Peer():
                marks |= table.upsert(event)
            case str():
                marks |= table.remove(event)
            case bool():
                marks |= table.follow(but(table.way, keep_down=event))
            case Direct():
                marks |= table.follow(but(table.way, direct=event))
            case list():
                marks |= table.replace(event)
            case (_, cidr):
                marks |= table.delete(cidr)
    return marks


def table_of(history: list[Event]) -> PeerTable:
    table = PeerTable("self", "vxlan100")
    live(table, history)
    return table


def tables_of(desired: Entries, kernel: Entries) -> Tables:
    """What an agent holds that wants the one and has read the other."""
    tables = Tables()
    tables.want_all(desired)
    tables.neighbours.observe_all(kernel["neighbour"])
    tables.fdb.observe_all(kernel["fdb"])
    tables.routes.observe_all(kernel["route"])
    return tables


def plan_of(desired: Entries, kernel: Entries) -> Plan:
    return make_plan(tables_of(desired, kernel), VXLAN)


def steps(plan: Plan, state: Entries) -> Iterator[Entries]:
    """Apply a plan as the executor does, one entry at a time, yielding the state after each."""
    for kind, key, value in plan.before:
        state[kind][key] = value
        yield state
    for prefix, hop in plan.routes:
        state["route"][prefix] = hop
        yield state
    for prefix in plan.stale_routes:
        del state["route"][prefix]
        yield state
    for kind, key, _ in plan.after:
        del state[kind][key]
        yield state


def whole(state: Entries) -> set[str]:
    """Prefixes whose route leaves by a link, or rests on a neighbour whose FDB entry exists."""
    return {
        prefix
        for prefix, hop in state["route"].items()
        if hop.device != "vxlan100" or state["neighbour"].get(hop.gateway) in state["fdb"]
    }


@given(history=histories, kernel=kernels)
def test_the_plan_reaches_desired_from_any_state_and_then_nothing_is_left(
    history: list, kernel: Entries
) -> None:
    table = table_of(history)
    for _ in steps(plan_of(table.desired(), kernel), kernel):
        pass
    assert kernel == table.desired()
    assert not plan_of(table.desired(), kernel)


@given(history=histories, kernel=kernels)
def test_no_step_breaks_a_route_that_stood_whole_and_none_is_made_broken(
    history: list, kernel: Entries
) -> None:
    table = table_of(history)
    before = whole(kernel)
    routed = set(kernel["route"])
    for state in steps(plan_of(table.desired(), kernel), kernel):
        assert (before & set(state["route"])) <= whole(state)
        assert (set(state["route"]) - routed) <= whole(state)


@given(first=histories, second=histories)
def test_keys_cover_every_change_so_that_a_targeted_pass_equals_a_full_one(first: list, second: list) -> None:
    table = table_of(first)
    kernel = table.desired()
    tables = tables_of(kernel, kernel)
    tables.want(live(table, second), table.desired_at)
    assert make_plan(tables, VXLAN).marks() == plan_of(table.desired(), kernel).marks()
    for _ in steps(make_plan(tables, VXLAN), kernel):
        pass
    assert kernel == table.desired()


@given(history=histories)
def test_the_indexes_always_agree_with_a_table_built_from_scratch(history: list) -> None:
    table = table_of([False, *history])
    keep = next((event for event in reversed(history) if isinstance(event, bool)), False)
    fresh = PeerTable("self", "vxlan100")
    link = next((event for event in reversed(history) if isinstance(event, Direct)), None)
    fresh.follow(but(fresh.way, keep_down=keep, direct=link))
    fresh.replace(table.claims())
    assert table.desired() == fresh.desired()
    assert table.host_ips() == fresh.host_ips()
    assert table.own == fresh.own


def test_group_and_default_entries_on_our_device_are_foreign() -> None:
    assert all(map(owns_mac, MACS))
    assert not any(map(owns_mac, ("00:00:00:00:00:00", "01:00:5e:00:00:01", "33:33:00:00:00:01")))


def _swapped(a: Peer, b: Peer, what: str) -> list[Peer]:
    """Two claims whose nodes have exchanged subnets (and so MACs behind them), host addresses, or both."""
    if what == "subnets":
        return [replace(a, cidr=b.cidr, vtep=b.vtep), replace(b, cidr=a.cidr, vtep=a.vtep)]
    if what == "hosts":
        return [replace(a, host_ip=b.host_ip), replace(b, host_ip=a.host_ip)]
    return [replace(a, node=b.node, mac=b.mac), replace(b, node=a.node, mac=a.mac)]


@given(
    a=claims,
    b=claims,
    what=st.sampled_from(["subnets", "hosts", "macs"]),
    link=st.sampled_from([None, *LINKS]),
)
def test_two_peers_that_swap_subnets_macs_or_hosts_converge_and_mislead_nobody(
    a: Peer, b: Peer, what: str, link: Direct | None
) -> None:
    table = PeerTable("self", "vxlan100")
    table.follow(but(table.way, direct=link))
    table.replace([a, b])
    kernel = table.desired()
    tables = tables_of(kernel, kernel)
    tables.want(table.replace(_swapped(a, b, what)), table.desired_at)
    for state in steps(make_plan(tables, VXLAN), kernel):
        assert set(state["route"]) == whole(state)
    assert kernel == table.desired()
    assert not plan_of(table.desired(), kernel)


def test_row_7_a_stale_entry_with_the_mac_of_a_wanted_one_is_removed_alone() -> None:
    """Two neighbour entries with one MAC: deleting the stale one must not delete the wanted one."""
    table = PeerTable("self", "vxlan100")
    peer = make_peer("default", "10.42.1.0/24", "a", UP, "198.18.0.1")
    table.replace([peer])
    kernel = table.desired()
    kernel["neighbour"]["10.42.5.0"] = peer.mac
    assert plan_of(table.desired(), kernel) == Plan(after=(("neighbour", "10.42.5.0", peer.mac),))


def test_row_20_a_delete_of_a_predecessor_that_comes_late_changes_nothing() -> None:
    """The new owner's add is seen before the old owner's delete."""
    table = PeerTable("self", "vxlan100")
    table.upsert(make_peer("default", "10.42.1.0/24", "old", UP, "198.18.0.1", "uid-1"))
    table.upsert(make_peer("default", "10.42.1.0/24", "new", UP, "198.18.0.2", "uid-2"))
    assert not table.remove("10.42.1.0/24", "uid-1")
    assert set(table.desired()["route"]) == {"10.42.1.0/24"}


def test_a_down_peer_is_withdrawn_unless_the_network_keeps_it() -> None:
    table = PeerTable("self", "vxlan100")
    up = make_peer("default", "10.42.1.0/24", "a", UP, "198.18.0.1")
    table.upsert(up)
    assert ("route", "10.42.1.0/24") in table.upsert(replace(up, phase=DOWN))
    assert table.desired() == entries()
    assert ("route", "10.42.1.0/24") in table.follow(but(table.way, keep_down=True))
    assert set(table.desired()["route"]) == {"10.42.1.0/24"}


def test_a_claim_without_a_confirmed_address_is_not_routed() -> None:
    table = PeerTable("self", "vxlan100")
    assert not table.upsert(make_peer("default", "10.42.1.0/24", "a", UP, ""))


def test_an_event_touches_only_its_own_peer() -> None:
    table = PeerTable("self", "vxlan100")
    table.replace(
        make_peer("default", f"10.{n // 256}.{n % 256}.0/24", f"n{n}", UP, "198.18.0.1") for n in range(5000)
    )
    peer = make_peer("default", "10.99.0.0/24", "x", UP, "198.18.0.9")
    assert table.upsert(peer) == {
        ("neighbour", "10.99.0.0"),
        ("fdb", peer.mac),
        ("route", "10.99.0.0/24"),
    }


def test_own_claims_make_no_peer_and_one_being_released_counts_as_none() -> None:
    table = PeerTable("self", "vxlan100")
    own = make_peer("default", "10.42.1.0/24", "self", UP, "198.18.0.1")
    assert not table.upsert(own)
    assert table.own == [own]
    table.upsert(replace(own, phase=RELEASING))
    assert table.own == []


@pytest.mark.parametrize("cidr", ["10.42.1.1/24", "10.42.1.0", "x", "10.42.1.0/33", ""])
def test_a_malformed_claim_is_refused_by_name(cidr: str) -> None:
    with pytest.raises(ValueError):
        make_peer("default", cidr, "a", UP, "198.18.0.1")


@given(claims, st.sampled_from([UP, DOWN, RELEASING]), st.sampled_from(HOSTS))
def test_a_renewed_claim_is_as_made_again(claim: Peer, phase: str, host_ip: str) -> None:
    again = make_peer("default", claim.cidr, claim.node, phase, host_ip, claim.uid)
    assert renewed(claim, phase, host_ip) == again


def test_a_renewed_claim_refuses_what_is_no_address() -> None:
    claim = make_peer("default", "10.42.1.0/24", "a", UP, "198.18.0.1")
    with pytest.raises(ValueError, match="nowhere"):
        renewed(claim, UP, "nowhere")


def test_a_route_waits_for_its_neighbour_and_layer_2_for_its_route() -> None:
    plan = Plan(
        routes=(
            ("10.42.1.0/24", Hop("10.42.1.0", "vxlan100")),
            ("10.42.2.0/24", Hop("10.42.2.0", "vxlan100")),
        ),
        after=(
            ("fdb", "m3", "h3"),
            ("fdb", "m4", "h4"),
            ("neighbour", "10.42.3.0", "m3"),
            ("neighbour", "10.42.4.0", "m4"),
        ),
    )
    kernel = entries(
        {"10.42.1.0": "m1", "10.42.2.0": "m2", "10.42.3.0": "m3", "10.42.4.0": "m4"}, {"m1": "h1"}
    )
    actual = tables_of(entries(), kernel)
    ready, waiting = reachable(plan.routes, actual, VXLAN, "vxlan100")
    assert [prefix for prefix, _ in ready] == ["10.42.1.0/24"]
    assert sorted((*ready, *waiting), key=repr) == sorted(plan.routes, key=repr)
    kept = without_routed(plan, [Hop("10.42.3.0", "vxlan100")], actual, VXLAN)
    assert kept.after == (("fdb", "m4", "h4"), ("neighbour", "10.42.4.0", "m4"))
