"""The operator keeps QuiltPeers while policies are on, over an API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
from msgspec import convert

from quilt_crds.names import (
    CLUSTERNETWORKPOLICY,
    NAMESPACE,
    NETWORKPOLICY,
    NODE,
    POD,
    QUILTENDPOINTS,
    QUILTNETWORK,
    QUILTPEERS,
    claim_name,
)
from quilt_crds.wire import Mesh, QuiltSubnet
from quilt_crds.wire_policy import SELECTOR_LIMIT, QuiltPeers
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.policies import entering, feature
from quilt_operator.policies.feature import Policies
from quilt_operator.world import World
from quilt_policy.selectors import PeerSelector
from tests.support.agent_doubles import eventually
from tests.support.operator_doubles import made_claim
from tests.support.small_api import SmallApi

WEB = PeerSelector(namespace="shop", pods=(("app", "In", ("web",)),))
POLICY = {
    "podSelector": {},
    "policyTypes": ["Ingress"],
    "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
}


class Events:
    """What was published: (kind, name, reason, message)."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, str, str]] = []

    def note(self, about: Any, type_: str, reason: str, message: str) -> None:
        self.published.append((about.kind, about.name, reason, message))


class Scene:
    """A cluster of one node, in whose namespace `shop` one policy admits the pods of `web`."""

    def __init__(self) -> None:
        self.api, self.events = SmallApi(), Events()
        self.replanned: Callable[[], None] = lambda: None
        self.world = World("default", lambda name: None, lambda: self.replanned())
        self.api.absent.add("/apis/policy.networking.k8s.io")
        self.switch(policy=True)
        self.claim("10.42.1.0/24", "n1")
        self.api.put(NAMESPACE, "shop")
        self.api.put(NETWORKPOLICY, "admit-web", namespace="shop", spec=POLICY)

    def switch(self, **switches: bool) -> None:
        """Have the network say what is on."""
        version = str(int(self.world.network_raw.get("metadata", {}).get("resourceVersion", "1")) + 1)
        spec = {"clusterCIDRs": ["10.42.0.0/16"], **{name: {"enabled": on} for name, on in switches.items()}}
        meta = {"name": "default", "resourceVersion": version}
        self.world.observe(QUILTNETWORK.plural, {"metadata": meta, "spec": spec})

    def claim(self, cidr: str, node: str) -> QuiltSubnet:
        claim = made_claim(cidr, node, Mesh("Up"), resource_version="1")
        self.world.put_claim(claim)
        return claim

    def pod(self, name: str, app: str = "web") -> None:
        self.api.put(POD, name, namespace="shop", metadata={"labels": {"app": app}}, spec={"nodeName": "n1"})

    def endpoints(self, **addresses: str) -> None:
        pods = [
            {"uid": f"uid-{name}", "namespace": "shop", "name": name, "address": address}
            for name, address in addresses.items()
        ]
        self.api.put(QUILTENDPOINTS, "n1", spec={"node": "n1", "pods": len(pods), "endpoints": pods})

    def peers(self, selector: PeerSelector = WEB) -> list[int] | None:
        """The last bytes of the addresses behind a selector; None while nothing is written of it."""
        found = self.api.of(QUILTPEERS).get(f"{selector.hash}-0")
        if found is None:
            return None
        peers = convert(found, QuiltPeers)
        assert peers.label == selector.label
        return [address & 0xFF for address in peers.spec.addresses]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with self.api.served() as access:
            client = Client(access).prompt()
            policies = Policies(client, self.world, cast(EventRecorder, self.events), 60.0)
            self.replanned = policies.replanned
            task = asyncio.create_task(policies.run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await client.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature, "_LOOK_AGAIN", 0.01)
    monkeypatch.setattr(feature, "_LEFT_FOR", 0.03)
    monkeypatch.setattr(entering, "_ABSENT", 0.05)


