"""Random small clusters, and what happens to them, from a `random.Random`."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from random import Random

import msgspec
from msgspec.structs import replace

from quilt_policy.change import Change
from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.compile import Compiler
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.program import AddressSet, Members, Program
from quilt_policy.verdicts import Address, Connection
from tests.support import policy_objects as objects
from tests.support.policy_scene import HERE, Scene, facts_of, place_of

NODES = ("n1", "n2", "n3")
PODS = 6
POLICIES = 4
CLUSTER_POLICIES = 3


def scene(random: Random) -> Scene:
    """A cluster as it may be found, of which nothing was reported yet."""
    found = Scene()
    for name in objects.NAMESPACES:
        found.namespaces[name] = objects.labels(random, objects.NAMESPACE_LABELS)
    for name in NODES:
        found.nodes[name] = objects.labels(random, objects.NODE_LABELS)
    for number in range(random.randint(2, PODS)):
        _put_pod(random, found, f"p{number}")
    for number in range(random.randint(0, POLICIES)):
        found.policies[f"np{number}"] = _policy(random, f"np{number}")
    for number in range(random.choice((0, 0, 1, 2, CLUSTER_POLICIES))):
        found.cluster[f"cnp{number}"] = _cluster_policy(random, f"cnp{number}")
    return found


def happen(random: Random, found: Scene, compiler: Compiler) -> None:
    """Let one thing happen, and have the compiler see it as an agent reports it."""
    events = (_pod, _pod, _labelled, _completed, _policy_event, _policy_event, _cluster_event, _namespace)
    event = random.choice((*events, _node, _report))
    event(random, found, compiler)


def connections(random: Random, found: Scene, count: int) -> Iterator[Connection]:
    """Connections of which at least one side is a pod here, in IPv4 and IPv6."""
    world = found.world()
    here = [found.addresses(name) for name, pod in found.with_address.items() if pod.node == HERE]
    others: list[Address] = [ip_address(text) for text in objects.OUTSIDE]
    others += [address for name in found.with_address for address in found.addresses(name) * 3]
    for name in found.nodes:
        facts = facts_of(name, {})
        others += sorted(facts.addresses, key=str) + sorted(facts.inner, key=str)
    for _ in range(count if here else 0):
        own = random.choice(random.choice(here))
        other = random.choice([one for one in others if one.version == own.version])
        client, server = (own, other) if random.random() < 0.5 else (other, own)
        yield Connection(client, server, *_port(random, world.pods.get(server)))


def _port(random: Random, server: Pod | None) -> tuple[str, int]:
    """Any protocol and port; of a pod often one that has a name there."""
    if server is not None and server.ports and random.random() < 0.6:
        port = random.choice(server.ports)
        return port.protocol, port.number
    protocol = random.choice((*objects.PROTOCOLS, "ICMP"))
    return protocol, random.choice((*objects.NUMBERS, 8081)) if protocol != "ICMP" else 0


def applied(program: Program, change: Change) -> Program:
    """The program after a change, which has to fit it exactly."""
    chains, sets, pods = dict(program.chains), dict(program.sets), dict(program.pods)
    for new in change.sets:
        assert new.name not in sets or new.ranges
        sets[new.name] = new
    for one in change.members:
        held = sets[one.name].members
        v4 = _edited(held.v4, one.add.v4, one.remove.v4, 4)
        sets[one.name] = AddressSet(one.name, Members(v4, _edited(held.v6, one.add.v6, one.remove.v6, 16)))
    for chain in change.chains:
        assert chain.name not in chains
        chains[chain.name] = chain
    pods.update((profile.pod, profile) for profile in change.pods)
    for pod in change.gone_pods:
        del pods[pod]
    for name in change.gone_chains:
        del chains[name]
    for name in change.gone_sets:
        del sets[name]
    return Program(chains, sets, pods)


def _edited(held: bytes, add: bytes, remove: bytes, length: int) -> bytes:
    before, added, removed = (
        {text[at : at + length] for at in range(0, len(text), length)} for text in (held, add, remove)
    )
    assert not before & added
    assert removed <= before
    return b"".join(sorted((before | added) - removed))


def _put_pod(random: Random, found: Scene, name: str) -> None:
    found.born += 1
    node = random.choice((HERE, *sorted(found.nodes)))
    made = msgspec.convert(objects.pod(random, name, node, found.born), Pod)
    found.pods[name] = made
    found.ended.discard(name)
    (found.connected.add if random.random() < 0.7 else found.connected.discard)(name)


def _policy(random: Random, name: str) -> NetworkPolicy:
    return msgspec.convert(objects.policy(random, name), NetworkPolicy)


def _cluster_policy(random: Random, name: str) -> ClusterNetworkPolicy:
    return msgspec.convert(objects.cluster_policy(random, name), ClusterNetworkPolicy)


def _pod(random: Random, found: Scene, compiler: Compiler) -> None:
    """A pod ends, and another one of its name may begin, with other labels or ports, here or elsewhere.

    Which of the two is known first is chance.
    """
    name = f"p{random.randrange(PODS)}"
    before = found.pods.pop(name, None)
    if random.random() < 0.8:
        _put_pod(random, found, name)
    left = before if before is not None and before.node == HERE else None
    is_late = random.random() < 0.5
    if left is not None and not is_late:
        compiler.drop_pod(left.key)
    _put(found, compiler, name)
    if left is not None and is_late:
        compiler.drop_pod(left.key)


def _labelled(random: Random, found: Scene, compiler: Compiler) -> None:
    """A pod that runs gets other labels."""
    name = f"p{random.randrange(PODS)}"
    pod = found.pods.get(name)
    if pod is not None:
        labels = objects.labels(random, objects.LABELS)
        found.pods[name] = replace(pod, metadata=replace(pod.metadata, labels=labels))
        _put(found, compiler, name)


def _completed(random: Random, found: Scene, compiler: Compiler) -> None:
    """A pod completes: its object stays, another pod may have its address. Or that one is deleted."""
    number = random.randrange(PODS)
    name, kept = f"p{number}", f"completed-{number}"
    if (gone := found.pods.pop(kept, None)) is not None:
        found.ended.discard(kept)
        if gone.node == HERE:
            compiler.drop_pod(gone.key)
    elif name in found.with_address:
        found.pods[kept] = found.pods.pop(name)
        found.ended.add(kept)
        _put_pod(random, found, name)
        for one in random.sample((name, kept), 2):
            _put(found, compiler, one)


def _put(found: Scene, compiler: Compiler, name: str) -> None:
    pod = found.pods.get(name)
    if pod is not None and pod.node == HERE:
        compiler.put_pod(pod, connected=name in found.connected)


def _policy_event(random: Random, found: Scene, compiler: Compiler) -> None:
    name = f"np{random.randrange(POLICIES)}"
    before = found.policies.pop(name, None)
    if random.random() < 0.8:
        made = found.policies[name] = _policy(random, name)
        compiler.put_policy(made)
        if before is None or before.namespace == made.namespace:
            return
    if before is not None:
        compiler.drop_policy(before.namespace, name)


def _cluster_event(random: Random, found: Scene, compiler: Compiler) -> None:
    name = f"cnp{random.randrange(CLUSTER_POLICIES)}"
    if random.random() < 0.7:
        found.cluster[name] = _cluster_policy(random, name)
        compiler.put_cluster_policy(found.cluster[name])
    else:
        found.cluster.pop(name, None)
        compiler.drop_cluster_policy(name)


def _namespace(random: Random, found: Scene, compiler: Compiler) -> None:
    name = random.choice(objects.NAMESPACES)
    if random.random() < 0.8:
        found.namespaces[name] = objects.labels(random, objects.NAMESPACE_LABELS)
        compiler.put_namespace(name, found.namespaces[name])
    else:
        found.namespaces.pop(name, None)
        compiler.drop_namespace(name)


def _node(random: Random, found: Scene, compiler: Compiler) -> None:
    """A node joins, leaves, or gets other labels; that of the compiler and those with pods stay."""
    name = random.choice(("n2", "n3", "n4"))
    if name in found.nodes and random.random() < 0.4 and all(pod.node != name for pod in found.pods.values()):
        del found.nodes[name]
        compiler.drop_place(name)
        return
    found.nodes[name] = objects.labels(random, objects.NODE_LABELS)
    compiler.put_place(name, place_of(name))


def _report(random: Random, found: Scene, compiler: Compiler) -> None:
    """The operator reports some of what is needed."""
    families = sorted(compiler.selectors, key=lambda one: one.text)
    found.report(compiler, [family for family in families if random.random() < 0.5])
