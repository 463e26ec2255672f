"""Who is behind each selector: after any events the same as recomputed from nothing, slice by slice."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quilt_crds.wire_policy import Endpoint, PeersSpec, peers_name
from quilt_operator.core.peersets import PeerSets
from quilt_operator.core.slices import Slices
from quilt_policy.objects import Pod, PodSpec, PodStatus
from quilt_policy.selectors import PeerSelector
from tests.support.peersets_world import EVENTS, POD_NAMES, SPACES, World, address, endpoint, pod, small


@settings(max_examples=400, deadline=None)
@given(EVENTS)
def test_churn_ends_where_a_start_from_nothing_ends(events: list[tuple[Any, ...]]) -> None:
    with small():
        world = World()
        for event in events:
            world.enter(*event)
        world.look()
        assert world.actual() == world.expected()
        again = World()
        for key, what in world.state.items():
            again.enter(key[0], *what)
        again.look()
        assert again.actual() == world.actual()


def test_a_selector_of_nearly_all_is_kept_by_the_others_and_back() -> None:
    turned = Counter[bool]()
    with small():
        for seed in range(20):
            dice, world = random.Random(seed), World()
            selector = PeerSelector(pods=(("env", "NotIn", ("x",)),))
            world.enter("policy", 1, frozenset({selector}))
            for step in range(200):
                space, name = dice.choice(SPACES), dice.choice(POD_NAMES)
                # The share of those that are selected rises and falls.
                env = "x" if dice.random() < abs(step - 100) / 100 else "y"
                if dice.random() < 0.2:
                    world.enter("no pod", space, name)
                else:
                    world.enter("run", space, name, 1, {"env": env}, (), dice.randrange(40))
                if not step % 3:
                    world.look()
                    assert world.actual() == world.expected()
                    turned[world.written[peers_name(selector.hash, 0)].complement] += 1
    assert min(turned[True], turned[False]) > 100


@settings(max_examples=200, deadline=None)
@given(EVENTS, EVENTS)
def test_another_leader_continues_with_what_is_written(before: Any, meanwhile: Any) -> None:
    """It moves no address from slice to slice, and writes nothing where nothing happened meanwhile."""
    with small():
        world = World()
        for event in before:
            world.enter(*event)
        world.look()
        successor = World()
        for key, what in world.state.items():
            successor.enter(key[0], *what)
        successor.written = dict(world.written)
        successor.sets.changes()
        known: dict[str, dict[int, PeersSpec]] = {}
        for name, spec in world.written.items():
            own, _, number = name.rpartition("-")
            known.setdefault(own, {})[int(number)] = spec
        successor.sets.resume(known)
        found = {name: successor.sets.content(name) for name in world.written}
        same = {name: one[1] for name, one in found.items() if one is not None}
        ways = [{name: spec.complement for name, spec in all_.items()} for all_ in (world.written, same)]
        if ways[0] == ways[1]:
            assert same == world.written
        for event in meanwhile:
            successor.enter(*event)
        successor.look()
        assert successor.actual() == successor.expected()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=200))
def test_an_address_stays_in_its_slice(steps: list[tuple[bool, int]]) -> None:
    with small():
        held, present = Slices(), set[int]()
        for come, number in steps:
            if come is (number in present):
                continue
            before = [set(held[at]) for at in range(len(held))]
            touched = (held.add if come else held.remove)(number)
            present ^= {number}
            after = [set(held[at]) for at in range(len(held))]
            longest = max(len(before), len(after))
            unlike = {at for at in range(longest) if before[at : at + 1] != after[at : at + 1]}
            assert touched - {0} <= set(range(longest))
            assert unlike <= touched
            assert sorted(held.addresses()) == sorted(present)
            assert all(len(part) <= 3 for part in after)
            assert held.count == len(present)
            assert len(after) == 1 or after[-1]


def test_a_label_that_nobody_selects_by_makes_no_write_cilium_15153() -> None:
    world = World()
    world.enter("policy", 1, frozenset({PeerSelector(namespace="a", pods=(("app", "In", ("x",)),))}))
    world.enter("namespace", "a", {})
    world.enter("claim", 0, "n1")
    world.enter("pod", "a", "p1", 1, "n1", {"app": "x"}, ())
    world.enter("endpoints", "n1", [("a", "p1", 1, 2)])
    world.look()
    assert world.actual() == world.expected()
    world.enter("pod", "a", "p1", 1, "n1", {"app": "x", "job": "7"}, ())
    assert world.sets.changes() == []
    assert world.sets.measure() == {"pods": 1, "policies": 1, "selectors": 1, "addresses": 1}


def test_what_a_token_of_another_node_says_is_not_believed() -> None:
    sets = PeerSets()
    selector = PeerSelector(namespace="a")
    sets.put_policy("p", {selector})
    sets.identities.put_namespace("a", {})
    sets.addresses.put_claim("one", "n1", IPv4Network("10.42.0.0/29"))
    sets.addresses.put_claim("two", "n2", IPv4Network("10.42.0.8/29"))
    sets.put_pod(pod("a", "p1", 1, "n1"))

    def members() -> tuple[int, ...]:
        sets.changes()
        found = sets.content(peers_name(selector.hash, 0))
        assert found is not None
        return found[1].addresses

    sets.addresses.put_endpoints("n2", [endpoint("a", "p1", 1, 9)])
    assert members() == (), "a pod of another node"
    sets.addresses.put_endpoints("n1", [endpoint("a", "p1", 1, 9)])
    assert members() == (), "an address of another node"
    sets.addresses.put_endpoints("n1", [Endpoint("a-p1-1", "a", "p1", "elsewhere")])
    assert members() == (), "no address at all"
    sets.addresses.put_endpoints("n1", [endpoint("a", "p1", 1, 2)])
    assert members() == (address(2),)


def test_an_address_that_was_given_on_is_the_later_pods_kube_router_1056() -> None:
    world = World()
    old, new = (PeerSelector(namespace="a", pods=(("app", "In", (value,)),)) for value in ("x", "y"))
    world.enter("policy", 1, frozenset({old, new}))
    world.enter("namespace", "a", {})
    world.enter("claim", 0, "n1")
    world.enter("pod", "a", "p1", 1, "n1", {"app": "x"}, ())
    world.enter("pod", "a", "p2", 1, "n1", {"app": "y"}, ())
    world.enter("endpoints", "n1", [("a", "p1", 1, 2)])
    world.look()
    assert world.actual() == {old: {address(2)}, new: set()}
    world.enter("endpoints", "n1", [("a", "p1", 1, 2), ("a", "p2", 1, 2)])
    world.look()
    assert world.actual() == {old: set(), new: {address(2)}}


def test_a_static_pod_is_known_by_the_uid_that_its_node_has_for_it() -> None:
    sets = PeerSets()
    selector = PeerSelector(namespace="a")
    sets.put_policy("p", {selector})
    sets.identities.put_namespace("a", {})
    sets.addresses.put_claim("one", "n1", IPv4Network("10.42.0.0/29"))
    sets.put_pod(pod("a", "p1", 1, "n1", annotations={"kubernetes.io/config.mirror": "a-p1-2"}))
    sets.addresses.put_endpoints("n1", [endpoint("a", "p1", 2, 3)])
    sets.changes()
    found = sets.content(peers_name(selector.hash, 0))
    assert found is not None
    assert found[1].addresses == (address(3),)


def test_pods_of_the_hosts_network_are_in_no_set() -> None:
    sets = PeerSets()
    plain = pod("a", "p1", 1, "n1")
    sets.put_pod(plain)
    assert sets.addresses.keys() == [("a", "p1")]
    sets.put_pod(Pod(metadata=plain.metadata, spec=PodSpec(node_name="n1", host_network=True)))
    assert sets.addresses.keys() == []
    assert list(sets.identities) == []


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
def test_a_terminating_pod_stays_a_peer_calico_4518_azure_1095_aks_2598(phase: str) -> None:
    """While its node says that it has an address, whatever its phase: it ends its connections in order."""
    sets = PeerSets()
    selector = PeerSelector(namespace="a")
    sets.put_policy("p", {selector})
    sets.identities.put_namespace("a", {})
    sets.addresses.put_claim("one", "n1", IPv4Network("10.42.0.0/29"))
    plain = pod("a", "p1", 1, "n1", deletion_timestamp="2026-11-30T00:00:00Z")
    sets.put_pod(replace(plain, status=PodStatus(phase=phase)))
    for published, members in (([endpoint("a", "p1", 1, 2)], (address(2),)), ([], ())):
        sets.addresses.put_endpoints("n1", published)
        sets.changes()
        found = sets.content(peers_name(selector.hash, 0))
        assert found is not None
        assert found[1].addresses == members
