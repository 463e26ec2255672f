"""What single lists and events make of what is known: slices of sets, nodes' places, pods of this node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import msgspec
import pytest

from quilt_crds.wire_policy import QuiltPeers
from quilt_pods.places import NodePlaces
from quilt_pods.sources.peers import PeerSet, PeerSets
from quilt_pods.sources.pods import LocalPods
from quilt_pods.sources.policies import NamespacedPolicies, PolicyMeta, UnreadPolicy
from quilt_policy.objects import Pod
from quilt_policy.places import Place
from quilt_policy.program import PodName
from quilt_policy.selectors import PeerSelector
from tests.support.pods_scene import name, peers, pod, selector

ONE = selector(app="one")
PORT = msgspec.structs.replace(ONE, protocol="TCP", port_name="http")


def slice_(
    of: PeerSelector, *addresses: str, version: int = 1, slices: int = 1, number: int = 0
) -> QuiltPeers:
    document = peers(of, *addresses, slices=slices, number=number)
    document["metadata"]["resourceVersion"] = str(version)
    return msgspec.convert(document, QuiltPeers)


class Sets:
    """What a PeerSets passed on."""

    def __init__(self, *labels: PeerSelector) -> None:
        self.held: dict[str, set[str]] = {}
        self.sets = PeerSets(self._put, lambda name: self.held.__delitem__(name))
        self.labels = frozenset(one.hash for one in labels)
        self.sets.keep(self.labels)

    def listed(self, *items: QuiltPeers) -> None:
        self.sets.listed(self.labels, items)

    def changed(self, *items: QuiltPeers, kind: str = "MODIFIED") -> None:
        self.sets.changed([(kind, item) for item in items])

    def _put(self, one: PeerSet) -> None:
        self.held[one.hash] = {str(IPv4Address(one.v4[at : at + 4])) for at in range(0, len(one.v4), 4)}


def test_what_a_list_had_newer_is_not_undone_by_a_repeated_event() -> None:
    sets = Sets(ONE)
    sets.listed(slice_(ONE, "10.42.1.2", version=7))
    sets.changed(slice_(ONE, "10.42.1.9", version=5))
    sets.changed(slice_(ONE, "10.42.1.9", version=6), kind="DELETED")
    assert sets.held == {ONE.hash: {"10.42.1.2"}}
    sets.changed(slice_(ONE, "10.42.1.9", version=8))
    sets.listed(slice_(ONE, "10.42.1.2", version=7))
    assert sets.held == {ONE.hash: {"10.42.1.9"}}


def test_nobody_differs_from_not_known_yet() -> None:
    sets = Sets(ONE)
    sets.listed()
    assert sets.sets.known == set()
    sets.changed(slice_(ONE))
    assert (sets.sets.known, sets.held) == ({ONE.hash}, {ONE.hash: set()})


def test_a_named_port_has_a_set_for_each_number_and_loses_them() -> None:
    sets = Sets(PORT)
    low, high = PORT.with_number(80), PORT.with_number(8080)
    sets.listed(slice_(PORT), slice_(low, "10.42.1.2"))
    sets.changed(slice_(high, "10.42.1.3", version=2))
    assert sets.held == {PORT.hash: set(), low.hash: {"10.42.1.2"}, high.hash: {"10.42.1.3"}}
    sets.changed(slice_(high, version=3), kind="DELETED")
    assert high.hash not in sets.held
    sets.listed(slice_(PORT))
    assert sets.held == {PORT.hash: set()}


def test_what_is_needed_no_more_is_dropped_and_events_of_it_are_passed_over() -> None:
    sets = Sets(ONE)
    sets.listed(slice_(ONE, "10.42.1.2"))
    sets.sets.keep(frozenset())
    assert sets.held == {}
    sets.changed(slice_(ONE, "10.42.1.3", version=9))
    assert sets.held == {}


@pytest.mark.parametrize("name", ["", "x", "no-number"])
def test_an_object_of_another_name_is_passed_over(name: str) -> None:
    sets = Sets(ONE)
    odd = slice_(ONE, "10.42.1.2")
    sets.listed(msgspec.structs.replace(odd, metadata=msgspec.structs.replace(odd.metadata, name=name)))
    assert sets.held == {}


def test_addresses_that_cannot_be_read_leave_a_set_as_it_was() -> None:
    sets = Sets(ONE)
    sets.listed(slice_(ONE, "10.42.1.2"))
    odd = slice_(ONE, version=2)
    sets.changed(msgspec.structs.replace(odd, spec=msgspec.structs.replace(odd.spec, v4="AAA=")))
    assert sets.held == {ONE.hash: {"10.42.1.2"}}


@dataclass(frozen=True)
class Claim:
    cidr: str
    node: str
    host_ip: str = ""


def test_places_are_passed_on_when_they_are_new_different_or_gone() -> None:
    held: dict[str, Place] = {}
    puts: list[str] = []

    def put(name: str, place: Place) -> None:
        held[name] = place
        puts.append(name)

    places = NodePlaces(put, lambda name: held.__delitem__(name))

    def follow(*claims: Claim) -> Iterable[str]:
        puts.clear()
        places.follow(claims)
        return puts

    one = Claim("10.42.1.0/24", "one", "198.18.0.1")
    two, two6 = Claim("10.42.2.0/24", "two"), Claim("fd42:0:0:2::/64", "two")
    assert list(follow(one, two)) == ["10.42.1.0/24", "10.42.2.0/24"]
    assert held["10.42.1.0/24"] == Place(IPv4Address("198.18.0.1"), IPv4Network("10.42.1.0/24"))
    assert list(follow(one, two, two6)) == ["10.42.2.0/24"]
    assert held["10.42.2.0/24"] == Place(None, IPv4Network("10.42.2.0/24"), IPv6Network("fd42:0:0:2::/64"))
    assert list(follow(one)) == []
    assert list(held) == ["10.42.1.0/24"]


class Pods:
    """What a LocalPods passed on and did not drop, whose policies are all known."""

    def __init__(self) -> None:
        self.held: set[PodName] = set()
        self.connected: set[PodName] = set()
        policies = NamespacedPolicies(lambda _: None, lambda *_: None, lambda _: None, lambda: None)
        self.pods = LocalPods(self._put, self.held.remove, lambda: frozenset(self.connected), policies)
        policies.want("shop")
        policies.listed((), 1)

    def changed(self, kind: str, uid: str, **status: str) -> None:
        document = pod("web")
        document["metadata"] |= {"uid": uid, "deletionTimestamp": status.pop("deleted", None)}
        self.pods.changed([(kind, msgspec.convert({**document, "status": status}, Pod))])

    def _put(self, one: Pod) -> None:
        self.held.add(one.key)


def test_events_of_a_pod_that_went_are_not_about_the_new_one_azure_562_weave_3177() -> None:
    """A graceful end is two events, and the new pod of a StatefulSet may be seen between them."""
    local, old, new = Pods(), name("web", uid="old"), name("web", uid="new")
    local.changed("ADDED", "old")
    local.connected = {old}
    local.changed("MODIFIED", "old", deleted="2026-11-30T00:00:00Z")
    local.changed("ADDED", "new")
    local.changed("DELETED", "old")
    local.changed("DELETED", "old")
    assert local.held == {old, new}, "the old one has an address still"
    local.connected = {new}
    local.pods.look()
    assert local.held == {new}
    local.changed("DELETED", "old")
    assert local.held == {new}


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
def test_a_terminating_pod_is_held_to_its_policies_calico_4518_azure_1095_aks_2598(phase: str) -> None:
    """Until its network is taken down; without the rules its last requests would be lost."""
    local, own = Pods(), name("web", uid="old")
    local.changed("ADDED", "old")
    local.connected = {own}
    local.changed("MODIFIED", "old", deleted="2026-11-30T00:00:00Z", phase=phase)
    assert local.held == {own}
    local.changed("DELETED", "old")
    assert local.held == {own}
    local.connected = set()
    local.pods.look()
    assert not local.held


def unread(namespace: str, policy: str, version: int) -> UnreadPolicy:
    return UnreadPolicy(PolicyMeta(policy, namespace, str(version)))


def test_a_list_from_before_a_namespace_is_wanted_again_is_too_old() -> None:
    """What the watch brought meanwhile was passed over."""
    known: set[str] = set()
    policies = NamespacedPolicies(
        lambda one: known.add(one.name), lambda _, name: known.discard(name), lambda _: None, lambda: None
    )
    policies.listed([], 5)
    policies.want("shop")
    policies.unwant("shop")
    policies.changed([("ADDED", unread("shop", "closed", 7))])
    policies.want("shop")
    policies.listed_alone("shop", [], 6)
    assert (policies.has("shop"), policies.to_list) == (False, ["shop"])
    policies.listed_alone("shop", [unread("shop", "closed", 7)], 7)
    assert (policies.has("shop"), known) == (True, {"closed"})
