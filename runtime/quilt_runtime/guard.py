"""Keeps pods from speaking for each other: which interface may send as whom, in the kernel and remembered.

A pod is admitted before its interface exists and dismissed when it is gone. What a pod that runs already may
send as, after a restart or where an older release made it, follows from its record and from its interface's
other end; so nobody who runs is shut out when the table is first written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from quilt_log import log
from quilt_netlink import MulticastKernel, NetlinkError
from quilt_netlink.nftsets import BRIDGE, SetChange
from quilt_runtime.addresses import Addresses
from quilt_runtime.core import guard
from quilt_runtime.core.guard import Port
from quilt_runtime.core.ipam import Allocation
from quilt_runtime.core.nftables import changes
from quilt_runtime.kernel import nft
from quilt_runtime.kernel.table import Table

MOST_FOLLOWED = 200
"""Pods whose elements are surely within the limits of one change."""
UNSUPPORTED = (
    "This kernel cannot filter on bridges (it was built without CONFIG_NF_TABLES_BRIDGE): pods can forge "
    "each other's addresses. Run one that can, as distributions' do, or set spoofGuard: false to accept it."
)


class UnsupportedError(Exception):
    """This kernel cannot filter on bridges."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the table `bridge quilt` depends on; ports by the name of their interface."""

    subnet: IPv4Network
    ports: Mapping[str, Port]


class BridgeGuard(Table[Guarded]):
    """The table `bridge quilt`. Safe to use from any thread.

    `is_on` tells whether pods are to be held to their addresses. That somebody else changed the table is seen
    in its rules, as nft lists them without members, and in the members, as the kernel holds them.
    """

    kind = "guard"

    def __init__(self, addresses: Addresses, is_on: Callable[[], bool]) -> None:
        super().__init__(BRIDGE)
        self._addresses = addresses
        self._is_on = is_on
        self._lock = threading.RLock()
        self._ports: dict[str, Port] = {}
        self.warnings: list[str] = []

    def admit(self, port: Port) -> None:
        """Let a pod's interface, which does not exist yet, send as itself. Raises NftError."""
        with self._lock:
            self._ports[port.interface] = port
            if self._is_active:
                self._renew()

    def dismiss(self, interface: str) -> None:
        """Forget an interface that is gone; where the table refuses, the next look at it mends it."""
        with self._lock:
            if self._ports.pop(interface, None) is None or not self._is_active:
                return
            try:
                self._renew()
            except nft.NftError as error:
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
            return self._renew(read=read)

    def leave(self) -> None:
        """End: until a successor replaces this, only present pods are held to their addresses."""
        with self._lock:
            held, self._held = self._held, None
            try:
                if held is not None:
                    nft.apply(*guard.unattended(guard.bridge_mac(held.subnet), held.ports))
            except nft.NftError as error:
                log.warning("guard_not_left", error=str(error))

    @property
    def _is_active(self) -> bool:
        """Whether there is to be a table, and can be as far as is known."""
        return self._is_on() and not self.warnings

    def _renew(self, *, read: bool = False) -> list[str]:
        subnet = self._addresses.subnet
        if subnet is None or not self._is_on():
            self.warnings = []
            return self._remove()
        try:
            done = self.write(Guarded(subnet, dict(self._ports)), read=read)
        except UnsupportedError:
            if not self.warnings:
                log.warning("guard_unsupported", reason=UNSUPPORTED)
            self.warnings = [UNSUPPORTED]
            return []
        self.warnings = []
        return done

    def _remove(self) -> list[str]:
        """Take the table away; returns what was. Raises NftError."""
        self._held = None
        if not nft.listing(guard.FAMILY, "--terse"):
            return []
        nft.apply(*guard.gone())
        return [self.kind]

    def _is_intact(self, held: Guarded) -> bool:
        if nft.listing(guard.FAMILY, "--terse") != self._rules:
            return False
        return all(self._members(name) == keys for name, keys in guard.keys(held.ports).items())

    def _changes(self, held: Guarded, wanted: Guarded) -> list[SetChange] | None:
        changed = {name for name, _ in held.ports.items() ^ wanted.ports.items()}
        if held.subnet != wanted.subnet or len(changed) > MOST_FOLLOWED:
            return None
        return changes(
            *(
                guard.keys({name: ports[name] for name in changed & ports.keys()})
                for ports in (held.ports, wanted.ports)
            )
        )

    def _replace(self, wanted: Guarded) -> None:
        try:
            nft.apply(*guard.ruleset(wanted.subnet, guard.bridge_mac(wanted.subnet), wanted.ports))
        except nft.NftError:
            if nft.accepts(guard.probe()):
                raise
            raise UnsupportedError from None
        self._rules = nft.listing(guard.FAMILY, "--terse")

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
