"""Pods that start while a node's processes are killed and stopped: isolated from their first instant.

QUILT_POLICY_STARTS is the number of starts, QUILT_POLICY_SEED what decides the instants (default: any).
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from quilt_netlink import Address, Link, Put
from tests.support.flood import INTO_POD, OUT_OF_POD, arrived, count, flooding
from tests.support.namespaces import Namespace
from tests.support.pods_scene import PEERS, PODS, POLICIES, peers, selector
from tests.support.pods_scene import pod as pod_object
from tests.support.restless_node import HOST, Restlessness, RestlessNode
from tests.support.runtime_node import eventually

Make = Callable[[], Namespace]
STARTS = int(os.environ.get("QUILT_POLICY_STARTS", "30"))
SEED = int(os.environ.get("QUILT_POLICY_SEED", str(random.randrange(1 << 32))))
AT_ONCE, ATTEMPTS = 4, 5
"""Pods that start at the same time, and how often one is tried before its start counts as incomplete."""
OUTSIDE = "198.18.0.2"
ADDRESSES = [f"10.42.1.{100 + number}" for number in range(AT_ONCE)]
ISOLATED = {
    "metadata": {"name": "isolated", "namespace": "default"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
    },
}


@dataclass
class Outcome:
    """How one start went: after how many attempts it was complete, 0 where it never was."""

    attempts: int
    forbidden: int


@pytest.fixture
def node(make_netns: Make, tmp_path: Path, plugin: Path) -> Iterator[tuple[RestlessNode, Namespace]]:
    """A node that enforces policies, and the host beside it, which reaches its pods."""
    netns, outside = make_netns(), make_netns()
    with netns.kernel() as kernel, outside.kernel() as beside:
        other = Link("eth0", up=True, netns_fd=outside.descriptor())
        kernel.run(Put(Link("eth0", kind="veth", up=True, mtu=1500, peer=other)))
        for end, address in ((kernel, HOST), (beside, OUTSIDE)):
            link = end.link("eth0")
            assert link is not None
            end.run(Put(Link("eth0", index=link.index, up=True)))
            end.run(Put(Address(link.index, f"{address}/24")))
    outside.run("ip", "route", "add", "10.42.0.0/16", "via", HOST)
    with RestlessNode(netns, tmp_path, plugin) as made:
        made.put(POLICIES, ISOLATED)
        made.put(PEERS, peers(selector("default", app="friend"), "10.42.1.250"))
        yield made, outside


@dataclass
class Starts:
    """Starts of one pod after the other in one namespace, which always floods."""

    node: RestlessNode
    pod: Namespace
    address: str
    chance: random.Random

    def start(self, number: int, label: str = "web") -> Outcome:
        """Start a pod as kubelet and container engine do, let it live for a moment, and remove it."""
        name, uid = f"{label}-{number}", str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        before = arrived(self.pod)
        item = pod_object(name, "default", app=label)
        item["metadata"]["uid"] = uid
        self.node.put(PODS, item)
        attempts = 0
        for attempt in range(1, ATTEMPTS + 1):
            container = f"{name}-{attempt}"
            added = self.node.try_add(container, self.pod, self.address, name, uid)
            if added.code == 0:
                attempts = attempt
                time.sleep(self.chance.uniform(0, 0.2))  # of a flood; what is shown is that nothing comes
            self.node.remove(container, self.pod)
            if attempts:
                break
        self.node.delete(PODS, f"default/{name}")
        return Outcome(attempts, arrived(self.pod) - before)


def test_no_forbidden_packet_arrives_while_all_is_killed_and_stopped_kube_router_873_k3s_13432(
    node: tuple[RestlessNode, Namespace], make_netns: Make
) -> None:
    """kube-router #873, antrea #197: neither into a pod nor out of it, from the first instant of its life."""
    print(f"QUILT_POLICY_SEED={SEED}")
    mesh, outside = node
    client, pods = make_netns(), [make_netns() for _ in ADDRESSES]
    for one in (client, outside, *pods):
        count(one)
    mesh.put(PODS, pod_object("client", "default", app="client"))
    added = mesh.try_add("client", client, "10.42.1.50", "client", "uid-client")
    assert added.code == 0, added.document
    workers = [
        Starts(mesh, pod, address, random.Random(f"{SEED} {address}"))
        for pod, address in zip(pods, ADDRESSES, strict=True)
    ]
    with ExitStack() as floods:
        floods.enter_context(flooding(client, INTO_POD, *ADDRESSES))
        floods.enter_context(flooding(outside, INTO_POD, *ADDRESSES))
        for pod in pods:
            floods.enter_context(flooding(pod, OUT_OF_POD, "10.42.1.50", OUTSIDE))
        with ThreadPoolExecutor(AT_ONCE) as pool, Restlessness(mesh, SEED) as restless:
            shares = [range(first, STARTS, AT_ONCE) for first in range(AT_ONCE)]

            def work(worker: Starts, share: range) -> list[Outcome]:
                found = []
                for number in share:
                    found.append(worker.start(number))
                    restless.step()
                return found

            done = pool.map(work, workers, shares)
            outcomes = [outcome for found in done for outcome in found]
        complete = [one.attempts for one in outcomes if one.attempts]
        print(
            f"{len(outcomes)} starts, {len(complete)} complete, {complete.count(1)} at once; {restless.done}"
        )
        assert sum(one.forbidden for one in outcomes) == 0, "into a pod"
        assert (arrived(client), arrived(outside)) == (0, 0), "out of a pod"
        assert len(complete) >= 0.9 * STARTS
        mesh.delete(POLICIES, "default/isolated")
        eventually(lambda: workers[0].start(STARTS, "free").forbidden > 0, "what is allowed arrives in a pod")
        eventually(
            lambda: workers[0].start(STARTS + 1, "free") and arrived(client) and arrived(outside),
            "what is allowed arrives from a pod",
        )
