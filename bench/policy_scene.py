"""Two nodes whose agents and runtimes enforce policies, an operator, and pods that their API server knows.

`own` is the node that is looked at, with pods of the namespace SHOP; the pods of `other`, in the namespace
CLIENTS, are who policies admit. A pod is a Pod in the API and a network namespace that quilt-cni connects.
The operator is on the other node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from msgspec import convert

from bench import peers
from bench.controlplane import OPERATOR, ControlPlane
from bench.events import ElementChange, ElementListener
from bench.node import Node, until
from bench.plugins import Call, Engine, Outcome, Pods, build_plugin
from quilt_crds.names import NAMESPACE, NETWORKPOLICY, POD, QUILTENDPOINTS, QUILTPEERS
from quilt_crds.wire_policy import QuiltPeers, peers_name
from quilt_policy.labels import LabelSelector
from quilt_policy.selectors import PeerSelector

SHOP, CLIENTS = "bench-shop", "bench-clients"
_SERVICEACCOUNT = "/api/v1/namespaces/{}/serviceaccounts"
Json = dict[str, Any]
Tells = Callable[[ElementChange], bool]


@dataclass(frozen=True, slots=True)
class BenchPod:
    """A Pod of the API, and the network namespace that is its own."""

    namespace: str
    name: str
    uid: str
    netns: str

    @property
    def path(self) -> str:
        """Its path in the API."""
        return POD.path(self.name, namespace=self.namespace)

    @property
    def arguments(self) -> str:
        """CNI_ARGS, as the container engine passes them on."""
        pod = {"NAMESPACE": self.namespace, "NAME": self.name, "UID": self.uid}
        return ";".join(["IgnoreUnknown=1", *(f"K8S_POD_{key}={value}" for key, value in pod.items())])


@dataclass
class Place:
    """A node, and what calls its plugin."""

    name: str
    node: Node
    engine: Engine
    plugin: str
    addresses: dict[str, str] = field(default_factory=dict)
    """Of its pods, by name."""

    def call(self, verb: str, pod: BenchPod) -> Outcome:
        """Call the plugin for a pod; BenchError where it fails."""
        socket = str(self.node.socket.with_name("cni.sock"))
        config = {"cniVersion": "1.0.0", "name": "quilt", "type": "quilt-cni", "socket": socket}
        wanted = Call(self.plugin, verb, f"container-of-{pod.name}", pod.netns, config, pod.arguments)
        (done,) = self.engine.succeed([wanted])
        return done

    def connect(self, pod: BenchPod) -> None:
        """Give a pod its address."""
        self.addresses[pod.name] = self.call("ADD", pod).address

    def key(self, pod: BenchPod) -> bytes:
        """A pod's address as a key of sets."""
        return IPv4Address(self.addresses[pod.name]).packed


