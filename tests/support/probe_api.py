"""The part of the API that probes ask of and write to."""

from __future__ import annotations

from typing import Any, cast

from quilt_crds.names import LEASE, LEASE_NAMESPACE, QUILTNODE
from quilt_kube.aio import Client
from quilt_kube.request import ApiError, Request


class FakeApi:
    """Answers reads with documents by path, and remembers what it was sent."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.sent: list[Request] = []
        self.reads: list[str] = []
        self.refusal: Exception | None = None
        self.alive: set[str] = set()
        """Nodes whose Lease is another one at each read."""

    async def ask(self, request: Request) -> dict[str, Any]:
        self.reads.append(request.path)
        for name in self.alive:
            self.renewed(name, str(len(self.reads)))
        if request.path not in self.documents:
            raise ApiError(404, "not found")
        return self.documents[request.path]

    async def send(self, request: Request) -> bytes:
        if self.refusal:
            raise self.refusal
        self.sent.append(request)
        return b"{}"

    @property
    def client(self) -> Client:
        return cast("Client", self)

    def node(self, name: str, reason: str, status: str = "True") -> None:
        condition = {"type": "PeersReachable", "status": status, "reason": reason}
        meta = {"name": name, "uid": f"uid-{name}"}
        self.documents[QUILTNODE.path(name)] = {"metadata": meta, "status": {"conditions": [condition]}}

    def renewed(self, name: str, time: str) -> None:
        self.documents[LEASE.path(name, namespace=LEASE_NAMESPACE)] = {"spec": {"renewTime": time}}
