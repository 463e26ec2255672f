"""Tells what of the node's network may have changed, from the kernel's own notifications.

Which interface or table a notification is about is enough, as its receiver reads the state itself. Lost
notifications mean "everything".
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import Address, BridgePort, Change, Event, Link, Monitor, Netconf, NftTable, Overrun
from quilt_runtime.core.ipam import veth_address
from quilt_runtime.core.nftables import TABLE
from quilt_runtime.kernel.nft import made_here

# `filter` is iptables-nft's, whose FORWARD chain others give a policy DROP.
TABLES = frozenset({TABLE, "filter"})
REOPEN_S = 1.0


class Watch:
    """Collects what became dirty: interface names, sysctls, the nftables table. Use from one event loop."""

    def __init__(self) -> None:
        self.links: set[str] = set()
        self.sysctls = False
        self.firewall = False
        # What changed before the watch was open was not notified.
        self.everything = True
        self._woken = asyncio.Event()
        self._woken.set()
        openers = (_watch_interfaces, _watch_tables)
        self._tasks = [asyncio.create_task(self._follow(opener(), opener)) for opener in openers]

    def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()

    async def wait(self, timeout_s: float) -> None:
        """Return when something became dirty, or after `timeout_s` seconds."""
        try:
            # Not wait_for: Python 3.11's loses a cancellation that comes with the event (CPython gh-86296).
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return

    def take(self) -> tuple[set[str], bool, bool, bool]:
        """Return and forget what is dirty: (interfaces, sysctls, firewall, everything)."""
        taken = (self.links, self.sysctls, self.firewall, self.everything)
        self.links, self.sysctls, self.firewall, self.everything = set(), False, False, False
        self._woken.clear()
        return taken

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
                self.everything = True
            case Change(entry=Link(name=name) | BridgePort(name=name)) if is_managed(name):
                self.links.add(name)
            case Change(entry=Address(ifindex=index)) if (name := _name(index)) and is_managed(name):
                self.links.add(name)
            case Change(entry=Netconf()):
                self.sysctls = True
            case Change(entry=NftTable(name=name)) if name in TABLES:
                self.firewall = True
            case _:
                return
        self._woken.set()


def is_managed(name: str) -> bool:
    """Whether an interface of this name is the bridge or a pod's."""
    return name == BRIDGE_DEVICE or veth_address(name) is not None


def _watch_interfaces() -> Monitor:
    return Monitor(("link", "port", "address", "netconf"))


def _watch_tables() -> Monitor:
    return Monitor(("nftables",), ignore_port=made_here)


def _name(ifindex: int) -> str:
    with suppress(OSError):  # it is gone, of which there is a notification as well
        return socket.if_indextoname(ifindex)
    return ""
