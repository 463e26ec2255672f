"""Network policies on and off, as the QuiltNetwork says."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from quilt_crds.names import QUILTENDPOINTS, QUILTPEERS, Resource
from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_kube.request import ApiError, UnreachableError, delete, read
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core.peersets import PeerSets
from quilt_operator.policies.conditions import Conditions
from quilt_operator.policies.following import Following
from quilt_operator.policies.writer import PeersWriter
from quilt_operator.world import World

# Seconds.
_LOOK_AGAIN = 1.0
_PAUSE = 5.0
_LEFT_FOR = 60.0


class Policies:
    """Keeps QuiltPeers while policies are enforced; otherwise follows nothing, and removes what is left."""

    def __init__(self, client: Client, world: World, events: EventRecorder, silence: float) -> None:
        self._client, self._world, self._events = client, world, events
        self._silence = silence
        self._writer: PeersWriter | None = None
        self._following: Following | None = None
        self._replanned = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled; a defect here must not end the operator."""
        while True:
            try:
                self._replanned.clear()
                if (spec := self._spec()) is None:
                    await self._replanned.wait()
                elif spec.policy.enabled:
                    await self._work()
                else:
                    await self._idle(spec)
            except (ApiError, UnreachableError) as error:
                log.warning("policies_not_removed", error=str(error))
                await asyncio.sleep(_PAUSE)
            except Exception:
                log.exception("policies_crashed")
                await asyncio.sleep(_PAUSE)

    def replanned(self) -> None:
        """Note that the network says something else."""
        self._replanned.set()

    def stale(self, seconds: float) -> list[str]:
        """Return the watches on which nothing came for so long."""
        watches = self._following.watches.values() if self._following is not None else ()
        return [watch.name for watch in watches if watch.connected and watch.age > seconds]

    def measure(self) -> None:
        """Bring the gauges up to date."""
        if self._writer is not None:
            metrics.PEERS_WAITING.set(self._writer.waiting)
            for what, count in self._writer.sets.measure().items():
                metrics.PEERS.labels(what).set(count)

    def _spec(self) -> QuiltNetworkSpec | None:
        """Return what the network says; None before there is one, and for one that cannot be read."""
        raw = self._world.network_raw.get("spec")
        try:
            return QuiltNetworkSpec.read(raw) if raw is not None else None
        except ValueError:
            return None

    async def _work(self) -> None:
        """Keep QuiltPeers until policies are switched off."""
        writer = self._writer = PeersWriter(self._client, PeerSets())
        conditions = Conditions(self._client, self._events)
        following = self._following = Following(self._client, writer, conditions, self._silence)
        self._world.follow_claims(following.put_claim)
        log.info("policies_enabled")
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep(following, writer))
                reporting = tasks.create_task(conditions.run())
                while (spec := self._spec()) is None or spec.policy.enabled:
                    following.look_at_nodes()
                    await asyncio.sleep(_LOOK_AGAIN)
                keeping.cancel()
                reporting.cancel()
        finally:
            self._world.follow_claims(None)
            following.stop()
            self._writer = self._following = None
        log.info("policies_disabled")

    async def _keep(self, following: Following, writer: PeersWriter) -> None:
        await following.begin()
        await writer.run()

    async def _idle(self, spec: QuiltNetworkSpec) -> None:
        """Remove what is left, until the network changes.

        Not at once: agents, which may learn later that policies are off, must not see sets become empty.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEFT_FOR):
                await self._replanned.wait()
                return
        await self._remove(QUILTPEERS)
        if not spec.publishes_endpoints:
            await self._remove(QUILTENDPOINTS)

    async def _remove(self, resource: Resource) -> None:
        try:
            left = await self._client.ask(read(resource.path(), {"limit": "1"}))
            if left.get("items"):
                await self._client.ask(delete(resource.path()))
                log.info("policies_removed", kind=resource.kind)
        except ApiError as error:
            if not error.missing:
                raise
