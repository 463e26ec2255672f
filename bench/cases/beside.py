"""Network policies beside kube-network-policies 1.1.1, whose process judges each connection's first packet.

Three nodes on one API server, each with a client and a server beside each other, connected by quilt-cni: the
first has the agent and the runtime, with an operator; on the second kube-network-policies enforces the same
policy (see bench/kube_network_policies.py); on the third nobody enforces any. The policy of the servers has
20 rules, each for the clients at another port, and the last one accepts. The API server knows 2,000 more
pods of 20 nodes, with addresses. All three take turns. Processor time is that of the client, whose packets
are forwarded on its account, and of kube-network-policies' process; the server's is in none of the figures.
Other work of the machine can only make one worse: each is the best of its rounds. Memory: what agent and
runtime hold more than before policies were wanted, and all that kube-network-policies holds, beside which a
node needs something else for all but policies.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from bench import kube_network_policies, peers
from bench.controlplane import ControlPlane
from bench.node import BenchError, Process, in_namespace, until
from bench.plugins import Pods
from bench.policed import PolicedNode
from bench.policy_scene import CLIENTS, SHOP, Scene, admitting, clients, pod_document
from bench.result import Line, Result
from bench.show import number
from bench.traffic import PORT, Traffic, server
from bench.traffic import measure as traffic
from bench.traffic import program as traffic_program
from bench.usage import processor, resident
from quilt_crds.names import POD, QUILTENDPOINTS
from quilt_crds.wire_policy import Endpoint, endpoints_spec

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Network policies beside kube-network-policies"
OWN, PEER, NONE = "Quilt Mesh", "kube-network-policies", "no policies"
PEERS, FAR_NODES, FAR_PODS = 40, 20, 2_000
RULES, ROUNDS, SECONDS = 20, 15, 0.5
# Nobody listens there.
SHUT = 999
KINDS = {"crr": "a connection, from SYN to FIN", "rr": "request and response"}
THEIR_NODE, THEIR_SUBNET = "theirs", "10.42.3.0/24"
CLIENT = clients(app="client")
Samples = dict[tuple[str, str], list[float]]
"""Microseconds by whose and what; with `cpu` behind what, of processors."""


@dataclass(frozen=True)
class Way:
    """Whose, from which namespace to which address, and the process that judges first packets."""

    whose: str
    netns: str
    to: str
    judge: Process | None = None


def measure(bench: Bench) -> Result:
    control, built = bench.control(), traffic_program(bench.say)
    theirs = kube_network_policies.program(bench.say)
    control.claims(PEERS)
    samples: Samples = defaultdict(list)
    with control.alone(), control.policies(), ExitStack() as stack:
        bench.say("three nodes")
        scene = Scene(control, stack, PEERS, 2)
        rules = [admitting(port, app="client") for port in (*range(1000, 999 + RULES), PORT)]
        scene.policy("servers", podSelector={"matchLabels": {"app": "server"}}, ingress=rules)
        pods = stack.enter_context(Pods(4, "beside")).names
        ways = [
            _own(scene, stack, built),
            _their(control, stack, built, theirs, pods[:2]),
            _plain(stack, built, pods[2:]),
        ]
        bench.say(f"{FAR_PODS} pods of other nodes")
        _crowd(control)
        _until_member(scene, peers.vtep(FAR_NODES).removesuffix("0") + str(1 + FAR_PODS // FAR_NODES))
        for way in ways:
            _check(way)
        for turn in range(bench.rounds(ROUNDS)):
            bench.say(f"round {turn + 1}")
            for kind in KINDS:
                for way in ways if turn % 2 else ways[::-1]:
                    _take(samples, built, way, kind, bench.seconds(SECONDS))
        judge = ways[1].judge
        assert judge is not None
        held = _memory(scene), resident(judge.pid)
    return _result(samples, *held)


def _own(scene: Scene, stack: ExitStack, built: Path) -> Way:
    """A client and a server of the node with agent and runtime."""
    place = scene.own
    client, serving = (
        scene.pod(namespace, place, name, name) for namespace, name in ((CLIENTS, "client"), (SHOP, "server"))
    )
    for pod in (serving, client):
        place.connect(pod)
    stack.enter_context(server(built, serving.netns))
    _until_member(scene, place.addresses["client"])
    return Way(OWN, client.netns, place.addresses["server"])


def _until_member(scene: Scene, address: str) -> None:
    """Wait until an address is among the clients, in the kernel of the node with agent and runtime."""
    members = ("nft", "list", "set", "inet", "quilt-policy", f"{CLIENT.set_name}-4")
    until(lambda: address in scene.own.node.ask(*members), f"{address} is among the clients")


def _their(control: ControlPlane, stack: ExitStack, built: Path, theirs: Path, pods: list[str]) -> Way:
    """The same where kube-network-policies judges; quilt-cni connects the pods there too."""
    stack.enter_context(control.another(THEIR_NODE, THEIR_SUBNET, 3))
    node = PolicedNode(stack, THEIR_NODE, policies=False, subnet=THEIR_SUBNET)
    control.join(node.node, 3)
    names = dict(zip(("client", "server"), pods, strict=True))
    node.connect(names)
    for name, namespace in (("client", CLIENTS), ("server", SHOP)):
        path, address = POD.path(namespace=namespace), node.addresses[name]
        control.admin.create(path, pod_document(namespace, THEIR_NODE, f"their-{name}", name)).ok()
        control.admin.merge(f"{path}/their-{name}/status", _status(address)).ok()
    judge = kube_network_policies.start(node.node, theirs, control.kubeconfig, THEIR_NODE)
    stack.callback(judge.stop)
    kube_network_policies.lead(node.node, node.addresses.values())
    stack.enter_context(server(built, f"/run/netns/{names['server']}"))
    return Way(PEER, f"/run/netns/{names['client']}", node.addresses["server"], judge)


def _plain(stack: ExitStack, built: Path, pods: list[str]) -> Way:
    """The same where nobody judges."""
    node = PolicedNode(stack, "plain", policies=False)
    node.connect(dict(zip(("client", "server"), pods, strict=True)))
    stack.enter_context(server(built, f"/run/netns/{pods[1]}"))
    return Way(NONE, f"/run/netns/{pods[0]}", node.addresses["server"])


def _crowd(control: ControlPlane) -> None:
    """Pods of other nodes, with addresses, as kubelets and agents say them; gone with their namespace."""
    path = POD.path(namespace=CLIENTS)
    homes = {f"far-{pod}": 1 + pod % FAR_NODES for pod in range(FAR_PODS)}
    made = (
        ("POST", path, pod_document(CLIENTS, peers.node(home), name, "client"))
        for name, home in homes.items()
    )
    asyncio.run(control.requests(made))
    items = control.admin.get(path).ok()["items"]
    uids = {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}
    endpoints: dict[int, list[Endpoint]] = defaultdict(list)
    for name, home in homes.items():
        address = peers.vtep(home).removesuffix("0") + str(2 + len(endpoints[home]))
        endpoints[home].append(Endpoint(uids[name], CLIENTS, name, address))
    reports = [
        ("PATCH", f"{path}/{one.name}/status", _status(one.address))
        for some in endpoints.values()
        for one in some
    ]
    nodes: list[Any] = [
        (
            "POST",
            QUILTENDPOINTS.path(),
            QUILTENDPOINTS.document(
                {"name": peers.node(home)}, spec=to_builtins(endpoints_spec(peers.node(home), some))
            ),
        )
        for home, some in endpoints.items()
    ]
    asyncio.run(control.requests([*reports, *nodes]))


def _status(address: str) -> dict[str, Any]:
    return {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}


def _check(way: Way) -> None:
    """Raise BenchError unless a port that the policy does not name is shut where somebody judges alone."""

    def is_open() -> bool:
        try:
            socket.create_connection((way.to, SHUT), 1).close()
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return True

    if in_namespace(way.netns, is_open) is not (way.whose == NONE):
        raise BenchError(f"{way.whose}: the policy is not enforced, or more than it says")


def _take(samples: Samples, built: Path, way: Way, kind: str, seconds: float) -> None:
    before = processor(way.judge.pid) if way.judge else 0.0
    found = traffic(built, Traffic(kind), way.netns, way.to, seconds)
    judging = processor(way.judge.pid) - before if way.judge else 0.0
    samples[way.whose, kind].append(1e6 / found.rate)
    samples[way.whose, f"{kind} cpu"].append(found.used * 1e-3 + 1e6 * judging / (found.rate * seconds))


def _memory(scene: Scene) -> float:
    """What agent and runtime of the own node hold more with policies than before they were wanted, in MB."""
    node, control = scene.own.node, scene.control
    node.stop_agent()
    node.stop_runtime()
    control.enforce(False)
    node.start_runtime()
    node.start_agent(control.credentials, control.address, control.port).wait_event("dataplane_verified")
    before = sum(map(resident, node.pids.values()))
    scene.enforce(True)
    _until_member(scene, scene.own.addresses["client"])
    return sum(map(resident, node.pids.values())) - before


def _result(samples: Samples, own: float, theirs: float) -> Result:
    lines = [_added(samples, *words) for words in (("crr", "time"), ("crr cpu", "processor time"))]
    for kind, what in KINDS.items():
        for name, unit in ((kind, ""), (f"{kind} cpu", ", processor time")):
            mine, other, none = (min(samples[whose, name]) for whose in (OWN, PEER, NONE))
            note = f"{number(none)} us with no policies"
            lines.append(
                Line(what=f"{what}{unit}", value=mine, unit="us", against=PEER, other=other, note=note)
            )
    note = "what policies add; and all of its process"
    lines.append(Line(what="memory", value=own, unit="MB", against=PEER, other=theirs, note=note))
    return Result(lines=lines)


def _added(samples: Samples, name: str, what: str) -> Line:
    """What judging costs a connection: nearly all of it its first packets."""
    mine, theirs, none = (min(samples[whose, name]) for whose in (OWN, PEER, NONE))
    text = f"{what} that policies add to a connection"
    return Line(what=text, value=mine - none, unit="us", against=PEER, other=theirs - none)
