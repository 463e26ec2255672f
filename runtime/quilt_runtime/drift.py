"""Puts right what others change on the node: woken by the kernel, with a full look now and then as safety
net.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from quilt_crds.names import BRIDGE_DEVICE
from quilt_log import log
from quilt_netlink import Address, BridgePort, Change, Event, Link, Monitor, Netconf, NftTable, Overrun
from quilt_runtime.core import policy
from quilt_runtime.core.ipam import veth_address
from quilt_runtime.core.nftables import TABLE
from quilt_runtime.kernel.nft import made_here
from quilt_runtime.metrics import Metrics
from quilt_runtime.network import AREAS, NodeNetwork
from quilt_runtime.troubles import Troubles

COALESCE_S = 0.02
RETRY_S = 1.0
REOPEN_S = 1.0
RESYNC_S = 60.0
# Others' tables change often, and nothing is repaired there: looked at now and then, on no event.
FIREWALLS_S = 20.0

# `filter` is iptables-nft's, whose FORWARD chain others give a policy DROP.
TABLES = frozenset({TABLE, "filter"})
OPENERS = (
    partial(Monitor, ("link", "port", "address", "netconf")),
    partial(Monitor, ("nftables",), ignore_port=made_here),
)


class DriftRepair:
    """Runs until cancelled, in one event loop.

    Which interface or table a notification is about is enough, as the network reads the state itself. Lost
    notifications mean "everything".
    """

    def __init__(self, network: NodeNetwork, metrics: Metrics, troubles: Troubles) -> None:
        self._network = network
        self._metrics = metrics
        self._troubles = troubles
        self._links: set[str] = set()
        # What changed before the watch was open was not notified.
        self._areas = set(AREAS)
        self._woken = asyncio.Event()
        self._woken.set()

    async def run(self) -> None:
        """Watch and repair; a repair that fails is tried again each second until it succeeds."""
        watches = [asyncio.create_task(self._follow(opener(), opener)) for opener in OPENERS]
        watches.append(asyncio.create_task(self._look_at_firewalls()))
        try:
            while True:
                await self._wait(RETRY_S if self._network.problems else RESYNC_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                await asyncio.sleep(COALESCE_S)
                areas, links = self._areas, self._links
                self._areas, self._links = set(), set()
                self._woken.clear()
                await asyncio.to_thread(self._repair, areas, links)
        finally:
            for watch in watches:
                watch.cancel()

    async def _look_at_firewalls(self) -> None:
        while True:
            await asyncio.to_thread(self._network.look_at_firewalls)
            await asyncio.sleep(FIREWALLS_S)

    async def _wait(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            # Not wait_for: Python 3.11's loses a cancellation that comes with the event (CPython gh-86296).
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()

    def _repair(self, areas: set[str], links: set[str]) -> None:
        """Repair areas, and interfaces; all where nothing in particular changed."""
        names: set[str] | None = links - {BRIDGE_DEVICE}
        if "links" in areas or not (areas or links):
            areas, names = set(AREAS), None
        elif BRIDGE_DEVICE in links or self._network.owns_any(links):
            areas.add("links")
        for kind, count in Counter(self._network.repair(areas, names)).items():
            self._metrics.drift_repairs.labels(kind=kind).inc(count)
            self._troubles.repaired(kind, count)
            log.warning("drift_repaired", kind=kind, count=count)

    async def _follow(self, monitor: Monitor, again: Callable[[], Monitor]) -> None:
        """Take in what a monitor tells; one that broke is opened again."""
        while True:
            async with monitor:
                while events := await monitor.take_all():
                    for event in events:
                        self._take(event)
            await asyncio.sleep(REOPEN_S)
            monitor = again()
            self._take(Overrun())

    def _take(self, event: Event) -> None:
        match event:
            case Overrun():
                self._network.policies.touched()
                self._areas |= set(AREAS)
            case Change(entry=Link(name=name) | BridgePort(name=name)) if _is_managed(name):
                self._links.add(name)
            case Change(entry=Address(ifindex=index)) if (name := _name(index)) and _is_managed(name):
                self._links.add(name)
            case Change(entry=Netconf()):
                self._areas.add("sysctls")
            case Change(entry=NftTable(name=name)) if name in TABLES:
                self._areas |= {"nftables", "guard", "forward"}
            case Change(entry=NftTable(name=policy.TABLE)):
                self._network.policies.touched()
                self._areas.add("policies")
            case _:
                return
        self._woken.set()


def _is_managed(name: str) -> bool:
    """Whether an interface of this name is the bridge or a pod's."""
    return name == BRIDGE_DEVICE or veth_address(name) is not None


def _name(ifindex: int) -> str:
    with suppress(OSError):  # it is gone, of which there is a notification as well
        return socket.if_indextoname(ifindex)
    return ""