async def test_pods_come_into_the_set_of_their_selector_and_leave_it_cilium_33581() -> None:
    scene = Scene()
    scene.pod("a")
    scene.endpoints(a="10.42.1.7")
    async with scene.working():
        await eventually(lambda: scene.peers() == [7])
        scene.pod("b")
        assert scene.peers() == [7], "a pod without an address is in no set"
        scene.endpoints(a="10.42.1.7", b="10.42.1.8")
        await eventually(lambda: scene.peers() == [7, 8])
        scene.pod("a", app="other")
        await eventually(lambda: scene.peers() == [8])
        scene.endpoints(b="10.42.2.8")
        await eventually(lambda: scene.peers() == [])
        scene.world.put_claim(scene.claim("10.42.2.0/24", "n1"))
        await eventually(lambda: scene.peers() == [8])
        scene.world.forget("quiltsubnets", claim_name("10.42.2.0/24"), 2)
        await eventually(lambda: scene.peers() == [])


async def test_a_change_of_one_pod_is_one_write_whatever_names_it_aws_211() -> None:
    scene = Scene()
    for name, app in (("a", "web"), ("b", "other")):
        scene.pod(name, app)
    for number in range(20):
        scene.api.put(NETWORKPOLICY, f"more-{number}", namespace="shop", spec=POLICY)
    scene.endpoints(a="10.42.1.7", b="10.42.1.8")
    async with scene.working():
        await eventually(lambda: scene.peers() == [7])
        before = len(scene.api.writes)
        scene.pod("b")
        await eventually(lambda: scene.peers() == [7, 8])
        assert [one.partition(" ")[2] for one in scene.api.writes[before:]] == [
            QUILTPEERS.path(f"{WEB.hash}-0")
        ]


async def test_a_set_that_nobody_is_in_and_one_that_nobody_wants_any_more() -> None:
    scene = Scene()
    async with scene.working():
        await eventually(lambda: scene.peers() == [])
        scene.api.drop(NETWORKPOLICY, "admit-web", namespace="shop")
        await eventually(lambda: scene.peers() is None)


@pytest.mark.parametrize(("spare", "is_written"), [(60_000, True), (15, True), (14, False)])
async def test_a_selector_that_is_too_long_with_the_number_of_a_named_port_is_not_written(
    spare: int, is_written: bool
) -> None:
    """The members of a named port's family are read by their text, which is not cut."""
    scene = Scene()
    family = PeerSelector("shop", pods=(("app", "In", ("web",)),), protocol="TCP", port_name="http")
    value = "x" * (SELECTOR_LIMIT - spare - len(family.text) + 3)
    family = msgspec.structs.replace(family, pods=(("app", "In", (value,)),))
    ports = [{"containerPort": 8080, "name": "http"}]
    peer = {"podSelector": {"matchLabels": {"app": value}}}
    to = {"to": [peer], "ports": [{"protocol": "TCP", "port": "http"}]}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [to]}
    scene.api.put(NETWORKPOLICY, "by-name", namespace="shop", spec=spec)
    containers = {"nodeName": "n1", "containers": [{"name": "c", "ports": ports}]}
    scene.api.put(POD, "a", namespace="shop", metadata={"labels": {"app": value}}, spec=containers)
    scene.endpoints(a="10.42.1.7")
    member = family.with_number(8080)
    async with scene.working():
        await eventually(lambda: scene.peers() == [])
        scene.pod("b")
        scene.endpoints(a="10.42.1.7", b="10.42.1.8")
        await eventually(lambda: scene.peers() == [8])
        await eventually(lambda: (scene.peers(member) == [7]) is is_written)
    if is_written:
        held = scene.api.of(QUILTPEERS)[f"{member.hash}-0"]
        assert PeerSelector.parse(held["spec"]["selector"]) == member


