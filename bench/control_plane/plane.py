"""A control plane without nodes, the chart installed, and operators as processes of this machine."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from bench.control_plane.wire import Wire
from bench.controlplane import api_server_alone
from bench.node import in_namespace
from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_devcluster import Cluster, bringup
from quilt_devcluster import state as devcluster_state
from quilt_devcluster.machines import SWITCH
from quilt_devcluster.plan import API_PORT
from quilt_kube.access import make_tls

NAMESPACE = "quilt-system"
CHART = Path(__file__).parents[2] / "helm/quilt-mesh"
# 32,768 node subnets beside the Service network.
CLUSTER_CIDR = "10.128.0.0/9"


class Plane:
    """One API server, as its administrator."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self._config = json.loads(cluster.kubeconfig.read_text())
        entry, user = self._config["clusters"][0]["cluster"], self._config["users"][0]["user"]
        facts = devcluster_state.load(cluster.name)
        self._addresses = facts.addresses
        self._switch = facts.pids[SWITCH].pid
        self.address = str(facts.addresses.control_plane)
        self.port = API_PORT
        self.server = f"https://{self.address}:{self.port}"
        self.authority = base64.b64decode(entry["certificate-authority-data"]).decode()
        self._token = ""
        self.tls = make_tls(self.authority.encode())
        identity = folder / "admin"
        parts = ("client-certificate-data", "client-key-data")
        identity.write_bytes(b"\n".join(base64.b64decode(user[part]) for part in parts))
        self.tls.load_cert_chain(identity)

    @property
    def netns(self) -> str:
        """The cluster's network, where the API server is reached without the devcluster's relay."""
        return f"/proc/{self._switch}/ns/net"

    def machine(self, place: int) -> tuple[str, int]:
        """Address and prefix length of a machine of the cluster's network, counted from 1."""
        return str(self._addresses.node(place)), int(self._addresses.network.prefixlen)

    def dial(self) -> socket.socket:
        """Connect to the API server, as a machine of its network does."""
        return in_namespace(self.netns, lambda: socket.create_connection((self.address, API_PORT), 10))

    def wire(self, connections: int = 64) -> Wire:
        """Connections of the administrator, whom the API server never lets wait."""
        return Wire(self.address, self.tls, connections, self.dial)

    def alone(self) -> AbstractContextManager[None]:
        """Nobody of the control plane at work but the API server and etcd."""
        return api_server_alone(self.cluster)

    def crowd(self, connections: int = 64) -> Wire:
        """Connections that wait their turn, as those of agents do: of a service account that may do all."""
        run = self.cluster.kubectl
        if not self._token:
            run("create", "serviceaccount", "crowd", "-n", "default")
            run(
                "create",
                "clusterrolebinding",
                "crowd",
                "--clusterrole=cluster-admin",
                "--serviceaccount=default:crowd",
            )
            self._token = run("create", "token", "crowd", "-n", "default", "--duration=3h").strip()
        tls = make_tls(self.authority.encode())
        return Wire(self.address, tls, connections, self.dial, self._token)

    def install(self, *values: str) -> None:
        """Install the chart with a wide network."""
        self.cluster.helm(
            "upgrade", "--install", "quilt", str(CHART), "-n", NAMESPACE, "--create-namespace",
            f"--set=network.clusterCIDRs={{{CLUSTER_CIDR}}}", *(f"--set={value}" for value in values),
        )  # fmt: skip
        names = [resource.crd_name for resource in (QUILTNETWORK, QUILTNODE, QUILTSUBNET)]
        self.cluster.kubectl("wait", "crd", *names, "--for=condition=Established", "--timeout=30s")

    def kubeconfig(self, name: str) -> Path:
        """Credentials of the operator's account."""
        token = self.cluster.kubectl("create", "token", "quilt-operator", "-n", NAMESPACE, "--duration=3h")
        server = {**self._config["clusters"][0]["cluster"], "server": self.server}
        return self._write(name, server, {"token": token.strip()})

    def through(self, name: str, url: str) -> Path:
        """A way through a proxy that adds the administrator's credentials."""
        return self._write(name, {"server": url}, {})

    def _write(self, name: str, server: Any, user: Any) -> Path:
        config: dict[str, Any] = json.loads(json.dumps(self._config))
        config["clusters"][0]["cluster"], config["users"][0]["user"] = server, user
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return path


class Operator:
    """One operator process: in the cluster's network, or here with a kubeconfig of one's own.

    `program` is what runs a package of the product.
    """

    program: ClassVar[Sequence[str]] = (sys.executable, "-m")

    def __init__(self, plane: Plane, name: str, *arguments: str, kubeconfig: Path | None = None) -> None:
        self._netns = plane.netns if kubeconfig is None else "/proc/self/ns/net"
        self._port = in_namespace(self._netns, _free_port)
        self.log = plane.folder / f"{name}.log"
        program = [*self.program, "quilt_operator", f"--identity={name}", *arguments]
        kubeconfig = kubeconfig or plane.kubeconfig(name)
        enter = ["nsenter", f"--net={self._netns}"] if self._netns == plane.netns else []
        health = f"--health-addr=127.0.0.1:{self._port}"
        self._command = [*enter, *program, f"--kubeconfig={kubeconfig}", health]
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._begin = self.log.stat().st_size
            self.process = subprocess.Popen(self._command, stdout=output, stderr=output)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def logged(self, event: str) -> int:
        """How often this run logged an event."""
        return self.log.read_bytes()[self._begin :].count(f'"event": "{event}"'.encode())

    def get(self, path: str) -> str:
        """The answer of the probes' server, empty while it is not good."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.sock = in_namespace(self._netns, lambda: _connect(self._port))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else ""
        except (http.client.HTTPException, OSError):
            return ""
        finally:
            connection.close()

    def wait(self) -> float:
        """Wait until it leads and is ready; return the seconds that took."""
        begin = time.monotonic()
        while not (self.logged("state_read") and self.get("/readyz")):
            if self.process.poll() is not None or time.monotonic() > begin + 120:
                raise RuntimeError(f"the operator does not get ready: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        return time.monotonic() - begin

    def metric(self, name: str, labels: str = "") -> float:
        """Sum of the samples of a metric whose labels match."""
        found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", self.get("/metrics"), re.MULTILINE)
        return sum(float(value) for text, value in found if re.search(labels, text))

    def writes(self) -> float:
        """Writes other than the leader's Lease and Events."""
        every = self.metric("quilt_operator_api_writes_total")
        return every - self.metric("quilt_operator_api_writes_total", 'resource="(leases|events)"')


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


@contextmanager
def plane(name: str, *values: str, allocate: bool = False, chart: bool = True) -> Iterator[Plane]:
    """A control plane of its own, gone afterwards."""
    name = f"bench-control-{name}"
    bringup.down(name)
    with (
        Cluster.up(
            name=name, nodes=0, images=(), allocate_node_cidrs=allocate, node_cidrs=CLUSTER_CIDR
        ) as cluster,
        tempfile.TemporaryDirectory(prefix="quilt-bench-") as folder,
    ):
        made = Plane(cluster, Path(folder))
        if chart:
            made.install(*values)
        yield made


@contextmanager
def operator(plane: Plane, name: str = "leader", *arguments: str) -> Iterator[Operator]:
    """An operator that leads, ended afterwards."""
    process = Operator(plane, name, *arguments)
    try:
        process.wait()
        yield process
    finally:
        process.kill()
