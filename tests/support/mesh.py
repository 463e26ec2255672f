"""What the cluster tests share: the installed mesh, its test pods, and datagram flows between them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from quilt_crds.names import AGENT_HEALTH_PORT
from quilt_devcluster import Cluster, DevclusterError, product

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "quilt-mesh"
NAMESPACE = "quilt-system"
TRAFFIC = Path(__file__).with_name("traffic.py")
# Seconds within which a repair that begins with an event is seen, on a busy machine too. The looks that would
# do it without one are slower: the agent's every 60 s, the runtime's every 48. The figures are in bench/.
SOON = 20.0
Answer = TypeVar("Answer")


def until(what: str, check: Callable[[], Answer | None], timeout: float, every: float = 0.1) -> Answer:
    """Poll `check` until it answers something true; the failure says what was awaited and what came last.

    A check that began in time and took long decides nothing: there is always one after the deadline.
    """
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        final = time.monotonic() > deadline
        try:
            if last := check():
                return last
        except (DevclusterError, KeyError, IndexError, StopIteration, json.JSONDecodeError) as error:
            last = error
        if final:
            raise AssertionError(f"not within {timeout:g} s: {what}; last: {last!r}")
        time.sleep(every)


def pod_manifest(name: str, node: str, labels: dict[str, str], host_network: bool = False) -> dict[str, Any]:
    """A pod of the test image that runs traffic.py, pinned to a node without asking the scheduler."""
    command = ["python3", "-c", TRAFFIC.read_text()]
    container: dict[str, Any] = {"name": "traffic", "image": "quilt-test:dev", "command": command}
    container["imagePullPolicy"] = "IfNotPresent"
    container["env"] = [{"name": "POD_NAME", "value": name}]
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
    spec |= {"hostNetwork": host_network, "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@dataclass(frozen=True)
class Pod:
    """A running test pod."""

    name: str
    node: str
    ip: str


@dataclass
class Flow:
    """What a run of datagrams between pods came to: sequence numbers sent, and those that never arrived."""

    sent: dict[tuple[str, str], int] = field(default_factory=dict)
    missing: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    errors: dict[str, dict[str, int]] = field(default_factory=dict)

    def assert_complete(self, at_least: int) -> None:
        """Every direction carried at least so many datagrams, and every one arrived."""
        assert self.sent
        assert min(self.sent.values()) >= at_least, self.sent
        lost = {pair: numbers for pair, numbers in self.missing.items() if numbers}
        assert not lost, f"lost {lost}; errors at the senders: {self.errors}"


class Mesh:
    """A cluster with Quilt Mesh in it, as a test sees it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    # -- the cluster's API ------------------------------------------------------------------
    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return its output. Raises DevclusterError with its message."""
        return self.cluster.kubectl(*arguments, stdin=stdin, timeout=300)

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of the objects."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(listing))

    def nodes(self) -> list[str]:
        """The names of the cluster's nodes, in order."""
        return sorted(item["metadata"]["name"] for item in self.get("nodes")["items"])

    def quiltnode(self, name: str) -> dict[str, Any]:
        """The status of one QuiltNode."""
        status: dict[str, Any] = self.get("quiltnode", name).get("status", {})
        return status

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """One condition of a QuiltNode; empty when it is not there."""
        conditions = self.quiltnode(name).get("conditions", [])
        return next((item for item in conditions if item["type"] == kind), {})

    def subnets(self) -> dict[str, dict[str, Any]]:
        """{node: its QuiltSubnet}."""
        return {item["spec"]["node"]: item for item in self.get("quiltsubnets")["items"]}

    def system_pod(self, component: str, node: str | None = None) -> dict[str, Any]:
        """A running pod of the chart: component `node` or `operator`, on the node where one is named."""
        items = self.get("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={component}")["items"]
        live = [item for item in items if "deletionTimestamp" not in item["metadata"]]
        pod: dict[str, Any] = next(item for item in live if node in (None, item["spec"].get("nodeName")))
        return pod

    def leader(self) -> dict[str, Any]:
        """The pod of the operator that leads."""
        holder = self.get("lease", "quilt-operator", "-n", NAMESPACE)["spec"]["holderIdentity"]
        pod: dict[str, Any] = self.get("pod", holder, "-n", NAMESPACE)
        return pod

    # -- nodes --------------------------------------------------------------------------------
    def on(self, node: str, *command: str, check: bool = True) -> str:
        """Run a command in a node's namespaces; its output."""
        return self.cluster.exec(node, command, check=check).stdout

    def reaches(self, node: str, url: str) -> bool:
        """Whether an HTTP request from the node itself is answered."""
        result = self.cluster.exec(node, ["curl", "-sf", "-m", "5", "-o", "/dev/null", url], check=False)
        return result.returncode == 0

    def metric(self, node: str, series: str) -> float:
        """The value of a series, by its name and labels, at a node's agent."""
        text = self.on(node, "curl", "-sf", "-m", "5", f"http://127.0.0.1:{AGENT_HEALTH_PORT}/metrics")
        line = next(line for line in text.splitlines() if line.startswith(f"{series} "))
        return float(line.rpartition(" ")[2])

    # -- pods ---------------------------------------------------------------------------------
    def start_pods(self, placed: dict[str, str], label: str = "traffic") -> dict[str, Pod]:
        """Start {pod name: node}, wait until they run and answer; {name: Pod}."""
        self.apply(*(pod_manifest(name, node, {"app": label}) for name, node in placed.items()))
        return {name: self.running(name) for name in placed}

    def running(self, name: str, timeout: float = 60) -> Pod:
        """Wait until a pod runs and its server answers on its node."""

        def check() -> Pod | None:
            pod = self.get("pod", name)
            if pod["status"].get("phase") != "Running":
                return None
            found = Pod(name, pod["spec"]["nodeName"], pod["status"]["podIP"])
            return found if self.reaches(found.node, f"http://{found.ip}:8080/") else None

        return until(f"pod {name} answers", check, timeout, every=0.5)

    def delete_pods(self, *names: str) -> None:
        """Delete pods and wait until they are gone, from their nodes too.

        The API server forgets a pod of no grace period before its node removes interface and host ports.
        """
        pods = [pod for pod in self.get("pods")["items"] if pod["metadata"]["name"] in names]
        self.kubectl("delete", "pod", *names, "--ignore-not-found", "--timeout=60s")
        nodes = {pod["spec"]["nodeName"] for pod in pods}
        until(f"interfaces of {names} are gone", lambda: not self._interfaces(nodes, names), timeout=60)

    def _interfaces(self, nodes: Collection[str], names: Collection[str]) -> set[str]:
        """Which of these pods of the namespace default have an interface on one of the nodes."""
        dumps = (self.on(node, "ip", "-j", "link", "show", "type", "veth") for node in nodes)
        found = {link.get("ifalias") for dump in dumps for link in json.loads(dump)}
        return {name for name in names if f"default/{name}" in found}

    def http(self, source: Pod, target: str, path: str = "/", timeout: float = 3) -> str:
        """GET from inside a pod."""
        script = (
            "import sys,urllib.request;"
            f"print(urllib.request.urlopen('http://{target}:8080{path}',timeout={timeout}).read().decode())"
        )
        return self.kubectl("exec", source.name, "--", "python3", "-c", script).strip()

    def ping(self, source: Pod, address: str, payload: int) -> None:
        """Three echo requests with a payload of so many bytes, never fragmented, all answered."""
        size = str(payload)
        self.kubectl("exec", source.name, "--", "ping", "-c3", "-i0.2", "-W2", "-Mdo", "-s", size, address)

    # -- flows --------------------------------------------------------------------------------
    def control(self, pod: Pod, method: str, path: str) -> str:
        """Ask a traffic pod, from its own node: no policy forbids that."""
        return self.on(
            pod.node, "curl", "-sf", "--retry", "5", "--retry-all-errors", "-m", "10",
            "-X", method, f"http://{pod.ip}:8080{path}",
        )  # fmt: skip

    @contextmanager
    def flow(self, pods: list[Pod], rate: int = 200) -> Iterator[Flow]:
        """Datagrams from each pod to each other while the block runs; the result is filled in at its end."""
        result = Flow()
        for pod in pods:
            self.control(pod, "POST", "/reset")
        for pod in pods:
            peers = ",".join(other.ip for other in pods if other != pod)
            self.control(pod, "POST", f"/start?peers={peers}&rate={rate}")
        try:
            yield result
        finally:
            for pod in pods:
                self.control(pod, "POST", "/stop")
        with suppress(AssertionError):
            until("datagrams in flight have arrived", lambda: self._collect(pods, result), timeout=2)

    def _collect(self, pods: list[Pod], result: Flow) -> bool:
        """Fill in the result; whether nothing is missing."""
        reports = {pod.ip: json.loads(self.control(pod, "GET", "/report")) for pod in pods}
        for source in pods:
            result.errors[source.name] = reports[source.ip]["errors"]
            for target in pods:
                if target == source:
                    continue
                count = reports[source.ip]["sent"][target.ip]
                arrived = set(reports[target.ip]["named"].get(source.name, ()))
                result.sent[source.name, target.name] = count
                result.missing[source.name, target.name] = [n for n in range(count) if n not in arrived]
        return not any(result.missing.values())


