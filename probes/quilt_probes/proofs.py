"""Proof of life of silent peers: whether their agents run and probe, by what they write to the API.

A peer that does not send may be an older release, or stopped, or restart: then nothing is wrong with the
path. One whose Lease is renewed while its condition shows that it probes, and of which nothing comes: there
the path is broken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from quilt_crds.names import LEASE, LEASE_NAMESPACE, PEERS_REACHABLE, QUILTNODE
from quilt_crds.wire import QuiltNode
from quilt_kube.aio import Client
from quilt_kube.decoding import convert
from quilt_kube.request import ApiError, UnreachableError, read
from quilt_probes.core.words import DISABLED, STARTING

# Peers that are asked about at a time: one may have lost all, and a few name the outage.
_AT_ONCE = 3
# Seconds beyond the heartbeat's interval until a Lease must have been renewed.
_MARGIN = 1.0
# Seconds until a proof is renewed.
_AGAIN = 60.0
# From the API server's memory: what is a second old is good enough.
_CACHED = {"resourceVersion": "0"}


@dataclass
class Proofs:
    """`silent(now)` names whom to ask about, `proved(node, now)` accepts a proof.

    `interval()` is the heartbeat's in seconds.
    """

    client: Client
    interval: Callable[[], float]
    silent: Callable[[float], Sequence[str]]
    proved: Callable[[str, float], None]
    _renewals: dict[str, str] = field(default_factory=dict, init=False)
    _due: dict[str, float] = field(default_factory=dict, init=False)

    async def look(self) -> None:
        """Ask about those whose turn it is; does nothing where nobody is silent."""
        now = time.monotonic()
        asked = self.silent(now)[:_AT_ONCE]
        for known in (self._renewals, self._due):
            for gone in known.keys() - set(asked):
                del known[gone]
        for node in asked:
            if self._due.get(node, 0.0) <= now:
                await self._ask(node)

    async def _ask(self, node: str) -> None:
        wait = self.interval() + _MARGIN
        try:
            if await self._renewed(node) and await self._probes(node):
                self.proved(node, time.monotonic())
                self._renewals.pop(node, None)
                wait = _AGAIN
        except (ApiError, UnreachableError):
            pass  # Nothing is known then, and nothing is claimed.
        self._due[node] = time.monotonic() + wait

    async def _renewed(self, node: str) -> bool:
        """Whether its Lease is another than the last time."""
        lease: dict[str, Any] = await self.client.ask(
            read(LEASE.path(node, namespace=LEASE_NAMESPACE), _CACHED)
        )
        renewal = str(lease.get("spec", {}).get("renewTime", ""))
        before, self._renewals[node] = self._renewals.get(node), renewal
        return before is not None and before != renewal

    async def _probes(self, node: str) -> bool:
        found = convert(await self.client.ask(read(QUILTNODE.path(node), _CACHED)), QuiltNode)
        condition = found.condition(PEERS_REACHABLE)
        return condition is not None and condition.reason not in (DISABLED, STARTING)
