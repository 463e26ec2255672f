"""The book of claims: incremental and rebuilt views agree, and no faulty claim is ever given out or lost."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from quilt_crds.names import DOWN, RELEASING, UP, vtep_mac
from quilt_crds.quiltnetwork import Ipam, QuiltNetworkSpec
from quilt_crds.wire import Mesh, Meta, QuiltNode, QuiltNodeStatus, QuiltSubnet
from quilt_crds.wire_network import SubnetCounts
from quilt_operator.core.claims import (
    FOREIGN_NETWORK,
    MALFORMED,
    OUT_OF_RANGE,
    WRONG_LENGTH,
    Book,
)
from quilt_operator.core.desired import plan_claims
from quilt_operator.core.plan import Plan
from tests.support.operator_doubles import but, made_claim

NODES = [f"node-{number}" for number in range(6)]


USED = Mesh(UP)


def plan(*cidrs: str) -> Plan:
    return Plan.of("default", QuiltNetworkSpec(cluster_cidrs=list(cidrs) or ["10.42.0.0/16"]))


def claim(cidr: str, node: str = "node-1", mesh: Mesh = USED) -> QuiltSubnet:
    return made_claim(cidr, node, mesh, uid=cidr, resource_version="1")


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (claim("10.42.9.1/24"), MALFORMED),
        (claim("nonsense"), MALFORMED),
        (claim("10.42.9.0/24", node=""), MALFORMED),
        (but(claim("10.42.9.0/24"), "metadata", name="another"), MALFORMED),
        (claim("10.99.9.0/24"), OUT_OF_RANGE),
        (claim("fd42::/64"), OUT_OF_RANGE),
        (claim("10.42.8.0/23"), WRONG_LENGTH),
        (claim("10.42.9.0/25"), WRONG_LENGTH),
        (but(claim("10.42.9.0/24"), "spec", network="other"), FOREIGN_NETWORK),
    ],
)
def test_row_17_faulty_claims_are_problems_not_crashes(faulty: QuiltSubnet, reason: str) -> None:
    book = Book(plan(), [faulty])
    assert book.problems[faulty.name].reason == reason
    book.remove(faulty.name)
    assert not book.problems
    assert book.counts(4) == SubnetCounts(254, 0, 254, 0)


def test_row_16_nothing_is_given_out_that_overlaps_a_claim_of_another_length() -> None:
    book = Book(plan(), [claim("10.42.0.0/22", node="old"), claim("10.42.4.128/25", node="old")])
    assert str(book.lowest_free(4)) == "10.42.5.0/24"
    assert not book.owned_by("old"), "no agent could use them"


@pytest.mark.parametrize("cidr", ["10.42.8.0/22", "10.42.9.128/25", "10.42.9.16/28", "10.42.9.0/24"])
def test_a_claim_of_any_length_is_its_nodes_where_kubernetes_cut_it(cidr: str) -> None:
    """t11: With `ipam.mode: kubernetes` a Node's podCIDR is its subnet, however long it is."""
    adopting = Plan.of("default", QuiltNetworkSpec(ipam=Ipam(mode="kubernetes")))
    book = Book(adopting, [claim(cidr), claim("10.43.1.0/25", node="node-2")])
    assert [item.cidr for _, item in book.owned_by("node-1")] == [cidr]
    assert {name: found.reason for name, found in book.problems.items()} == {"10.43.1.0-25": OUT_OF_RANGE}


def test_a_claim_outside_the_ranges_stays_its_nodes() -> None:
    book = Book(plan(), [claim("10.99.0.0/24")])
    assert [item.cidr for _, item in book.owned_by("node-1")] == ["10.99.0.0/24"]


def test_a_vtep_mac_has_one_holder() -> None:
    book = Book(plan(), [claim("10.42.1.0/24", "node-1")])
    mac = vtep_mac("default", "node-1")
    assert book.mac_holder(mac, "node-1") is None
    assert book.mac_holder(mac, "imposter") == "node-1"


@pytest.mark.parametrize("phase", [RELEASING, DOWN])
def test_a_host_ip_has_one_holder_while_it_is_up(phase: str) -> None:
    held = claim("10.42.1.0/24", mesh=Mesh(UP, "192.0.2.1"))
    book = Book(plan(), [held])
    assert book.host_ip_holder("192.0.2.1", "node-2") == "node-1"
    assert book.host_ip_holder("192.0.2.1", "node-1") is None
    book.put(replace(held, mesh=Mesh(phase, "192.0.2.1")))
    assert book.host_ip_holder("192.0.2.1", "node-2") is None


def test_a_subnet_is_free_where_no_claim_touches_it() -> None:
    book = Book(plan(), [claim("10.42.8.0/23"), claim("10.42.1.0/24")])
    tried = ("10.42.2.0/24", "10.42.1.0/24", "10.42.9.0/24", "10.99.1.0/24", "10.42.2.0/25", "nonsense")
    assert [cidr for cidr in tried if book.is_free(cidr, 4)] == ["10.42.2.0/24"]


def test_a_requested_subnet_shows_who_is_in_its_way() -> None:
    book = Book(plan(), [claim("10.42.8.0/23", node="wide"), claim("10.42.1.0/24")])
    assert book.holder("10.42.1.0/24") == claim("10.42.1.0/24")
    wide = book.holder("10.42.9.0/24")
    assert wide is not None
    assert wide.node == "wide"
    assert book.holder("10.42.3.0/24") is None
    assert book.holder("nonsense") is None