class Scene:
    """The mesh; `spare` network namespaces have no Pod yet."""

    def __init__(self, control: ControlPlane, stack: ExitStack, peer_claims: int, pods: int) -> None:
        """Make it, gone with the stack, beside the claims of as many peers."""
        self.control = control
        self._spare = iter(stack.enter_context(Pods(pods)).names)
        for kind in (QUILTENDPOINTS, QUILTPEERS):
            stack.callback(control.admin.request, "DELETE", kind.path())
        for name in (SHOP, CLIENTS):
            self.create(NAMESPACE.path(), NAMESPACE.document({"name": name}))
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self.create(_SERVICEACCOUNT.format(name), account)
            stack.callback(control.admin.request, "DELETE", NAMESPACE.path(name))
        number = peer_claims + 1
        credentials = stack.enter_context(control.another(peers.node(number), peers.subnet(number), 2))
        other = stack.enter_context(Node(peers.node(number)))
        control.join(other, 2)
        other.start_runtime()
        other.start_agent(credentials, control.address, control.port).wait_event("dataplane_verified")
        self.operator = other.start("operator", *_operator(control))
        stack.callback(self.operator.stop)
        self.operator.wait_event("policies_read")
        own = stack.enter_context(control.node(peer_claims))
        plugin = str(build_plugin(own.folder))
        self.own, self.other = (
            Place(node.of, node, stack.enter_context(Engine(node)), plugin) for node in (own, other)
        )
        self.listener = stack.enter_context(ElementListener(own.netns))

    def create(self, path: str, body: Json) -> Json:
        """Create an object."""
        made: Json = self.control.admin.create(path, body).ok()
        return made

    def pod(self, namespace: str, place: Place, name: str, app: str, netns: str = "") -> BenchPod:
        """A Pod of a node, not connected yet; its network namespace is a new one unless given."""
        made = self.create(POD.path(namespace=namespace), pod_document(namespace, place.name, name, app))
        uid = made["metadata"]["uid"]
        return BenchPod(namespace, name, uid, netns or f"/run/netns/{next(self._spare)}")

    def policy(self, name: str, **spec: Any) -> None:
        """A policy of the own node's pods."""
        self.create(NETWORKPOLICY.path(namespace=SHOP), policy_document(name, **spec))

    def until_held(self, text: str) -> None:
        """Wait until the own node's table of policies has something."""
        command = ("nft", "list", "table", "inet", "quilt-policy")
        until(lambda: text in self.own.node.ask(*command), f"{text} is in the table of policies")

    def until_published(self, selector: PeerSelector, of: int) -> None:
        """Wait until the operator has written so many addresses behind a selector."""

        def is_published() -> bool:
            answer = self.control.admin.get(QUILTPEERS.path(peers_name(selector.hash, 0)))
            return answer.status == 200 and len(convert(answer.body, QuiltPeers).spec.addresses) == of

        until(is_published, f"{of} addresses are behind {selector.text}")

    def enforce(self, wanted: bool) -> None:
        """Have policies on or off at the own node, which has at least one pod that is held to some."""
        self.control.enforce(wanted)
        tables = ("nft", "list", "tables")
        until(lambda: ("quilt-policy" in self.own.node.ask(*tables)) is wanted, "policies are switched")
        if wanted:
            self.until_held("hook forward")


def clients(**labels: str) -> PeerSelector:
    """The selector of pods of CLIENTS, as `admitting` asks for them."""
    namespaces = LabelSelector(match_labels={"kubernetes.io/metadata.name": CLIENTS})
    return PeerSelector(namespaces=namespaces.terms, pods=LabelSelector(match_labels=labels).terms)


def admitting(port: int = 80, **labels: str) -> Json:
    """A rule for pods of CLIENTS with these labels, at a port."""
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": CLIENTS}},
        "podSelector": {"matchLabels": labels},
    }
    return {"from": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def policy_document(name: str, namespace: str = SHOP, **spec: Any) -> Json:
    """A NetworkPolicy; by default nobody reaches the pods that `podSelector` selects."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], **spec}
    return NETWORKPOLICY.document({"name": name, "namespace": namespace}, spec=spec)


def pod_document(namespace: str, node: str, name: str, app: str) -> Json:
    """A Pod that nobody runs."""
    spec = {
        "nodeName": node,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "main", "image": "none"}],
        "automountServiceAccountToken": False,
    }
    meta = {"name": name, "namespace": namespace, "labels": {"pod": name, "app": app}}
    return POD.document(meta, spec=spec)


def is_element(new: bool, name: str, key: bytes | None = None) -> Tells:
    """What tells whether a change is of an element of a set, whatever its key where none is given."""

    def tells(change: ElementChange) -> bool:
        return (change.new, change.set) == (new, name) and key in (None, change.key)

    return tells


def are_elements(new: bool, name: str, keys: set[bytes]) -> Tells:
    """What tells whether the last of several elements came or went."""
    missing = set(keys)

    def tells(change: ElementChange) -> bool:
        if (change.new, change.set) == (new, name):
            missing.discard(change.key)
        return not missing

    return tells


def _operator(control: ControlPlane) -> list[str]:
    return [sys.executable, "-m", "bench.policy_operator", str(control.kubeconfig_of(OPERATOR))]
