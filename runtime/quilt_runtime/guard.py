"""Keeps pods from speaking for each other: which interface may send as whom, in the kernel and remembered.

A pod is admitted before its interface exists and dismissed when it is gone. What a pod that runs already may
send as, after a restart or where an older release made it, follows from its record and from its interface's
other end; so nobody who runs is shut out when the table is first written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network

import structlog

from quilt_netlink import MulticastKernel, NetlinkError
from quilt_runtime.addresses import Addresses
from quilt_runtime.core import guard
from quilt_runtime.core.guard import Port
from quilt_runtime.core.ipam import Allocation
from quilt_runtime.kernel.nft import NftError
from quilt_runtime.kernel.table import Guarded, GuardTable, UnsupportedError

log = structlog.get_logger()

UNSUPPORTED = (
    "This kernel cannot filter on bridges (it was built without CONFIG_NF_TABLES_BRIDGE): pods can forge "
    "each other's addresses. Run one that can, as distributions' do, or set spoofGuard: false to accept it."
)


class BridgeGuard:
    """Safe to use from any thread; `is_on` tells whether pods are to be held to their addresses."""

    def __init__(self, addresses: Addresses, is_on: Callable[[], bool]) -> None:
        self._addresses = addresses
        self._is_on = is_on
        self._table = GuardTable()
        self._lock = threading.RLock()
        self._ports: dict[str, Port] = {}
        self.warnings: list[str] = []

    def admit(self, port: Port) -> None:
        """Let a pod's interface, which does not exist yet, send as itself. Raises NftError."""
        with self._lock:
            self._ports[port.interface] = port
            if self._is_active:
                self._write()

    def dismiss(self, interface: str) -> None:
        """Forget an interface that is gone; where the table refuses, the next look at it mends it."""
        with self._lock:
            if self._ports.pop(interface, None) is None or not self._is_active:
                return
            try:
                self._write()
            except NftError as error:
                log.warning("guard_not_dismissed", interface=interface, error=str(error))

    def knows(self, interfaces: Iterable[str]) -> bool:
        """Whether it is known what each of these interfaces may send as."""
        return all(interface in self._ports for interface in interfaces)

    def ensure(self, *, read: bool = False) -> list[str]:
        """Make the table what the node's pods need; returns what was written. Raises NftError.

        With `read` also after somebody else changed it.
        """
        with self._lock:
            if (subnet := self._addresses.subnet) is not None and self._is_on():
                self._ports = self._current(subnet, self._addresses.held())
            return self._write(read=read)

    def leave(self) -> None:
        """End: until a successor replaces this, only present pods are held to their addresses."""
        with self._lock:
            try:
                self._table.leave()
            except NftError as error:
                log.warning("guard_not_left", error=str(error))

    @property
    def _is_active(self) -> bool:
        """Whether there is to be a table, and can be as far as is known."""
        return self._is_on() and not self.warnings

    def _write(self, *, read: bool = False) -> list[str]:
        subnet = self._addresses.subnet
        if subnet is None or not self._is_on():
            self.warnings = []
            return self._table.remove()
        try:
            done = self._table.ensure(Guarded(subnet, dict(self._ports)), read=read)
        except UnsupportedError:
            if not self.warnings:
                log.warning("guard_unsupported", reason=UNSUPPORTED)
            self.warnings = [UNSUPPORTED]
            return []
        self.warnings = []
        return done

    def _current(self, subnet: IPv4Network, allocations: Iterable[Allocation]) -> dict[str, Port]:
        """The ports of all recorded pods, those not known yet as the kernel shows them."""
        ports: dict[str, Port] = {}
        with MulticastKernel.open() as kernel:
            for held in allocations:
                name, known = held.host_interface, self._ports.get(held.host_interface)
                mac = known.mac if known else _mac(kernel, held, subnet)
                if mac is not None:
                    ports[name] = Port(name, mac, held.address, self._addresses.twin(held.address))
        return ports


def _mac(kernel: MulticastKernel, held: Allocation, subnet: IPv4Network) -> str | None:
    """The MAC that a pod which runs sends with; None where its interface does not exist (yet)."""
    if kernel.link(held.host_interface) is None:
        return None
    try:
        reported = kernel.peer_mac(held.host_interface)
    except NetlinkError as error:
        log.warning("guard_mac_unknown", interface=held.host_interface, error=str(error))
        reported = None
    return guard.learned(reported, held.address, subnet)