async def test_another_leader_writes_nothing_that_is_written() -> None:
    scene = Scene()
    scene.pod("a")
    scene.endpoints(a="10.42.1.7")
    async with scene.working():
        await eventually(lambda: scene.peers() == [7])
    again = Scene()
    again.api.held = dict(scene.api.held)
    again.api.put(QUILTPEERS, "0123456789abcdef-0", spec={"of": 1, "selector": "{}"})
    async with again.working():
        await eventually(lambda: len(again.api.of(QUILTPEERS)) == 1)
        assert again.api.writes == [f"DELETE {QUILTPEERS.path('0123456789abcdef-0')}"]
        assert again.peers() == [7]


async def test_what_others_change_or_delete_is_written_again() -> None:
    scene = Scene()
    scene.pod("a")
    scene.endpoints(a="10.42.1.7")
    async with scene.working():
        await eventually(lambda: scene.peers() == [7])
        scene.api.drop(QUILTPEERS, f"{WEB.hash}-0")
        await eventually(lambda: scene.peers() == [7])
        labels = {"labels": {"quilt.io/selector": WEB.label}}
        scene.api.put(QUILTPEERS, f"{WEB.hash}-0", metadata=labels, spec={"of": 1, "selector": WEB.text})
        await eventually(lambda: scene.peers() == [7])


async def test_without_policies_nothing_is_followed_and_what_is_left_is_removed() -> None:
    scene = Scene()
    scene.pod("a")
    scene.endpoints(a="10.42.1.7")
    async with scene.working():
        await eventually(lambda: scene.peers() == [7])
        scene.switch(policy=False)
        await eventually(lambda: not scene.api.of(QUILTPEERS))
        assert scene.api.of(QUILTENDPOINTS), "these are published without policies too"
        scene.switch(policy=False, endpoints=False)
        await eventually(lambda: not scene.api.of(QUILTENDPOINTS))
        scene.switch(policy=True)
        await eventually(lambda: scene.peers() == [])
    scene.switch(policy=False)
    scene.api.asked.clear()
    async with scene.working():
        await eventually(lambda: not scene.api.of(QUILTPEERS))
    assert not [one for one in scene.api.asked if one.endswith(("/pods", "/namespaces", "policies"))]


async def test_cluster_policies_are_followed_once_there_are_such() -> None:
    scene = Scene()
    scene.api.put(NODE, "n1", metadata={"labels": {"zone": "a"}}, status={"addresses": [ADDRESS]})
    nodes = PeerSelector(nodes=(("zone", "In", ("a",)),))
    async with scene.working():
        await eventually(lambda: scene.peers() == [])
        peers = [{"nodes": {"matchLabels": {"zone": "a"}}}]
        scene.api.put(CLUSTERNETWORKPOLICY, "to-nodes", spec=cluster_policy(peers))
        scene.api.absent.clear()
        await eventually(lambda: scene.peers(nodes) == [9])
        await eventually(lambda: conditions(scene, "to-nodes") == [("True", "every rule is applied")])
        assert scene.events.published == []


async def test_what_of_a_cluster_policy_cannot_be_applied_is_reported() -> None:
    scene = Scene()
    scene.api.absent.clear()
    scene.api.put(CLUSTERNETWORKPOLICY, "to-names", spec=cluster_policy([{"domainNames": ["example.com"]}]))
    reported = "egress[0] (out): domainNames are not supported: it accepts nothing"
    async with scene.working():
        await eventually(lambda: conditions(scene, "to-names") == [("False", reported)])
        event = ("ClusterNetworkPolicy", "to-names", "Unsupported", reported)
        await eventually(lambda: scene.events.published == [event])


def cluster_policy(peers: list[Any]) -> dict[str, Any]:
    rule = {"name": "out", "action": "Accept", "to": peers}
    return {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}, "egress": [rule]}


def conditions(scene: Scene, name: str) -> list[tuple[str, str]]:
    status = scene.api.of(CLUSTERNETWORKPOLICY)[name].get("status", {})
    return [(item["status"], item["message"]) for item in status.get("conditions", [])]


ADDRESS = {"type": "InternalIP", "address": "192.0.2.9"}
