"""`python -m bench.soak full-node`: as many real pods on one node as its subnet has addresses, and one more.

Through kubelet and containerd. All of them run, each with an address of its own that answers; the one beyond
them waits with an Event that says how many addresses there are; it starts when one of the others is deleted;
in the end no address and no interface is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import click

from quilt_devcluster import Cluster
from quilt_devcluster.render import PAUSE_IMAGE
from tests.support.mesh import NAMESPACE, Mesh, install, until

LABEL = "full-node"
# Pods that are starting at any time: a kubelet that is given all at once lets its own calls time out.
AT_ONCE = 24
# More than a /24 has addresses: a full node is for the pod network to tell, not for the kubelet.
MAX_PODS = 300
POLL_S = 2.0
START_S, SAY_S, RETRY_S, STOP_S = 600.0, 60.0, 150.0, 300.0
HELD = (
    "import grpc\n"
    "from quilt_proto import node_pb2 as pb, node_pb2_grpc as rpc\n"
    "stub = rpc.IpamStub(grpc.insecure_channel('unix:/run/quilt/runtime.sock'))\n"
    "for held in stub.ListAllocations(pb.ListAllocationsRequest()).allocations: print(held.address)\n"
)


class FullNode:
    """One node, its pods and what its runtime and kernel hold."""

    def __init__(self, mesh: Mesh, node: str) -> None:
        self._mesh = mesh
        self.node = node
        self.subnet = IPv4Network(mesh.subnets()[node]["spec"]["cidr"])
        self._printed = 0.0

    @property
    def capacity(self) -> int:
        """Addresses for pods: all but network, gateway and broadcast."""
        return self.subnet.num_addresses - 3

    def name(self, number: int) -> str:
        return f"{LABEL}-{number:03}"

    def fill(self) -> None:
        """Start pods until the subnet is full."""
        made = 0

        def running() -> bool:
            nonlocal made
            addresses = self.addresses()
            more = min(AT_ONCE - (made - len(addresses)), self.capacity - made)
            if more > 0:
                self._mesh.apply(*(self._pod(number) for number in range(made, made + more)))
                made += more
            self._say(f"{len(addresses)} of {self.capacity} pods run")
            return len(addresses) == self.capacity

        until(f"{self.capacity} pods run", running, START_S, POLL_S)

    def verify(self) -> None:
        """Every pod has an address of the subnet to itself, as the runtime has it, and answers on it."""
        addresses = list(self.addresses().values())
        wanted = {str(address) for address in self.subnet.hosts()} - {str(self.subnet[1])}
        assert len(addresses) == self.capacity
        assert set(addresses) == wanted, "some address is held twice, or is not the node's"
        assert set(self.held()) == wanted
        assert len(self.ports()) == self.capacity
        self._mesh.cluster.exec(self.node, ["sh", "-ec", _ping(addresses)], timeout=SAY_S)

    def overflow(self) -> str:
        """Start one pod too many and wait until its Event says why it does not start; that Event's text."""
        name = self.name(self.capacity)
        self._mesh.apply(self._pod(self.capacity))
        wanted = f"{self.capacity} of {self.capacity} are in use"

        def message() -> str | None:
            events = self._mesh.get("events", "--field-selector", f"involvedObject.name={name}")["items"]
            failed = (e["message"] for e in events if e["reason"] == "FailedCreatePodSandBox")
            return next((text for text in failed if wanted in text and str(self.subnet) in text), None)

        text: str = until(f"an Event of {name} says {wanted!r}", message, SAY_S, POLL_S)
        (status,) = self._mesh.get("pod", name)["status"]["containerStatuses"]
        assert status["state"]["waiting"]["reason"] == "ContainerCreating", status
        assert len(self.addresses()) == self.capacity, "others lost their address"
        return text

    def make_room(self) -> str:
        """Delete a pod; the one that waited starts with its address. Returns that address."""
        name, freed = next(iter(self.addresses().items()))
        self._mesh.kubectl("delete", "pod", name, "--wait=false")

        def started() -> bool:
            self._say("the waiting pod is tried again")
            return self.addresses().get(self.name(self.capacity)) == freed

        until("the pod that waited runs", started, RETRY_S, POLL_S)
        return freed

    def empty(self) -> None:
        """Delete all pods; nothing of them is left."""
        self._mesh.kubectl("delete", "pod", "-l", f"app={LABEL}", "--wait=false")

        def gone() -> bool:
            pods = len(self._pods())
            self._say(f"{pods} pods to go")
            return not pods

        until("all pods are gone", gone, STOP_S, POLL_S)
        until("no address is left", lambda: not self.held(), SAY_S, POLL_S)
        until("no interface is left", lambda: not self.ports(), SAY_S, POLL_S)

    def addresses(self) -> dict[str, str]:
        """{name: address} of the pods that run."""
        return {
            pod["metadata"]["name"]: str(IPv4Address(pod["status"]["podIP"]))
            for pod in self._pods()
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    def held(self) -> list[str]:
        """The addresses that the runtime has given out."""
        pod = self._mesh.system_pod("node", self.node)["metadata"]["name"]
        command = ("exec", "-n", NAMESPACE, pod, "-c", "runtime", "--", "python3", "-c", HELD)
        return [line.partition("/")[0] for line in self._mesh.kubectl(*command).split()]

    def ports(self) -> list[str]:
        """The pods' interfaces in the node's kernel, attached to the bridge or not."""
        links = self._mesh.on(self.node, "ip", "-o", "link", "show", "type", "veth").splitlines()
        return [line for line in links if line.split(": ")[1].startswith("qv")]

    def _pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._mesh.get("pods", "-l", f"app={LABEL}")["items"]
        return found

    def _pod(self, number: int) -> dict[str, Any]:
        container = {"name": "pause", "image": PAUSE_IMAGE, "imagePullPolicy": "Never"}
        spec = {
            "nodeName": self.node,
            "containers": [container],
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
        }
        metadata = {"name": self.name(number), "labels": {"app": LABEL}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _say(self, text: str) -> None:
        if time.monotonic() - self._printed > 10:
            self._printed = time.monotonic()
            click.echo(f"  {text}", err=True)


def _ping(addresses: list[str]) -> str:
    """A script that fails, naming them, where an address does not answer."""
    return (
        f"for address in {' '.join(addresses)}; do "
        'ping -c1 -W2 -q "$address" >/dev/null || { echo "$address does not answer" >&2; exit 1; }; done'
    )


def run(mesh: Mesh) -> None:
    """All of it on the first node; AssertionError says what was not as it must be."""
    begun = time.monotonic()

    def step(text: str) -> None:
        click.echo(f"[{time.monotonic() - begun:5.0f} s] {text}", err=True)

    made = FullNode(mesh, mesh.nodes()[0])
    # CoreDNS may be on this node too, and would take an address.
    mesh.kubectl("scale", "deployment", "coredns", "-n", "kube-system", "--replicas=0")
    with ExitStack() as stack:
        stack.callback(mesh.kubectl, "scale", "deployment", "coredns", "-n", "kube-system", "--replicas=1")
        until("CoreDNS has given its address back", lambda: not made.held(), SAY_S, POLL_S)
        stack.callback(made.empty)
        actions: tuple[tuple[str, Callable[[], object]], ...] = (
            (f"{made.capacity} pods run on {made.node}", made.fill),
            (f"all addresses of {made.subnet} are in use once, and answer", made.verify),
            ("one more waits, as its Event says", made.overflow),
            ("it started when another one went", made.make_room),
        )
        for text, action in actions:
            found = action()
            step(f"{text}: {found}" if found else text)
    step("all pods are gone, and with them every address and interface")


@click.command(name="full-node")
@click.option("--cluster", default="", help="A running cluster to use and leave running; default: a new one.")
def full_node(cluster: str) -> None:
    """Fill a node's subnet with real pods, and ask for one more."""
    if cluster:
        run(_installed(Cluster.attach(cluster)))
    else:
        with Cluster.up(name="full-node", nodes=1, max_pods=MAX_PODS) as made:
            run(_installed(made, "operator.replicas=1"))
    click.echo("a full node: every address in use once, one more pod refused and started later, nothing left")


def _installed(cluster: Cluster, *values: str) -> Mesh:
    made = Mesh(cluster)
    install(made, *values)
    return made
