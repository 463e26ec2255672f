"""2,000 random worlds in which kube-network-policies' evaluator has to agree with the reference evaluator.

It is the engine of sigs.k8s.io/kube-network-policies v1.1.1, built from `tests/tools/policy-oracle` and asked
in one process. Of what it is known not to implement the worlds have none:

* named ports of sidecars: `api.NewPodInfo` reads `spec.containers` alone;
* a pod's own node and the pod itself, which are always allowed: its engine is not asked about such packets,
  as they never reach its queue;
* the rule that a node is meant under its VTEP's address too, which is the mesh's own;
* ClusterNetworkPolicies: another engine of others has an older version of that API.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from quilt_devcluster import binaries
from quilt_devcluster.shell import run
from quilt_devcluster.tools import Tool
from quilt_policy.evaluate import evaluate
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.verdicts import Connection, World
from tests.support import policy_objects as objects

Json = dict[str, Any]

ORACLE = Tool("policy-oracle", {"policy-oracle": "."}, source=Path(__file__).parents[2] / "tools")
WORLDS = 2000
QUESTIONS = 30


@pytest.mark.timeout(1800)
def test_another_evaluator_agrees() -> None:
    program = binaries.build(ORACLE, lambda _: None) / "policy-oracle"
    random = Random(17)
    worlds = [world(random) for _ in range(WORLDS)]
    asked = "\n".join(json.dumps(one) for one in worlds)
    answers = run([program], what="Asking the oracle", stdin=asked).splitlines()
    denied = 0
    for one, answer in zip(worlds, answers, strict=True):
        others = json.loads(answer)
        own = list(verdicts(one))
        assert own == others, next(
            (asked, mine, other, one)
            for asked, mine, other in zip(one["connections"], own, others, strict=True)
            if mine != other
        )
        denied += sum(verdict != [True, True] for verdict in own)
    assert denied > WORLDS, "worlds in which nothing is denied prove nothing"


def world(random: Random) -> Json:
    """A cluster of the v1 API, by address, and connections to ask about."""
    pods: dict[str, Json] = {}
    for number in range(random.randint(2, 6)):
        node = random.randint(1, 2)
        made = objects.pod(random, f"p{number}", f"n{node}", number)
        made["spec"] |= {"hostNetwork": False, "initContainers": []}
        for prefix in ("10.42.{}.{}", "fd42:42:0:{}::{}"):
            pods[prefix.format(node, number + 2)] = made
    return {
        "pods": pods,
        "namespaces": {name: objects.labels(random, objects.NAMESPACE_LABELS) for name in objects.NAMESPACES},
        "policies": [objects.policy(random, f"np{number}") for number in range(random.randint(1, 5))],
        "connections": [_connection(random, pods) for _ in range(QUESTIONS)],
    }


def _connection(random: Random, pods: dict[str, Json]) -> Json:
    """One of which at least one side is a pod, and never a pod with itself."""
    own = random.choice(sorted(pods))
    others = [one for one in (*pods, *pods, *objects.OUTSIDE) if (":" in one) == (":" in own)]
    other = random.choice([one for one in others if pods.get(one) is not pods[own]])
    client, server = (own, other) if random.random() < 0.5 else (other, own)
    ports = pods[server]["spec"]["containers"][0]["ports"] if server in pods else []
    port = random.choice(objects.NUMBERS)
    protocol = random.choice((*objects.PROTOCOLS, "ICMP"))
    if ports and random.random() < 0.6:
        chosen = random.choice(ports)
        protocol, port = chosen["protocol"], chosen["containerPort"]
    return {"client": client, "server": server, "protocol": protocol, "port": port}


def verdicts(one: Json) -> Iterator[list[bool]]:
    """What our evaluator says: egress and ingress of each connection."""
    own = World(
        pods={ip_address(address): msgspec.convert(made, Pod) for address, made in one["pods"].items()},
        namespaces=one["namespaces"],
        policies=tuple(msgspec.convert(made, NetworkPolicy) for made in one["policies"]),
    )
    for asked in one["connections"]:
        ends = ip_address(asked["client"]), ip_address(asked["server"])
        verdict = evaluate(own, Connection(*ends, asked["protocol"], asked["port"]))
        yield [verdict.egress.allowed, verdict.ingress.allowed]
