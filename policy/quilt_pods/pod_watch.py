"""Which pods of this node have an address, by the runtime's record, and whose start waits for policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_pods.runtime import PolicyRuntime, RuntimeLostError
from quilt_policy.program import PodName
from quilt_proto.policy_pb2 import PodEvent


class Connected(NamedTuple):
    """A pod and its IPv4 address."""

    pod: PodName
    address: str


def ignore(_: PodName) -> None:
    """Nobody asked to hear of waiting pods."""


class PodWatch:
    """Follows the runtime. `listeners` hear that `connected` changed, `waits` of a pod whose ADD waits.

    `known` is False until the runtime reported every pod once. After a connection was lost what was known
    stays until the next one reported every pod.
    """

    def __init__(self, runtime: PolicyRuntime) -> None:
        self._runtime = runtime
        self._connected: dict[tuple[str, str], Connected] = {}
        self._lost = ""
        self.known = False
        self.listeners: list[Callable[[], None]] = []
        self.waits: Callable[[PodName], None] = ignore

    @property
    def connected(self) -> frozenset[Connected]:
        """Who has which address now."""
        return frozenset(self._connected.values())

    def reported(self) -> frozenset[PodName] | None:
        """Return the pods that have an address now; None while nobody knows."""
        return frozenset(one.pod for one in self._connected.values()) if self.known else None

    async def run(self) -> None:
        """Follow for ever; a runtime that is away is asked again and again."""
        self._connected, self.known = {}, False
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                await self._follow(backoff)
            except RuntimeLostError as error:
                if str(error) != self._lost:
                    self._lost = str(error)
                    log.info("pods_not_watched", error=self._lost, keeps="what was known")
            await asyncio.sleep(backoff.delay())

    async def _follow(self, backoff: Backoff) -> None:
        """Take one stream in: what there is, as a whole, then event by event."""
        snapshot: dict[tuple[str, str], Connected] | None = {}
        async for event in self._runtime.pods():
            if event.what == PodEvent.WAITING:
                self.waits(_name(event))
            elif event.what == PodEvent.SYNCED and snapshot is not None:
                self._connected, snapshot, self.known = snapshot, None, True
                self._lost = ""
                backoff.reset()
                self._changed()
            elif snapshot is not None:
                _enter(snapshot, event)
            else:
                _enter(self._connected, event)
                self._changed()

    def _changed(self) -> None:
        for listener in self.listeners:
            listener()


def _enter(held: dict[tuple[str, str], Connected], event: PodEvent) -> None:
    key = (event.container_id, event.interface)
    if event.what == PodEvent.CONNECTED:
        held[key] = Connected(_name(event), event.address)
    elif event.what == PodEvent.DISCONNECTED:
        held.pop(key, None)


def _name(event: PodEvent) -> PodName:
    return PodName(event.pod.namespace, event.pod.name, event.pod.uid)
