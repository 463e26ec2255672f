"""Real nodes beside the simulated ones: agent and runtime, each with a network of its own.

What these route to is what "withdrawn" means: their kernels are asked, not the API server.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from bench.control_plane.plane import NAMESPACE, Plane
from bench.control_plane.wire import JSON, Call
from bench.events import ROUTES, Listener
from bench.node import Node
from bench.peers import DEVICE
from quilt_devcluster.machines import BRIDGE
from quilt_netlink import Route

_MESH = 81


class RealNode:
    """One node of the mesh that is more than objects."""

    def __init__(self, plane: Plane, name: str, place: int) -> None:
        """`place` counts the machines of the cluster's network from 1."""
        self.name = name
        self.address, self._prefix = plane.machine(place)
        self._plane = plane
        self._port = f"bench{place}"
        self._stack = ExitStack()
        self.node = self._stack.enter_context(Node(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def calls(self) -> list[Call]:
        """Its Node, and the Pod to which the agent's token is bound."""
        pod = {
            "nodeName": self.name,
            "serviceAccountName": "quilt-agent",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "agent", "image": "none"}],
        }
        addresses = {"addresses": [{"type": "InternalIP", "address": self.address}]}
        meta = {"apiVersion": "v1", "metadata": {"name": self.name}}
        return [
            ("POST", "/api/v1/nodes", {**meta, "kind": "Node", "status": addresses}, JSON),
            ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", {**meta, "kind": "Pod", "spec": pod}, JSON),
        ]

    def start(self) -> None:
        """Connect it and start its programs; returns once the agent's dataplane is in sync."""
        self._connect()
        token = self._plane.cluster.kubectl(
            "create", "token", "quilt-agent", "-n", NAMESPACE, "--duration=3h",
            "--bound-object-kind=Pod", f"--bound-object-name={self.name}",
        )  # fmt: skip
        credentials = self.node.folder / "account"
        credentials.mkdir(mode=0o700)
        (credentials / "token").write_text(token.strip())
        (credentials / "ca.crt").write_text(self._plane.authority)
        self.node.start_runtime()
        self.node.start_agent(credentials, self._plane.address, self._plane.port).wait_event(
            "dataplane_verified"
        )

    def routes(self) -> set[str]:
        """Subnets of peers that its kernel routes to."""
        return {route.prefix for route in self.node.kernel.routes(_MESH)}

    def vteps(self) -> dict[str, str]:
        """Host address by VTEP MAC, as its VXLAN device forwards."""
        kernel = self.node.kernel
        device = kernel.link(DEVICE)
        return {entry.mac: entry.dst for entry in kernel.fdb(device.index)} if device is not None else {}

    @contextmanager
    def lost_routes(self) -> Iterator[list[str]]:
        """Prefixes whose routes are deleted meanwhile; complete when the context has ended."""
        lost: list[str] = []
        with Listener(self.node.netns, ROUTES) as listener:
            yield lost
            changes = [change for change in listener.received() if not change.new]
        lost += [change.entry.prefix for change in changes if isinstance(change.entry, Route)]

    def _connect(self) -> None:
        node = self.node
        pair = ["ip", "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", node.name]
        switch = ["nsenter", f"--net={self._plane.netns}"]
        subprocess.run([*switch, *pair], check=True)
        subprocess.run([*switch, "ip", "link", "set", self._port, "master", BRIDGE, "up"], check=True)
        node.run("ip", "address", "add", f"{self.address}/{self._prefix}", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        node.run("ip", "route", "add", "default", "dev", "eth0")
