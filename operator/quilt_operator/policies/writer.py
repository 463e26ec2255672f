"""Writing QuiltPeers: the first change at once, and at most 50 objects a second are written.

Each write is a delivery to every agent that watches QuiltPeers, of which the API server pays most, so a burst
of pods has to become few writes: what changes while some are written is collected for the tenth of a second
in which these may be. A pod that starts by itself waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from quilt_crds.names import OPERATOR_FIELD_MANAGER, QUILTPEERS, SELECTOR_LABEL
from quilt_crds.wire_policy import PeersSpec, QuiltPeers
from quilt_kube.backoff import Backoff
from quilt_kube.request import ApiError, UnreachableError, apply, delete
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client
from quilt_operator.core.peersets import PeerSets

# Seconds.
_AT_ONCE = 5
_BATCH_SECONDS = _AT_ONCE / 50


class PeersWriter:
    """Makes the QuiltPeers of the cluster what the sets say."""

    def __init__(self, client: Client, sets: PeerSets) -> None:
        self._client, self.sets = client, sets
        self._written: dict[str, bytes] = {}
        """A digest of what each object says, by its name."""
        self._pending: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._complained = False

    @property
    def waiting(self) -> int:
        """How many objects are to be written."""
        return len(self._pending)

    def wake(self) -> None:
        """Have the sets asked for changes."""
        self._wake.set()

    def names(self) -> list[str]:
        """Return the objects that are there."""
        return list(self._written)

    def seen(self, peers: QuiltPeers) -> None:
        """Enter an object as the API server has it: one that somebody else changed is written again."""
        label, name = peers.label, peers.name
        digest = _digest(label, peers.spec)
        if self._written.get(name) != digest:
            self._written[name] = digest
            self._pending[name] = None

    def lost(self, name: str) -> None:
        """Enter that an object is gone; one that somebody else deleted is written again."""
        if self._written.pop(name, None) is not None:
            self._pending[name] = None

    def resume(self, known: Iterable[QuiltPeers]) -> None:
        """Begin with what a predecessor wrote: addresses stay in their slices."""
        self._collect()
        slices: dict[str, dict[int, PeersSpec]] = {}
        for peers in known:
            self.seen(peers)
            slices.setdefault(peers.selector, {})[peers.slice] = peers.spec
        self.sets.resume(slices)
        self.wake()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._collect()
            while batch := self._batch():
                await asyncio.gather(*map(self._write, batch), asyncio.sleep(_BATCH_SECONDS))
                self._collect()

    def _collect(self) -> None:
        self._pending |= dict.fromkeys(self.sets.changes())

    def _batch(self) -> list[str]:
        """Take the next objects that are other than they should be."""
        batch: list[str] = []
        while self._pending and len(batch) < _AT_ONCE:
            name = next(iter(self._pending))
            del self._pending[name]
            if self._written.get(name) != self._wanted(name):
                batch.append(name)
        return batch

    def _wanted(self, name: str) -> bytes | None:
        content = self.sets.content(name)
        return _digest(*content) if content is not None else None

    async def _write(self, name: str) -> None:
        content = self.sets.content(name)
        try:
            if content is None:
                self._written.pop(name, None)
                await self._delete(name)
            else:
                self._written[name] = _digest(*content)
                await self._apply(name, *content)
            self._backoff.reset()
            self._complained = False
        except (ApiError, UnreachableError) as error:
            self._written.pop(name, None)
            if not self._complained:
                log.warning("peers_not_written", peers=name, error=str(error))
            self._complained = True
            metrics.PEERS_ERRORS.inc()
            self._pending[name] = None
            await asyncio.sleep(self._backoff.delay())

    async def _apply(self, name: str, label: str, spec: PeersSpec) -> None:
        body = QUILTPEERS.document({"name": name, "labels": {SELECTOR_LABEL: label}}, spec=spec)
        await self._client.ask(apply(QUILTPEERS.path(name), body, OPERATOR_FIELD_MANAGER))

    async def _delete(self, name: str) -> None:
        try:
            await self._client.ask(delete(QUILTPEERS.path(name)))
        except ApiError as error:
            if not error.missing:
                raise


def _digest(label: str, spec: PeersSpec) -> bytes:
    return sha256(label.encode() + msgspec.json.encode(spec)).digest()[:16]
