"""Puts right what others change on the node: woken by the kernel, with a full look now and then as safety
net.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import structlog

from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import NetlinkError
from quilt_runtime.core.errors import RequestError
from quilt_runtime.kernel.watch import Watch
from quilt_runtime.metrics import Metrics
from quilt_runtime.network import NodeNetwork
from quilt_runtime.state import StateError

log = structlog.get_logger()

COALESCE_S = 0.02
RETRY_S = 1.0
RESYNC_S = 60.0

Repair = Callable[[], list[str]]


class DriftRepair:
    """Runs until cancelled."""

    def __init__(self, network: NodeNetwork, metrics: Metrics) -> None:
        self._network = network
        self._metrics = metrics

    async def run(self) -> None:
        """Watch and repair; a repair that fails is tried again each second until it succeeds."""
        watch = Watch()
        try:
            while True:
                await watch.wait(RETRY_S if self._network.problems else RESYNC_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                await asyncio.sleep(COALESCE_S)
                await asyncio.to_thread(self._repair, *watch.take())
        finally:
            watch.close()

    def _repair(self, links: set[str], sysctls: bool, firewall: bool, everything: bool) -> None:
        everything = everything or not (links or sysctls or firewall)
        repairs: list[Repair] = []
        if everything or BRIDGE_DEVICE in links or self._network.owns_any(links):
            names = None if everything else links - {BRIDGE_DEVICE}
            repairs.append(
                self._network.ensure_links if names is None else lambda: self._network.check_links(names)
            )
        if everything or sysctls:
            repairs.append(self._network.ensure_sysctls)
        if everything or firewall:
            repairs += [
                self._network.check_firewall,
                self._network.check_guard,
                self._network.ensure_forward,
            ]
        done: list[str] = []
        for repair in repairs:
            try:
                done += repair()
            except (RequestError, NetlinkError, StateError):
                continue  # logged by the network, and kept among its problems
        for kind, count in Counter(done).items():
            self._metrics.drift_repairs.labels(kind=kind).inc(count)
            log.warning("drift_repaired", kind=kind, count=count)
