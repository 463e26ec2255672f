"""What of the node's network is looked at and written: what changed, and again what others changed."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import BridgePort, Change, Event, Link, Netconf, NetlinkError, NftTable, Overrun
from quilt_netlink.nftsets import SetChange
from quilt_runtime.addresses import Addresses
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.firewall import Firewall
from quilt_runtime.drift import DriftRepair
from quilt_runtime.kernel import nft, table
from quilt_runtime.kernel.table import FirewallTable
from quilt_runtime.metrics import Metrics
from quilt_runtime.network import AREAS, NodeNetwork
from quilt_runtime.state import Store
from quilt_runtime.troubles import Troubles

WANTED = Firewall(NodeConfig(overlay_sources=frozenset({"198.18.0.2"})), IPv4Network("10.42.1.0/24"))


class Nft:
    """Notes what is written; lists nothing, or what a test says that others made of it."""

    port = 1

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.closed = 0
        self.written: list[str] = []
        self.listed = "table inet quilt {\n"
        self.refuses = ""
        monkeypatch.setattr(nft, "apply", self.apply)
        monkeypatch.setattr(nft, "listing", lambda *arguments: self.listed)
        monkeypatch.setattr(table, "NftSets", lambda *arguments, **others: self)

    def apply(self, *transactions: str) -> None:
        if self.refuses and self.refuses in "".join(transactions):
            raise nft.NftError(f"nft refused it:{self.refuses}")
        self.written.append("whole")

    def change(self, changes: Sequence[SetChange]) -> None:
        self.written += [f"{'+' if change.new else '-'}{list(change.addresses)}" for change in changes]
        if self.refuses == "change":
            raise NetlinkError(errno.ENOENT, "no such set")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Nft:
    return Nft(monkeypatch)


def with_sources(*sources: str) -> Firewall:
    return replace(WANTED, config=replace(WANTED.config, overlay_sources=frozenset(sources)))


def listed(*sources: str) -> str:
    elements = f"\n\t\telements = {{ {', '.join(sources)} }}" if sources else ""
    return f"\tset overlay_sources_v4 {{\n\t\ttype ipv4_addr{elements}\n\t}}\n"


def test_a_peer_is_an_element_and_anything_else_the_whole_table(fake: Nft) -> None:
    table = FirewallTable()
    assert not table.intact
    assert table.write(WANTED) == ["table"]
    assert table.intact
    assert table.write(WANTED) == []
    assert table.write(with_sources("198.18.0.3")) == ["table"]
    assert fake.written == ["whole", "+['198.18.0.3']", "-['198.18.0.2']"]
    assert table.write(replace(WANTED, subnet=None)) == ["table"]
    assert fake.written[3:] == ["whole"]


def test_what_the_table_does_not_depend_on_writes_nothing(fake: Nft) -> None:
    table = FirewallTable()
    table.write(WANTED)
    assert table.write(replace(WANTED, config=replace(WANTED.config, mtu=1400, prefix_length=25))) == []
    assert fake.written == ["whole"]


def test_what_others_changed_is_written_again_once_it_is_read(fake: Nft) -> None:
    fake.listed = listed("198.18.0.2")
    table = FirewallTable()
    table.write(WANTED)
    assert table.write(WANTED, read=True) == []
    fake.listed = listed()
    assert table.write(WANTED) == []
    assert table.write(WANTED, read=True) == ["table"]
    assert fake.written == ["whole", "whole"]


def test_where_an_element_cannot_be_written_the_whole_table_is(fake: Nft) -> None:
    table = FirewallTable()
    table.write(WANTED)
    fake.refuses = "change"
    assert table.write(with_sources()) == ["table"]
    assert fake.written == ["whole", "-['198.18.0.2']", "whole"]
    assert fake.closed == 1


def test_a_table_that_was_refused_is_not_intact(fake: Nft) -> None:
    table = FirewallTable()
    table.write(WANTED)
    fake.refuses = "overlay"
    with pytest.raises(nft.NftError):
        table.write(replace(WANTED, subnet=None))
    assert not table.intact


def test_a_kernel_without_fib_gets_all_but_that(fake: Nft) -> None:
    fake.refuses = " fib "
    table = FirewallTable()
    assert table.write(WANTED) == ["table"]
    assert fake.written == ["whole"]


def network(folder: Path) -> NodeNetwork:
    store = Store(folder)
    return NodeNetwork(store, Addresses(store), folder, NodeConfig())


def test_every_area_is_tried_and_a_failure_is_a_problem_until_it_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = {"guard": RequestError("no guard"), "links": OSError("no descriptor")}
    tried: list[str] = []

    def write(self: NodeNetwork, area: str, names: object, *, read: bool) -> list[str]:
        tried.append(area)
        if area in failing:
            raise failing[area]
        return [f"{area} read" if read else area]

    monkeypatch.setattr(NodeNetwork, "_write", write)
    node = network(tmp_path)
    with pytest.raises(RequestError, match="no guard"):
        node.ensure()
    assert tried == list(AREAS)
    assert node.problems == {"guard": "no guard", "links": "no descriptor"}
    del failing["guard"]
    with pytest.raises(RequestError, match="links: no descriptor"):
        node.ensure(["guard", "links"])
    assert node.repair({"nftables", "links", "sysctls"}, None) == ["sysctls read", "nftables read"]
    failing.clear()
    node.ensure(["links"])
    assert node.problems == {}


@pytest.mark.parametrize(
    ("events", "areas", "names"),
    [
        ([], set(AREAS), None),
        ([Overrun()], set(AREAS), None),
        ([Change(True, NftTable(1, "quilt"))], {"nftables", "guard", "forward"}, set()),
        ([Change(True, NftTable(1, "others"))], set(AREAS), None),
        ([Change(True, Netconf(1))], {"sysctls"}, set()),
        (
            [Change(True, Link(BRIDGE_DEVICE)), Change(True, BridgePort(7, "qv0a2a0105"))],
            {"links"},
            {"qv0a2a0105"},
        ),
        ([Change(True, Link("qv0a2a0105"))], set(), {"qv0a2a0105"}),
        ([Change(True, Link("eth0")), Change(True, Netconf(1))], {"sysctls"}, set()),
    ],
)
async def test_what_a_notification_has_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    events: list[Event],
    areas: set[str],
    names: set[str] | None,
) -> None:
    """Where no notification is about us, the time for a full look has come. Nobody has 10.42.1.5 here."""
    asked: list[tuple[set[str], set[str] | None]] = []
    monkeypatch.setattr(NodeNetwork, "repair", lambda self, *what: asked.append(what) or ["port", "port"])
    metrics = Metrics()
    troubles = Troubles()
    drift = DriftRepair(network(tmp_path), metrics, troubles)
    drift._areas.clear()
    for event in events:
        drift._take(event)
    drift._repair(drift._areas, drift._links)
    assert asked == [(areas, names)]
    repairs = metrics.registry.get_sample_value("quilt_runtime_drift_repairs_total", {"kind": "port"})
    assert repairs == 2
    assert troubles.repairs() == {"port": 2}
