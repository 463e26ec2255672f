"""A real API server for the benchmarks: a control plane without nodes, the chart installed, claims made up.

The agent under measurement speaks to it over a network of its own, with a token bound to a Pod, under the
roles and admission policies of the chart.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from bench import objects, peers
from bench.node import BenchError, Node, in_namespace
from bench.objects import ANYTHING, NAMESPACE, Request
from bench.peers import OWN_NODE
from quilt_crds.names import DEFAULT_NETWORK, QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_devcluster import Cluster
from quilt_devcluster import state as devcluster_state
from quilt_devcluster.controlplane import mark
from quilt_devcluster.machines import BRIDGE, SWITCH
from quilt_devcluster.plan import API_PORT
from quilt_kube.access import make_tls
from tests.support.controlplane import Api

NAME = "bench"
OPERATOR = "quilt-operator"
"""The chart's service account, beside ANYTHING."""
CHART = Path(__file__).parents[1] / "helm/quilt-mesh"
CONCURRENT = 32
MERGE = "application/merge-patch+json"
Json = dict[str, Any]


def program(cluster: str, name: str) -> int:
    """Process id of a program of a cluster's control plane. Raises BenchError when it does not run."""
    own = mark(devcluster_state.load(cluster).folder).encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            called = (folder / "cmdline").read_bytes().partition(b"\0")[0]
            if called.endswith(name.encode()) and own in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise BenchError(f"{name} does not run")


@contextmanager
def api_server_alone(cluster: Cluster) -> Iterator[None]:
    """Only the API server and etcd at work: for others, nodes without kubelets are lost."""
    others = ("kube-controller-manager", "kube-scheduler")
    for name in others:
        cluster.pause_program(name)
    try:
        yield
    finally:
        for name in others:
            cluster.resume_program(name)


