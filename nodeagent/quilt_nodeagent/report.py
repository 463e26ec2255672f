"""What the agent tells the outside: conditions, probes, metrics, and the CNI files that make a node Ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client import generate_latest

from quilt_crds.wire import Condition
from quilt_kube.aio import wait
from quilt_kube.listwatch import ListWatch
from quilt_nodeagent.api.heartbeat import Heartbeat
from quilt_nodeagent.cni import CniFiles
from quilt_nodeagent.core import conditions
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.feature import Feature
from quilt_nodeagent.kernel.hostcare import HostCare
from quilt_nodeagent.metrics import Metrics
from quilt_nodeagent.noderoutes import NodeRoutes
from quilt_nodeagent.reconcile import Reconciler
from quilt_nodeagent.view import View

# Seconds between looks at the names of others' CNI files, and at the Node's label where it decides.
_LOOK_AT_OTHERS = 5.0


class Parts(Protocol):
    """What is reported of: the parts of an agent that know something."""

    table: PeerTable
    view: View
    reconciler: Reconciler
    runtime: RuntimeLink
    node_routes: NodeRoutes
    host: HostCare
    heartbeat: Heartbeat
    metrics: Metrics
    watches: list[ListWatch[Any]]
    features: list[Feature]


@dataclass
class Report:
    """Draws conclusions from the parts of an agent; owns nothing but the CNI files.

    `changed()` is called when conditions may have changed by what is found here.
    """

    parts: Parts
    cni: CniFiles
    changed: Callable[[], None]
    heartbeat_task: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._check = asyncio.Event()
        self._had_claim = ""

    def conditions(self) -> list[Condition]:
        """Conditions of this node's QuiltNode, in a fixed order."""
        parts, held = self.parts, self.parts.view.claim
        self._had_claim = held.cidr if held else (self._had_claim or parts.runtime.held_subnet)
        listed, by_label = parts.table.complete, self.cni.condition()
        in_sync, host_ip = parts.reconciler.in_sync, parts.view.host_ip_text()
        return [
            conditions.dataplane(listed, in_sync, self._problems(), self._warnings(), host_ip),
            conditions.runtime(parts.runtime.error, parts.runtime.problems, parts.runtime.warnings),
            conditions.claim(listed, held is not None, self._had_claim),
            *((by_label,) if by_label else ()),
            *(found for feature in parts.features for found in feature.conditions()),
        ]

    def _problems(self) -> list[str]:
        """What keeps the kernel from being as wanted, the worst first."""
        parts, refusal = self.parts, self.parts.runtime.refusal
        found = [*parts.view.problems(), f"The runtime refused: {refusal}" if refusal else ""]
        return [*filter(None, found), *parts.reconciler.problems, *filter(None, [self.cni.problem])]

    def _warnings(self) -> list[str]:
        """What is wrong beside it, the worst first."""
        parts = self.parts
        of_features = [problem for feature in parts.features for problem in feature.problems()]
        own = [*parts.view.warnings(), *parts.reconciler.warnings, *parts.host.warnings, self.cni.foreign]
        return [*filter(None, own), *parts.node_routes.problems, *of_features]

    def dead(self) -> list[str]:
        """What speaks against being alive: only a restart helps against it."""
        task = self.heartbeat_task
        if task is None or task.done() or self.parts.heartbeat.stalled():
            return ["the heartbeat does not run"]
        return []

    def unready(self) -> list[str]:
        """What speaks against being ready; a peer that is dead is no such thing."""
        parts = self.parts
        reasons = [*parts.reconciler.problems, *parts.view.problems()]
        if not parts.table.complete:
            reasons.append("the first list of QuiltSubnets is not there yet")
        elif not parts.reconciler.in_sync:
            reasons.append("the kernel is not verified as wanted")
        claim = parts.view.claim
        if claim is None:
            reasons.append("this node has no subnet")
        elif parts.view.lacks_v6:
            reasons.append("this node has no IPv6 subnet")
        if not (self._serves() if claim else parts.runtime.configured):
            reasons.append(
                parts.runtime.refusal or parts.runtime.error or "the runtime is not configured yet"
            )
        if not self.cni.installed:
            reasons.append(self.cni.problem or "the CNI configuration is not written yet")
        return reasons

    def metrics(self) -> bytes:
        """Metrics in text form, ages and whether all is in sync as of now: that ends without a pass, too."""
        self.parts.metrics.in_sync.set(self.parts.reconciler.in_sync)
        for watch in self.parts.watches:
            self.parts.metrics.watch_age.labels(watch.name).set(watch.age)
        return generate_latest(self.parts.metrics.registry)

    def check(self) -> None:
        """Tell that the node may have come in sync or have another label, so that the CNI files are due."""
        self._check.set()

    async def run(self) -> None:
        """Install the CNI once the node is in sync, and again when files go; for ever."""
        while True:
            await wait(self._check, _LOOK_AT_OTHERS)
            self._check.clear()
            parts, cni = self.parts, self.cni
            cni.learn(parts.view.node)
            if cni.look_at_others():
                self.changed()
            ready = parts.reconciler.in_sync and not parts.view.lacks_v6 and self._serves()
            due = cni.serve is False or (cni.serve and ready)
            if due and await cni.ensure():
                self.changed()
                if cni.problem:
                    await asyncio.sleep(1.0)
                    self.check()

    def _serves(self) -> bool:
        """Whether the runtime serves this node's subnets, of both families where it has both."""
        claim, second = self.parts.view.claim, self.parts.view.claim_v6
        return claim is not None and self.parts.runtime.serves(claim.cidr, second.cidr if second else "")
