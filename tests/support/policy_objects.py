"""Random objects of small clusters, as the API server has them (JSON values), from a `random.Random`.

Few names and few values, so that things meet: a policy selects some of the pods, a port is that of somebody.
"""

from __future__ import annotations

from random import Random
from typing import Any

Json = dict[str, Any]
Labels = dict[str, tuple[str, ...]]
"""Values that a label may have, by its key."""

NAMESPACES = ("a", "b", "c")
LABELS: Labels = {"app": ("web", "db"), "tier": ("front", "back"), "canary": ("", "yes")}
NAMESPACE_LABELS: Labels = {"team": ("red", "blue"), "env": ("prod", "test")}
NODE_LABELS: Labels = {"zone": ("east", "west")}
PORT_NAMES = ("http", "dns")
NUMBERS = (53, 80, 81, 8080)
PROTOCOLS = ("TCP", "TCP", "TCP", "UDP", "SCTP")
"""One of them by far the most, so that ports of one protocol meet."""
OUTSIDE = ("198.51.100.7", "192.168.0.99", "2001:db8::7")
BLOCKS = (
    "0.0.0.0/0",
    "10.42.0.0/16",
    "10.42.1.0/24",
    "10.42.1.2/31",
    "10.42.2.3/32",
    "192.168.0.0/24",
    "192.168.0.2/32",
    "192.168.0.4/32",
    "198.51.100.0/24",
    "::/0",
    "fd42:42:0:1::/64",
    "fd42:42:0:2::3/128",
    "2001:db8::/32",
)


def labels(random: Random, known: Labels) -> dict[str, str]:
    """Some of the labels."""
    return {key: random.choice(values) for key, values in known.items() if random.random() < 0.6}


def selector(random: Random, known: Labels) -> Json:
    """A label selector: often empty, at times with expressions."""
    found: Json = {}
    if random.random() < 0.4:
        found["matchLabels"] = labels(random, known)
    if random.random() < 0.4:
        found["matchExpressions"] = [_expression(random, known)]
    return found


def _expression(random: Random, known: Labels) -> Json:
    key = random.choice(sorted(known))
    operator = random.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    if operator in {"Exists", "DoesNotExist"}:
        return {"key": key, "operator": operator}
    return {
        "key": key,
        "operator": operator,
        "values": random.sample(known[key], random.randint(1, len(known[key]))),
    }


def pod(random: Random, name: str, node: str, number: int) -> Json:
    """A pod of that node with named ports, a sidecar's at times, at times on the host's network.

    No two pods of a world have the same `number`: a uid is never given again, also where chance is shrunk.
    """
    ports = [_container_port(random) for _ in range(random.randint(0, 3))]
    init = [{"restartPolicy": random.choice(("Always", "")), "ports": [_container_port(random)]}]
    return {
        "metadata": {
            "name": name,
            "namespace": random.choice(NAMESPACES),
            "uid": f"uid-{name}-{number}",
            "labels": labels(random, LABELS),
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": random.random() < 0.05,
            "containers": [{"ports": ports}],
            "initContainers": init if random.random() < 0.3 else [],
        },
    }


def _container_port(random: Random) -> Json:
    port: Json = {
        "containerPort": random.choice(NUMBERS),
        "protocol": random.choice(PROTOCOLS),
    }
    if random.random() < 0.8:
        port["name"] = random.choice(PORT_NAMES)
    return port


def policy(random: Random, name: str) -> Json:
    """A NetworkPolicy with its defaults filled in, as the API server does."""
    types = random.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    spec: Json = {"podSelector": selector(random, LABELS), "policyTypes": types}
    for kind, side in (("ingress", "from"), ("egress", "to")):
        rules = [_rule(random, side) for _ in range(random.randint(0, 2))]
        if rules:
            spec[kind] = rules
    return {"metadata": {"name": name, "namespace": random.choice(NAMESPACES)}, "spec": spec}