class ApiServer:
    """Claims as etcd holds them: creating a name that exists fails."""

    def __init__(self) -> None:
        self.claims: dict[str, QuiltSubnet] = {}
        self.version = 0

    def create(self, wanted: QuiltSubnet) -> QuiltSubnet | None:
        if wanted.name in self.claims:
            return None
        return self.write(wanted)

    def write(self, wanted: QuiltSubnet) -> QuiltSubnet:
        self.version += 1
        made = but(
            wanted, "metadata", resource_version=str(self.version), uid=wanted.uid or f"uid-{self.version}"
        )
        self.claims[made.name] = made
        return made


class TwoAllocators(RuleBasedStateMachine):
    """Two operators with stale views allocate, release, expire and re-adopt on one API server."""

    @initialize(cidrs=st.sampled_from([["10.42.0.0/21"], ["10.42.0.0/22", "10.42.8.0/21"]]))
    def start(self, cidrs: list[str]) -> None:
        self.server = ApiServer()
        self.plan = plan(*cidrs)
        self.books = [Book(self.plan), Book(self.plan)]
        self.alive: set[str] = set()

    @rule(name=st.sampled_from(NODES))
    def join(self, name: str) -> None:
        self.alive.add(name)

    @rule(name=st.sampled_from(NODES))
    def leave(self, name: str) -> None:
        self.alive.discard(name)

    @rule(which=st.integers(0, 1), name=st.sampled_from(NODES))
    def reconcile(self, which: int, name: str) -> None:
        """One pass of one operator over one node, on whatever it happens to know."""
        book = self.books[which]
        node = (
            QuiltNode(Meta(name, uid="x"), status=QuiltNodeStatus(host_ip="192.0.2.1"))
            if name in self.alive
            else None
        )
        todo = plan_claims(node, book.owned_by(name), book.plan.pools, {})
        for kept in todo.keep:
            self._update(book, kept, Mesh(UP))
        for released in todo.release:
            if released.mesh.phase != RELEASING:
                self._update(book, released, Mesh(RELEASING))
        for family, _ in todo.create:
            self._claim(book, name, family)

    @rule(which=st.integers(0, 1), name=st.sampled_from(NODES))
    def expire(self, which: int, name: str) -> None:
        """The grace period of a released claim ends: it is deleted, exactly as it was seen."""
        for _, seen in self.books[which].owned_by(name):
            if seen.mesh.phase == RELEASING and self.server.claims.get(seen.name) == seen:
                del self.server.claims[seen.name]
                self.books[which].remove(seen.name)

    @rule(which=st.integers(0, 1), name=st.sampled_from(NODES))
    def hear(self, which: int, name: str) -> None:
        """One operator's watch catches up for one node's claims."""
        book = self.books[which]
        for known in [entry.claim for entry in book._entries.values()]:
            if known.node == name and known.name not in self.server.claims:
                book.remove(known.name)
        for item in self.server.claims.values():
            if item.node == name:
                book.put(item)

    @precondition(lambda self: len(self.plan.pools[4].ranges) == 1)
    @rule()
    def extend(self) -> None:
        """An administrator adds a range; both operators plan again and keep every claim."""
        self.plan = plan("10.42.0.0/21", "10.50.0.0/22")
        self.books = [Book(self.plan, self.server.claims.values()) for _ in self.books]

    @invariant()
    def no_two_claims_overlap(self) -> None:
        networks = [ip_network(item.cidr) for item in self.server.claims.values()]
        assert all(not one.overlaps(other) for n, one in enumerate(networks) for other in networks[n + 1 :])

    @invariant()
    def books_add_up(self) -> None:
        for book in self.books:
            counts = book.counts(4)
            assert counts.allocated + counts.free + counts.quarantined == counts.total
            rebuilt = Book(book.plan, [entry.claim for entry in book._entries.values()])
            assert rebuilt.counts(4) == counts
            assert rebuilt.lowest_free(4) == book.lowest_free(4)
            assert all(rebuilt.owned_by(name) == book.owned_by(name) for name in NODES)

    def teardown(self) -> None:
        """Left alone and fully informed, one operator ends with exactly one subnet for every node."""
        if not hasattr(self, "server"):
            return
        book = Book(self.plan, self.server.claims.values())
        self.books = [book, book]
        for _ in range(3):
            for name in NODES:
                self.reconcile(0, name)
            for name in NODES:
                self.expire(0, name)
        owners = sorted(item.node for item in self.server.claims.values())
        assert owners == sorted(self.alive), "one each, none leaked"

    def _claim(self, book: Book, name: str, family: int) -> None:
        while (network := book.lowest_free(family)) is not None:
            wanted = made_claim(str(network), name, Mesh(DOWN))
            made = self.server.create(wanted)
            book.put(self.server.claims[wanted.name])
            if made is not None or self.server.claims[wanted.name].node == name:
                return

    def _update(self, book: Book, seen: QuiltSubnet, mesh: Mesh) -> None:
        now = self.server.claims.get(seen.name)
        if now is None:
            book.remove(seen.name)
        elif now != seen:
            book.put(now)
        elif now.mesh != mesh:
            book.put(self.server.write(replace(now, mesh=mesh)))


TestTwoAllocators = TwoAllocators.TestCase
TestTwoAllocators.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
