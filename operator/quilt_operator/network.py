"""The QuiltNetwork: made and kept as the chart says, with its status.

A Helm release cannot hold an object of a CRD that it brings itself, so the chart leaves its values in a
ConfigMap. They are applied under a field manager of their own. An administrator may extend the address
ranges; what was added is carried along, never undone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import to_builtins
from msgspec.structs import asdict

from quilt_crds.base import InvalidObjectError
from quilt_crds.names import (
    CONFIGMAP,
    DOWN,
    NETWORK_CONFIG_KEY,
    NETWORK_CONFIGMAP,
    PENDING,
    QUILTNETWORK,
    READY,
    UP,
)
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_crds.wire_network import QuiltNetworkStatus
from quilt_events.document import NORMAL, WARNING, About
from quilt_kube.decoding import convert
from quilt_kube.request import ApiError
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core import network_status
from quilt_operator.core.chart import covers, differences, merged
from quilt_operator.core.claims import Book
from quilt_operator.core.status import news
from quilt_operator.core.times import rfc3339
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.workqueue import Request
from quilt_operator.world import World

# Also how long a changed chart value waits at most.
_LOOK_AGAIN = 5.0
# Service networks are added by hand, once in years.
_SERVICES_AGAIN = 60.0


@dataclass
class NetworkReconciler:
    """Reconciles the one QuiltNetwork; looks every few seconds and writes when something changed."""

    world: World
    client: Client
    heartbeats: Heartbeats
    events: EventRecorder
    namespace: str
    refused: str = ""
    outage: float = 0.0
    """For how long nobody had led, if that was long."""
    outage_until: float = 0.0
    """Monotonic time until which that is worth telling."""
    _complained: str = field(default="", init=False)
    _followed: Mapping[str, Any] | None = field(default=None, init=False)
    """The chart's spec when the network was last seen to have it too."""
    _applied: tuple[Mapping[str, Any], Mapping[str, Any]] | None = field(default=None, init=False)
    """The chart's spec when it was last applied, and what came of it."""
    _services_due: float = field(default=-float("inf"), init=False)

    async def __call__(self, request: Request) -> float | None:
        """Make the network and its status right."""
        del request  # There is only one.
        await self.follow_chart()
        await self.look_for_overlaps()
        self.follow_policy()
        if self.world.book is not None and self.world.network_raw:
            await self._say(self.world.book)
        return _LOOK_AGAIN

    def follow_policy(self) -> None:
        """Have nodes judged by the network's rules."""
        if self.world.book is not None:
            self.heartbeats.policy = self.world.book.plan.policy

    async def follow_chart(self) -> None:
        """Create the network when absent, and apply what the chart owns where it differs."""
        chart = await self._chart()
        live = self.world.network_raw.get("spec")
        if chart is None:
            return
        if live is not None and covers(live, chart):
            self.refused, self._followed = "", chart
            return
        if self._applied == (chart, live):
            return  # The API server took it and kept something of another's all the same.
        try:
            raw = await self.client.apply_network_spec(self.world.network, merged(live or {}, chart))
        except ApiError as error:
            if not error.refused:
                raise
            self._refuse(error.message)
            return
        self.refused = ""
        log.info("network_applied", network=self.world.network, created=live is None)
        self._applied = chart, raw.get("spec") or {}
        self.world.observe(QUILTNETWORK.plural, raw)
        if live is not None and chart == self._followed:
            self._tell_undone(differences(live, chart), raw)

    def _tell_undone(self, edits: Sequence[str], raw: Mapping[str, Any]) -> None:
        """Tell who edited by hand what the chart decides that it was taken back."""
        about = About(QUILTNETWORK.kind, self.world.network, raw["metadata"].get("uid", ""))
        text = f"taken back: {'; '.join(edits)}. The chart decides this: change the values of the release"
        log.warning("hand_edit_undone", network=self.world.network, edits=list(edits))
        self.events.note(about, WARNING, "HandEditUndone", text)

    async def _chart(self) -> Mapping[str, Any] | None:
        raw = await self.client.find(CONFIGMAP.path(NETWORK_CONFIGMAP, namespace=self.namespace))
        text = (raw or {}).get("data", {}).get(NETWORK_CONFIG_KEY, "")
        where = f"ConfigMap {self.namespace}/{NETWORK_CONFIGMAP}, key {NETWORK_CONFIG_KEY}"
        if not text:
            if not self.world.network_raw:
                self._complain(f"{where} is missing and there is no QuiltNetwork {self.world.network}")
            return None
        try:
            chart = msgspec.json.decode(text, type=dict[str, Any])
            QuiltNetworkSpec.parse(chart, where)
        except (msgspec.MsgspecError, InvalidObjectError) as error:
            self._refuse(f"{where}: {error}")
            return None
        return chart

    def _refuse(self, message: str) -> None:
        self.refused = message
        self._complain(message)

    def _complain(self, message: str) -> None:
        if message != self._complained:
            log.error("network_not_applied", error=message)
        self._complained = message

    async def _say(self, book: Book) -> None:
        world, raw = self.world, self.world.network_raw
        before = convert(raw.get("status") or {}, QuiltNetworkStatus)
        now = rfc3339(datetime.now(UTC))
        outage = self.outage if time.monotonic() < self.outage_until else 0.0
        crowds = network_status.crowded(book.plan, world.hosts.items.values())
        wanted = network_status.desired(
            book, self.heartbeats.guard, self.refused, world.overlaps, before.conditions, now, outage, crowds
        )
        if wanted == before:
            return
        uid = raw["metadata"].get("uid", "")
        raw = await self.client.apply_status(QUILTNETWORK, world.network, uid, to_builtins(wanted))
        world.observe(QUILTNETWORK.plural, raw)
        self._tell_change(before, wanted, uid)

    def _tell_change(self, before: QuiltNetworkStatus, now: QuiltNetworkStatus, uid: str) -> None:
        about = About(QUILTNETWORK.kind, self.world.network, uid)
        for item, bad in news(before.conditions, now.conditions):
            if item.type == READY:  # it repeats another one
                continue
            log.info("network_condition", type=item.type, status=item.status, reason=item.reason)
            text = item.message or f"{item.type} is {item.status}"
            self.events.note(about, WARNING if bad else NORMAL, item.reason, text)

    async def look_for_overlaps(self) -> None:
        """Find Service networks and Nodes whose addresses lie in the network's ranges."""
        if time.monotonic() >= self._services_due:
            self.world.services = await self.client.service_cidrs()
            self._services_due = time.monotonic() + _SERVICES_AGAIN
        book, hosts = self.world.book, self.world.hosts.items.values()
        if book is not None:
            self.world.overlaps = network_status.overlapping(book.plan, hosts, self.world.services)

    def measure(self) -> None:
        """Bring the gauges of nodes and subnets up to date."""
        book = self.world.book
        phases = Counter(node.status.phase or PENDING for node in self.world.nodes.items.values())
        for phase in (PENDING, UP, DOWN):
            metrics.NODES.labels(phase).set(phases[phase])
        if book is None:
            return
        metrics.CLAIM_PROBLEMS.set(len(book.problems))
        for family in book.plan.pools:
            for state, count in asdict(book.counts(family)).items():
                if state != "total":  # a sum over the states is no more than there are
                    metrics.SUBNETS.labels(f"IPv{family}", state).set(count)
