"""What pages show: what changed since a version, where claims are in their ranges, Events, paths."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_cli.core.board import Board, Delta, Table, few_of_each, lines
from quilt_cli.core.event import About, CoreEvent, Series, newest
from quilt_cli.core.finding import fail
from quilt_cli.core.heat import heat
from quilt_cli.core.latency import Measured, Peer
from quilt_cli.core.latency import report as latency
from quilt_cli.core.node_page import node_page
from quilt_cli.core.peer_entries import peer_entries
from quilt_cli.core.status import report
from quilt_cli.core.subnet_map import claims, ranges
from quilt_cli.ui.pages import to_ask
from quilt_crds.names import vtep_mac
from quilt_crds.wire import Meta
from quilt_crds.wire_network import Ipam, QuiltNetworkSpec
from tests.support import cli_snapshots as some

Rows = dict[str, int]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)), max_size=8), st.data())
def test_who_has_seen_any_version_knows_all_rows_by_what_changed_since(
    shown: list[Rows], data: st.DataObject
) -> None:
    table, known = Table[int](), [Rows()]
    for version, rows in enumerate(shown, start=1):
        assert table.show(rows, version) is (rows != known[-1])
        known.append(rows)
    seen = data.draw(st.integers(0, len(shown)))
    delta = table.since(seen) or Delta()
    kept = {key: row for key, row in known[seen].items() if key not in delta.gone}
    assert kept | delta.changed == known[-1]
    assert not set(delta.gone) & set(delta.changed)


def test_what_did_not_change_makes_no_version() -> None:
    board, snapshot = Board(), some.healthy()
    assert board.show(report(snapshot), snapshot, (), {})
    assert not board.show(report(snapshot), replace(snapshot), (), {})
    assert board.version == 1
    assert board.show(report(snapshot), snapshot, (), {"pods": "no answer"})
    changes = board.since(1)
    assert changes.overview is not None
    assert changes.overview.silent == {"pods": "no answer"}
    assert msgspec.to_builtins(changes).keys() == {"version", "overview"}


@pytest.mark.parametrize("version", [-1, 7])
def test_a_version_that_never_was_gets_everything(version: int) -> None:
    board, snapshot = Board(), some.healthy()
    board.show(report(snapshot), snapshot, (), {})
    found = board.since(version).nodes
    assert found is not None
    assert set(found.changed) == {"n1", "n2", "n3"}


def test_a_line_has_what_is_wrong_with_its_node_the_worst_first() -> None:
    snapshot = some.healthy(mesh_nodes=(some.mesh_node(1), some.mesh_node(2, "Down"), some.mesh_node(3)))
    found = lines(report(snapshot))
    assert [item.code for item in found["n2"].findings] == ["node-down"]
    assert found["n2"].findings[0].todo == "kubectl describe node n2"
    assert found["n1"].findings == ()


def test_of_many_findings_alike_a_few_are_named_and_the_others_counted() -> None:
    many = [fail("down", f"n{index}", "", "") for index in range(9)]
    shown, more = few_of_each([*many, fail("other", "x", "", "")])
    assert [item.code for item in shown] == ["down"] * 5 + ["other"]
    assert more == {"down": 4}


def test_ranges_are_cut_into_the_nodes_subnets_and_keep_their_edges_back() -> None:
    spec = QuiltNetworkSpec(("10.42.0.0/16", "10.9.0.0/24"), ("fd42::/56",))
    found = ranges(spec)
    assert [(item.cidr, item.slots, item.edges) for item in found] == [
        ("10.42.0.0/16", 256, True),
        ("10.9.0.0/24", 1, False),
        ("fd42::/56", 256, True),
    ]
    by_kubernetes = msgspec.structs.replace(spec, ipam=Ipam("kubernetes"), cluster_cidrs=("10.1.2.3/33",))
    assert [item.edges for item in ranges(by_kubernetes)] == [False]


def test_claims_have_their_place_in_a_range_or_none() -> None:
    network = msgspec.structs.replace(
        some.network(),
        spec={"clusterCIDRs": ["10.1.0.0/16", "10.42.0.0/16"], "clusterCIDRsV6": ["fd42::/56"]},
    )
    held = (
        some.subnet(7),
        some.subnet(8, "Releasing", cidr="10.42.8.0/23"),
        some.subnet(9, cidr="192.0.2.0/24"),
        some.subnet(10, cidr="fd42:0:0:9::/64"),
    )
    found = claims(some.healthy(network=network, subnets=held))
    assert [(item.place, item.slot, item.slots) for item in found.values()] == [
        (1, 7, 1),
        (1, 8, 2),
        (None, 0, 1),
        (2, 9, 1),
    ]
    assert found["10.42.8.0-23"].phase == "Releasing"


def test_events_of_all_writers_have_one_time_and_the_newest_is_first() -> None:
    about = About("QuiltNode", "n1")
    made = Meta("e1", "u1", creation_timestamp="2030-01-01T00:00:01Z")
    old = CoreEvent(made, about, "Normal", "Joined", "it joined")
    repeated = CoreEvent(
        Meta("e2", "u2"), about, "Warning", "Lost", "it is lost", event_time="2030-01-01T00:00:00Z",
        series=Series(4, "2030-01-01T00:00:09Z"),
    )  # fmt: skip
    counted = CoreEvent(Meta("e3"), about, count=7, last_timestamp="2030-01-01T00:00:05Z")
    found = newest([old, repeated, counted])
    assert [(item.uid, item.count, item.time[-3:-1]) for item in found] == [
        ("u2", 4, "09"),
        ("e3", 7, "05"),
        ("u1", 1, "01"),
    ]
    assert found[0].about == "QuiltNode n1"


def test_of_more_nodes_than_fit_the_matrix_has_the_worst() -> None:
    names = [f"n{index:02}" for index in range(40)]
    nodes = [
        Measured(name, tuple(Peer(other, "ok", "ok", round_trip=0.001) for other in names if other != name))
        for name in names
    ]
    nodes[35] = Measured("n35", (Peer("n39", "ok", "failing"),))
    found = heat(latency(nodes, {}))
    assert (len(found.nodes), found.of) == (32, 40)
    assert {"n35", "n39"} <= set(found.nodes)
    assert [path.state for path in found.paths if (path.source, path.target) == ("n35", "n39")] == ["failing"]
    assert heat(latency(nodes, {}), "n0").nodes == tuple(names[:10])


def test_those_that_report_failing_paths_are_asked_first() -> None:
    many = tuple(some.mesh_node(index) for index in range(300))
    bad = some.mesh_node(299, PeersReachable="False")
    asked = to_ask(some.healthy(mesh_nodes=(*many[:-1], bad)), "")
    assert len(asked) == 256
    assert bad.name in asked
    assert to_ask(some.healthy(), "n2") == {"n2"}


def test_a_nodes_page_says_what_is_found_or_why_nothing_is() -> None:
    snapshot = some.healthy()
    found = node_page("n1", snapshot, [fail("mtu", "node n1", "too small", "raise it")], {}, {})
    assert found is not None
    assert [item.code for item in found.checks] == ["mtu"]
    assert found.line.row.name == "n1"
    assert [peer.node for peer in found.peers] == ["n2", "n3"]
    blind = node_page("n1", snapshot, (), None, {"kernel": "its pod does not run"})
    assert blind is not None
    assert (blind.checks, blind.peers, blind.blind) == ((), (), {"kernel": "its pod does not run"})
    assert node_page("n9", snapshot, (), None, {}) is None


def dump(**changed: list[dict[str, object]]) -> dict[str, list[dict[str, object]]]:
    """What n1's kernel holds where n2 and n3 are peers; n3's route by a nexthop object."""
    macs = {index: vtep_mac("default", f"n{index}") for index in (2, 3)}
    way = {"gateway": "10.42.2.0", "dev": "vxlan100"}
    return {
        "routes": [
            {"dst": "10.42.2.0/24", "type": "unicast", "protocol": 81, **way},
            {"dst": "10.42.3.0/24", "type": "unicast", "protocol": 81, "nhid": 7},
            {"dst": "10.42.0.0/16", "type": "unreachable", "protocol": 81},
            {"dst": "default", "type": "unicast", "protocol": 4, "gateway": "192.0.2.254", "dev": "eth0"},
        ],
        "nexthops": [{"id": 7, "gateway": "10.42.3.0", "dev": "vxlan100"}],
        "neighbors": [
            {"dst": f"10.42.{index}.0", "dev": "vxlan100", "lladdr": mac} for index, mac in macs.items()
        ],
        "fdb": [{"mac": mac, "ifname": "vxlan100", "dst": f"192.0.2.{index}"} for index, mac in macs.items()],
    } | changed


def test_a_kernel_that_holds_what_it_should_has_no_other_entry() -> None:
    found = peer_entries("n1", some.healthy(), dump())
    assert [(peer.node, peer.well) for peer in found] == [("n2", True), ("n3", True)]
    assert found[1].route.wanted == "10.42.3.0 vxlan100"


@pytest.mark.parametrize("part", ["routes", "neighbors", "fdb"])
def test_an_entry_that_is_missing_or_other_is_named_first(part: str) -> None:
    kept = dump()[part]
    found = peer_entries("n1", some.healthy(), dump(**{part: [kept[0]]}))
    assert [(peer.node, peer.well) for peer in found] == [("n3", False), ("n2", True)]
    entry = {"routes": found[0].route, "neighbors": found[0].neighbor, "fdb": found[0].fdb}[part]
    assert entry.held == ""
    other = [{**item, "gateway": "192.0.2.9", "lladdr": "02:00:00:00:00:00"} for item in kept]
    elsewhere = [{**item, "dst": "192.0.2.9"} for item in other] if part == "fdb" else other
    found = peer_entries("n1", some.healthy(), dump(**{part: elsewhere}))
    assert not any(peer.well for peer in found)


def test_a_route_of_nobody_is_named_and_a_direct_one_needs_no_more() -> None:
    stale = {
        "dst": "10.42.9.0/24",
        "type": "unicast",
        "protocol": 81,
        "gateway": "10.42.9.0",
        "dev": "vxlan100",
    }
    found = peer_entries("n1", some.healthy(), dump(routes=[*dump()["routes"], stale]))
    assert (found[0].node, found[0].route.held) == ("", "10.42.9.0 vxlan100")
    way = {"type": "unicast", "protocol": 81, "dev": "eth0"}
    direct = [{"dst": f"10.42.{index}.0/24", "gateway": f"192.0.2.{index}", **way} for index in (2, 3)]
    held = dump(routes=direct, neighbors=[], fdb=[])
    assert not any(peer.well for peer in peer_entries("n1", some.healthy(), held))
    network = msgspec.structs.replace(some.network(), spec={"vxlan": {"directRouting": True}})
    assert all(peer.well for peer in peer_entries("n1", some.healthy(network=network), held))