def install(mesh: Mesh, *values: str) -> None:
    """Build and load the images, install the chart as the README says, wait until every node is Up."""
    load_product(mesh)
    install_chart(mesh, *values)
    rolled_out(mesh)


def rolled_out(mesh: Mesh) -> None:
    """Wait until every node runs what the release says, and is Up and Ready."""
    # A status may still be that of the pods that are being replaced.
    mesh.kubectl("rollout", "status", "-n", NAMESPACE, "daemonset/quilt-mesh", "--timeout=240s")
    until("every node is Up and Ready", lambda: all_up(mesh), timeout=180, every=0.5)


def install_chart(mesh: Mesh, *values: str) -> None:
    """Install the chart with the images that the nodes hold."""
    release(mesh, CHART, "dev", *values)


def release(mesh: Mesh, chart: Path, tag: str, *values: str) -> None:
    """Have helm install a chart, or change the release to it, with images of this tag."""
    settings = [item for value in values for item in ("--set", value)]
    mesh.cluster.helm(
        "upgrade", "--install", "quilt", str(chart), "-n", NAMESPACE, "--create-namespace",
        "--set", f"image.tag={tag},network.reuseGracePeriod=20s,runtime.grpcAddr=127.0.0.1:50051", *settings,
    )  # fmt: skip


