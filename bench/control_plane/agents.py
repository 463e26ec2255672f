"""What agents send, and a watch that tells when each of their nodes was published."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from bench.control_plane.plane import Plane
from bench.control_plane.wire import APPLY, JSON, Call, Json, Wire
from quilt_crds.names import (
    AGENT_FIELD_MANAGER,
    API_VERSION,
    KUBELET_LEASE_NAMESPACE,
    LEASE_NAMESPACE,
    QUILTNODE,
    QUILTSUBNET,
    vtep_mac,
)
from quilt_crds.times import rfc3339_micro

_DRAIN = 0.1


def name(number: int) -> str:
    return f"node-{number}"


def address(number: int) -> str:
    return f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}"


def micro() -> str:
    return rfc3339_micro(datetime.now(UTC))


def leases(namespace: str = LEASE_NAMESPACE) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def host_calls(numbers: Iterable[int]) -> Iterable[Call]:
    """The Nodes that are there before the mesh comes."""
    for number in numbers:
        addresses = [{"type": "InternalIP", "address": address(number)}]
        yield (
            "POST", "/api/v1/nodes",
            {"metadata": {"name": name(number)}, "status": {"addresses": addresses}}, JSON,
        )  # fmt: skip


def join_calls(number: int) -> list[Call]:
    """What an agent writes when it joins: its QuiltNode, who it is, its Lease."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    thing = {"apiVersion": API_VERSION, "kind": QUILTNODE.kind, "metadata": {"name": name(number)}}
    conditions = [
        {"type": kind, "status": "True", "reason": "Synced", "lastTransitionTime": now}
        for kind in ("DataplaneInSync", "RuntimeReady")
    ]
    status = {"hostIP": address(number), "hostname": name(number), "cpuCores": 8, "memoryMB": 16000}
    query = f"?fieldManager={AGENT_FIELD_MANAGER}&force=true"
    return [
        ("POST", QUILTNODE.path(), {**thing, "spec": {}}, JSON),
        ("PATCH", QUILTNODE.path(name(number), "status") + query,
         {**thing, "status": {**status, "conditions": conditions}}, APPLY),
        ("POST", leases(), lease(number), JSON),
    ]  # fmt: skip


def operator_calls(number: int) -> list[Call]:
    """The same writes that an operator adds to a join, for measuring what they cost by themselves."""
    cidr = f"10.{128 + number // 256}.{number % 256}.0/24"
    claim = {"apiVersion": API_VERSION, "kind": QUILTSUBNET.kind,
             "metadata": {"name": cidr.replace("/", "-")},
             "spec": {"cidr": cidr, "network": "default", "node": name(number)},
             "mesh": {"phase": "Up", "hostIP": address(number)}}  # fmt: skip
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": text, "lastTransitionTime": now}
        for kind, status, reason, text in (
            ("SubnetAllocated", "True", "Claimed", cidr),
            ("Ready", "True", "InMesh", ""),
            ("AgentUnresponsive", "False", "LeaseRenewed", ""),
        )
    ]
    status = {"phase": "Up", "subnets": [cidr], "mac": vtep_mac("default", name(number)),
              "lastTransitionTime": now, "conditions": conditions}  # fmt: skip
    thing = {"apiVersion": API_VERSION, "kind": QUILTNODE.kind, "metadata": {"name": name(number)}}
    query = "?fieldManager=quilt-operator&force=true"
    return [
        ("POST", QUILTSUBNET.path(), claim, JSON),
        ("PATCH", QUILTNODE.path(name(number), "status") + query, {**thing, "status": status}, APPLY),
    ]


def lease(number: int, version: str = "") -> Json:
    meta = {"name": name(number), **({"resourceVersion": version} if version else {})}
    spec = {"holderIdentity": name(number), "leaseDurationSeconds": 30, "renewTime": micro()}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


async def clear(wire: Wire) -> None:
    """Delete all that agents and operators made."""
    for path in (QUILTNODE.path(), QUILTSUBNET.path(), leases(), leases(KUBELET_LEASE_NAMESPACE)):
        await wire.ok("DELETE", path)
    while json.loads(await wire.ok("GET", QUILTSUBNET.path() + "?limit=1"))["items"]:
        await asyncio.sleep(0.2)
        await wire.ok("DELETE", QUILTSUBNET.path())


class Published:
    """When each node's claim was first Up with an address, by a watch."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.at: dict[str, float] = {}
        self.count = asyncio.Event()
        self._wanted = 0
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    async def start(self) -> None:
        await self._ready.wait()

    async def wait(self, count: int, within: float) -> None:
        """Wait until so many nodes are published."""
        self._wanted = count
        if len(self.at) < count:
            self.count.clear()
            async with asyncio.timeout(within):
                await self.count.wait()

    def stop(self) -> None:
        self._task.cancel()

    async def _follow(self) -> None:
        """List and watch, again whenever the API server ends the watch, as it does with a slow reader's."""
        while True:
            listed = json.loads(await self._wire.ok("GET", QUILTSUBNET.path()))
            for claim in listed["items"]:
                self._look(claim)
            query = f"?watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
            async for line in self._wire.watch(QUILTSUBNET.path() + query, self._ready.set):
                self._look(json.loads(line)["object"])

    def _look(self, claim: Json) -> None:
        mesh = claim.get("mesh") or {}
        if mesh.get("phase") == "Up" and mesh.get("hostIP"):
            self.at.setdefault(claim["spec"]["node"], time.monotonic())
            if len(self.at) >= self._wanted:
                self.count.set()


class Watchers(threading.Thread):
    """Agents' watches of all claims: read and thrown away, a few times a second."""

    def __init__(self, plane: Plane, count: int) -> None:
        super().__init__(daemon=True)
        self._open = [self._connect(plane) for _ in range(count)]
        self._stopping = threading.Event()
        self.read = 0

    def _connect(self, plane: Plane) -> ssl.SSLSocket:
        stream = plane.tls.wrap_socket(plane.dial(), server_hostname=plane.address)
        stream.sendall(
            f"GET {QUILTSUBNET.path()}?watch=true HTTP/1.0\r\nHost: {plane.address}\r\n\r\n".encode()
        )
        stream.setblocking(False)
        return stream

    def run(self) -> None:
        while not self._stopping.wait(_DRAIN):
            for stream in self._open:
                try:
                    while data := stream.recv(1 << 18):
                        self.read += len(data)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        for stream in self._open:
            stream.close()
