"""A stand-in for the runtime's Policy service, over real gRPC, with faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc.aio

from quilt_policy.program import PodName
from quilt_proto import policy_pb2 as pb
from quilt_proto.policy_pb2_grpc import PolicyServicer, add_PolicyServicer_to_server


class FakePolicyRuntime(PolicyServicer):
    """Remembers what it was sent: `replaced` and `changed`. While `refuse` is set it applies nothing.

    `forgot` makes the next change one of something that it does not know.
    """

    def __init__(self, folder: Path) -> None:
        self.address = f"unix://{folder}/policy.sock"
        self.connected: dict[PodName, str] = {}
        self.waiting: set[PodName] = set()
        self.replaced: list[pb.PolicyProgram] = []
        self.changed: list[pb.PolicyChange] = []
        self.refuse = ""
        self.forgot = False
        self._readers: set[asyncio.Queue[pb.PodEvent]] = set()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Serve; also again after `stop`."""
        server = grpc.aio.server()
        add_PolicyServicer_to_server(self, server)
        server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Go away at once, as by a kill."""
        if self._server is not None:
            await self._server.stop(grace=None)

    def connect(self, pod: PodName, address: str) -> None:
        """Give a pod its address."""
        self.connected[pod] = address
        self.waiting.discard(pod)
        self._tell(_event(pb.PodEvent.CONNECTED, pod, address))

    def disconnect(self, pod: PodName) -> None:
        """Take it from it."""
        self._tell(_event(pb.PodEvent.DISCONNECTED, pod, self.connected.pop(pod)))

    def wait(self, pod: PodName) -> None:
        """Have a pod's ADD wait."""
        self.waiting.add(pod)
        self._tell(_event(pb.PodEvent.WAITING, pod))

    @property
    def pods(self) -> dict[PodName, tuple[str, str]]:
        """The announced pods with their chains, after everything that was sent."""
        found: dict[PodName, tuple[str, str]] = {}
        last = self.replaced[-1] if self.replaced else pb.PolicyProgram()
        profiles = [*last.pods, *(one for change in self.changed for one in change.pods)]
        for one in profiles:
            found[PodName(one.pod.namespace, one.pod.name, one.pod.uid)] = (one.ingress, one.egress)
        for change in self.changed:
            for gone in change.gone_pods:
                found.pop(PodName(gone.namespace, gone.name, gone.uid), None)
        return found

    @property
    def sets(self) -> dict[str, set[str]]:
        """The IPv4 addresses of each set, after everything that was sent."""
        last = self.replaced[-1] if self.replaced else pb.PolicyProgram()
        found = {one.name: _addresses(one.v4) for one in last.sets}
        for change in self.changed:
            found |= {one.name: _addresses(one.v4) for one in change.sets}
            for one in change.members:
                found[one.name] = (found[one.name] | _addresses(one.add_v4)) - _addresses(one.remove_v4)
            for gone in change.gone_sets:
                del found[gone]
        return found

    async def ReplacePolicies(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        if not self.refuse:
            self.replaced.append(request)
            self.changed.clear()
        return pb.PolicyAnswer(success=not self.refuse, error=self.refuse)

    async def ChangePolicies(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        if self.refuse or self.forgot:
            forgot, self.forgot = self.forgot, False
            return pb.PolicyAnswer(error=self.refuse or "of what?", unknown_state=forgot)
        self.changed.append(request)
        return pb.PolicyAnswer(success=True)

    async def WatchPods(self, request: Any, context: Any) -> AsyncIterator[pb.PodEvent]:  # noqa: N802
        queue: asyncio.Queue[pb.PodEvent] = asyncio.Queue()
        for pod, address in self.connected.items():
            queue.put_nowait(_event(pb.PodEvent.CONNECTED, pod, address))
        for pod in self.waiting:
            queue.put_nowait(_event(pb.PodEvent.WAITING, pod))
        queue.put_nowait(pb.PodEvent(what=pb.PodEvent.SYNCED))
        self._readers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.discard(queue)

    def _tell(self, event: pb.PodEvent) -> None:
        for queue in self._readers:
            queue.put_nowait(event)


def _addresses(v4: bytes) -> set[str]:
    return {str(IPv4Address(v4[at : at + 4])) for at in range(0, len(v4), 4)}


def _event(what: Any, pod: PodName, address: str = "") -> pb.PodEvent:
    name = pb.PodName(namespace=pod.namespace, name=pod.name, uid=pod.uid)
    return pb.PodEvent(what=what, pod=name, container_id=f"c-{pod.uid}", interface="eth0", address=address)