def load_product(mesh: Mesh) -> None:
    """Build the product's images where the sources changed, and load them on every node."""
    mesh.cluster.load_images(*product.build(lambda _: None))


def all_up(mesh: Mesh) -> bool:
    """Whether every node has a QuiltNode that is Up with its dataplane in sync, and is Ready."""
    ready = 0
    for node in mesh.get("nodes")["items"]:
        conditions = {item["type"]: item["status"] for item in node["status"]["conditions"]}
        ready += conditions.get("Ready") == "True"
    items = mesh.get("quiltnodes")["items"]
    return ready == len(items) == len(mesh.nodes()) and all(in_sync(item["status"]) for item in items)


def in_sync(status: dict[str, Any]) -> bool:
    """Whether a QuiltNode's status says Up and DataplaneInSync."""
    conditions = {item["type"]: item["status"] for item in status.get("conditions", [])}
    return status.get("phase") == "Up" and conditions.get("DataplaneInSync") == "True"


def kernel_state(mesh: Mesh, node: str) -> dict[str, list[str]]:
    """What the node's kernel holds of the mesh, in a form that compares."""
    commands = {
        "routes": "ip -o route show | grep -E 'vxlan100|quilt0' | sed 's/nhid [0-9]* //'",
        "fdb": "bridge fdb show dev vxlan100",
        "neighbours": "ip neigh show dev vxlan100 nud permanent",
        "device": "ip -o link show vxlan100 | sed 's/^[0-9]*: //'",
        "vtep": "ip -o -4 addr show vxlan100 | sed 's/^[0-9]*: //'",
        "bridge": "ip -o -4 addr show quilt0 | sed 's/^[0-9]*: //'",
        "ports": "ls /sys/class/net/quilt0/brif",
        "nftables": "nft list table inet quilt | grep -v packets",
        "ip_forward": "cat /proc/sys/net/ipv4/ip_forward",
    }
    script = "; echo @@; ".join(commands.values())
    parts = mesh.on(node, "sh", "-c", f"{script}; true").split("@@\n")
    return {name: sorted(part.splitlines()) for name, part in zip(commands, parts, strict=True)}