def _rule(random: Random, side: str) -> Json:
    rule: Json = {}
    peers = [_peer(random) for _ in range(random.choice((0, 1, 1, 2)))]
    ports = [_policy_port(random) for _ in range(random.choice((0, 0, 1, 2)))]
    if peers:
        rule[side] = peers
    if ports:
        rule["ports"] = ports
    return rule


def _peer(random: Random) -> Json:
    kind = random.choice(("block", "pods", "namespaces", "both"))
    if kind == "block":
        cidr = random.choice(BLOCKS)
        inside = [one for one in BLOCKS if (":" in one) == (":" in cidr) and one != cidr]
        holes = random.sample(inside, random.choice((0, 0, 1, 2)))
        return {"ipBlock": {"cidr": cidr, "except": holes} if holes else {"cidr": cidr}}
    peer: Json = {}
    if kind != "namespaces":
        peer["podSelector"] = selector(random, LABELS)
    if kind != "pods":
        peer["namespaceSelector"] = selector(random, NAMESPACE_LABELS)
    return peer


def _policy_port(random: Random) -> Json:
    port: Json = {"protocol": random.choice(PROTOCOLS)}
    kind = random.choice(("all", "number", "number", "name", "name", "range"))
    if kind == "number":
        port["port"] = random.choice(NUMBERS)
    elif kind == "name":
        port["port"] = random.choice(PORT_NAMES)
    elif kind == "range":
        port["port"] = random.choice(NUMBERS)
        port["endPort"] = port["port"] + random.choice((0, 1, 8000))
    return port


def cluster_policy(random: Random, name: str) -> Json:
    """A ClusterNetworkPolicy; at times with something that no release knows yet."""
    spec: Json = {
        "tier": random.choice(("Admin", "Admin", "Baseline")),
        "priority": random.randint(0, 3),
        "subject": {"namespaces": selector(random, NAMESPACE_LABELS)}
        if random.random() < 0.5
        else {"pods": _namespaced_pods(random)},
    }
    for kind, side in (("ingress", "from"), ("egress", "to")):
        rules = [_cluster_rule(random, side) for _ in range(random.randint(0, 2))]
        if rules:
            spec[kind] = rules
    return {"metadata": {"name": name}, "spec": spec}


def _namespaced_pods(random: Random) -> Json:
    return {
        "namespaceSelector": selector(random, NAMESPACE_LABELS),
        "podSelector": selector(random, LABELS),
    }


def _cluster_rule(random: Random, side: str) -> Json:
    rule: Json = {
        "action": random.choice(("Accept", "Deny", "Pass")),
        side: [_cluster_peer(random, side) for _ in range(random.randint(1, 2))],
    }
    if random.random() < 0.5:
        rule["protocols"] = [_cluster_protocol(random) for _ in range(random.randint(1, 2))]
    return rule


def _cluster_peer(random: Random, side: str) -> Json:
    kinds = ["namespaces", "pods", "pods"] * 4 + ["later"]
    if side == "to":
        kinds += ["nodes", "networks"] * 4 + ["domainNames"]
    match random.choice(kinds):
        case "namespaces":
            return {"namespaces": selector(random, NAMESPACE_LABELS)}
        case "pods":
            return {"pods": _namespaced_pods(random)}
        case "nodes":
            return {"nodes": selector(random, NODE_LABELS)}
        case "networks":
            return {"networks": random.sample(BLOCKS, random.randint(1, 2))}
        case "domainNames":
            return {"domainNames": ["example.org"]}
        case _:
            return {"later": {}}


def _cluster_protocol(random: Random) -> Json:
    if random.random() < 0.3:
        return {"destinationNamedPort": random.choice(PORT_NAMES)}
    protocol = random.choice(("tcp", "udp", "sctp"))
    number = random.choice(NUMBERS)
    match random.choice(("all", "number", "range")):
        case "number":
            return {protocol: {"destinationPort": {"number": number}}}
        case "range":
            return {protocol: {"destinationPort": {"range": {"start": number, "end": number + 100}}}}
        case _:
            return {protocol: {}}