class ControlPlane:
    """A cluster of its own, gone afterwards."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(Cluster.up(name=NAME, nodes=0, images=()))
        facts = devcluster_state.load(NAME)
        self._switch = facts.pids[SWITCH].pid
        self.address, self.port = facts.addresses.control_plane, API_PORT
        self._addresses = facts.addresses
        self._cluster = Cluster.attach(NAME)
        self._config = json.loads(self._cluster.kubeconfig.read_text())
        cluster, user = self._config["clusters"][0]["cluster"], self._config["users"][0]["user"]
        self.local = cluster["server"]
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="quilt-bench-")))
        self.authority = base64.b64decode(cluster["certificate-authority-data"])
        self.tls = make_tls(self.authority)
        identity = self.folder / "admin"
        parts = ("client-certificate-data", "client-key-data")
        identity.write_bytes(b"\n".join(base64.b64decode(user[part]) for part in parts))
        self.tls.load_cert_chain(identity)
        self._claims: set[int] = set()
        self._ports = 0
        try:
            self._prepare()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def credentials(self) -> Path:
        """Folder with the agent's token and ca.crt."""
        return self.folder / OWN_NODE

    @property
    def kubeconfig(self) -> Path:
        """File with the administrator's credentials, for a program within a node."""
        return self._kubeconfig("admin", self._config["users"][0]["user"])

    @property
    def admin(self) -> Api:
        """The administrator, for what is not timed."""
        return Api(self._cluster.kubeconfig)

    @property
    def api_server(self) -> int:
        """Process id of the API server."""
        return program(NAME, "kube-apiserver")

    def kubeconfig_of(self, account: str) -> Path:
        """File with the credentials of a service account of the chart's, for a program within a node."""
        return self._kubeconfig(account, {"token": self.token(account)})

    def _kubeconfig(self, name: str, user: Json) -> Path:
        config = json.loads(json.dumps(self._config))
        config["clusters"][0]["cluster"]["server"] = f"https://{self.address}:{self.port}"
        config["users"][0]["user"] = user
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def alone(self) -> AbstractContextManager[None]:
        """Nobody of the control plane at work but the API server and etcd."""
        return api_server_alone(self._cluster)

    def join(self, node: Node, place: int = 1) -> None:
        """Give a node its eth0 on the network of the API server: the address of the machine at `place`."""
        host = ["nsenter", f"--target={self._switch}", "--net", "ip"]
        # The kernel removes the last node's port a moment after its namespace: a new name for each.
        self._ports += 1
        port = f"bench{self._ports}"
        pair = ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", node.name]
        subprocess.run([*host, *pair], check=True)
        subprocess.run([*host, "link", "set", port, "master", BRIDGE, "up"], check=True)
        address = f"{self._addresses.node(place)}/{self._addresses.network.prefixlen}"
        node.run("ip", "address", "add", address, "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        # Peers' hosts are behind the gateway, as on most networks; nothing answers there.
        node.run("ip", "route", "add", "default", "dev", "eth0")

    def claims(self, count: int) -> None:
        """Make the claims of exactly the peers 1 to `count` exist."""
        wanted = set(range(1, count + 1))
        added, gone = wanted - self._claims, self._claims - wanted
        path = QUILTSUBNET.path()
        calls: list[Request] = [("POST", path, peers.peer_claim(number)) for number in sorted(added)]
        calls += [("DELETE", f"{path}/{peers.peer_claim(n)['metadata']['name']}", None) for n in sorted(gone)]
        asyncio.run(self.requests(calls))
        self._claims = wanted

    @contextmanager
    def policies(self) -> Iterator[None]:
        """Network policies on, with the rights that they need, and off afterwards."""
        self._chart("--reuse-values", "--set=network.policy.enabled=true")
        self.enforce(True)
        try:
            yield
        finally:
            self.enforce(False)
            self._chart("--reuse-values", "--set=network.policy.enabled=false")

    def probe(self, wanted: bool) -> None:
        """Have nodes probe the paths to each other or not."""
        self.admin.merge(QUILTNETWORK.path(DEFAULT_NETWORK), {"spec": {"probes": {"enabled": wanted}}}).ok()

    def enforce(self, wanted: bool) -> None:
        """Have nodes enforce policies or not; the rights stay."""
        self.admin.merge(QUILTNETWORK.path(DEFAULT_NETWORK), {"spec": {"policy": {"enabled": wanted}}}).ok()

    @contextmanager
    def another(self, name: str, cidr: str, place: int) -> Iterator[Path]:
        """Another node is known meanwhile, with a subnet; the folder with its agent's token and ca.crt."""
        made = objects.node(name, cidr, self._addresses.node(place))
        asyncio.run(self.requests(made, concurrent=1))
        try:
            yield self._credentials(name)
        finally:
            for _, path, body in made:
                self.admin.request("DELETE", f"{path}/{(body or {})['metadata']['name']}")

    @contextmanager
    def node(self, count: int) -> Iterator[Node]:
        """A node whose agent has verified peers 1 to `count` in its kernel, runtime beside it."""
        self.claims(count)
        with Node() as node:
            self.join(node)
            node.start_runtime()
            agent = node.start_agent(self.credentials, self.address, self.port)
            agent.wait_event("dataplane_verified")
            yield node

    async def requests(self, calls: Iterable[Request], concurrent: int = CONCURRENT) -> None:
        """Send requests, some at a time."""
        waiting = iter(list(calls))
        connector = aiohttp.TCPConnector(ssl=self.tls, limit=0)
        async with aiohttp.ClientSession(self.local, connector=connector) as session:

            async def work() -> None:
                for method, path, body in waiting:
                    await _request(session, method, path, body)

            async with asyncio.TaskGroup() as group:
                for _ in range(concurrent):
                    group.create_task(work())

    def session(self, node: Node, *, nobody: bool = False) -> http.client.HTTPSConnection:
        """Open a connection to the API server from within a node: the machine's own way to it is a proxy.

        The administrator's, or `nobody`'s: then requests bring a token.
        """
        tls = self.tls
        if nobody:
            tls = make_tls(self.authority)
        connection = http.client.HTTPSConnection(self.address, self.port, context=tls, timeout=10)
        raw = in_namespace(node.netns, lambda: socket.create_connection((self.address, self.port), 10))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock = tls.wrap_socket(raw, server_hostname=self.address)
        return connection

    def token(self, account: str, *more: str) -> str:
        """Return a token of a service account in the chart's namespace."""
        command = ("create", "token", account, "-n", NAMESPACE, "--duration=3h", *more)
        return self._cluster.kubectl(*command).strip()

    def _prepare(self) -> None:
        cluster = self._cluster
        self._chart("--create-namespace")
        crds = [resource.crd_name for resource in (QUILTNETWORK, QUILTNODE, QUILTSUBNET)]
        cluster.kubectl("wait", "crd", *crds, "--for=condition=Established", "--timeout=30s")
        account = f"serviceaccount/{ANYTHING}"
        cluster.kubectl("wait", account, "-n", NAMESPACE, "--for=create", "--timeout=60s")
        asyncio.run(self.requests(objects.first(self._addresses.node(1)), concurrent=1))
        self._credentials(OWN_NODE)

    def _chart(self, *values: str) -> None:
        self._cluster.helm("upgrade", "--install", "quilt", str(CHART), "-n", NAMESPACE, *values)

    def _credentials(self, node: str) -> Path:
        pod = ("--bound-object-kind=Pod", f"--bound-object-name={objects.agent_pod(node)}")
        folder = self.folder / node
        folder.mkdir(mode=0o700)
        (folder / "token").write_text(self.token("quilt-agent", *pod))
        (folder / "ca.crt").write_bytes(self.authority)
        return folder


async def _request(session: aiohttp.ClientSession, method: str, path: str, body: Json | None) -> None:
    for _ in range(60):
        headers = {"Content-Type": MERGE} if method == "PATCH" else {}
        async with session.request(method, path, json=body, headers=headers) as response:
            if response.status < 300:
                await response.read()
                return
            text = await response.text()
            if response.status not in (429, 500, 503) and "no params found" not in text:
                break
        await asyncio.sleep(0.5)
    raise BenchError(f"{method} {path}: {response.status} {text[:300]}")
