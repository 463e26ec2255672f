"""The addresses of this node's containers: the pure rules of core.ipam, remembered in the store.

Only IPv4 addresses are given out; where the node has an IPv6 subnet too, each brings its twin.
Held in memory as well, so that an allocation costs one write. What was recovered from the kernel after the
database was lost has no known owner: it is held for as long as its veth exists.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_log import log
from quilt_policy.program import PodName
from quilt_runtime.core.errors import AddressTakenError, NoSubnetError, RequestError
from quilt_runtime.core.ipam import (
    Allocation,
    Ip,
    Network,
    Owner,
    capacity,
    gateway,
    next_free,
    static_addresses,
    twin,
)
from quilt_runtime.state import StateError, Store

RECOVERED = "recovered"
"""The container id of an address whose owner is not known any more."""


class Addresses:
    """Allocates and releases; safe to use from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._by_owner: dict[Owner, Allocation] = {}
        self._owners: dict[int, Owner] = {}
        self._cursor: int = store.meta("cursor") or 0
        self._connecting: Counter[Owner] = Counter()
        self._owed: set[Owner] = set()
        held, held6 = store.meta("subnet"), store.meta("subnet6")
        self.subnet = IPv4Network(held) if held else None
        """The node's, None until it is configured. `set_subnet` writes it and the other one."""
        self.subnet6 = IPv6Network(held6) if held6 else None
        """The node's IPv6 subnet, None where it has none (yet)."""
        for allocation in store.allocations():
            self._put(allocation)

    def twin(self, address: IPv4Address) -> IPv6Address | None:
        """Return the IPv6 address of the pod that has this address, None where the node has no IPv6."""
        return twin(address, self.subnet, self.subnet6) if self.subnet and self.subnet6 else None

    def ways(self, address: IPv4Address) -> list[tuple[Ip, Ip]]:
        """Return address and gateway of each family that a pod with this address has, IPv4 first.

        Raises NoSubnetError.
        """
        if self.subnet is None:
            raise NoSubnetError
        ways: list[tuple[Ip, Ip]] = [(address, gateway(self.subnet))]
        if self.subnet6 is not None:
            ways.append((twin(address, self.subnet, self.subnet6), gateway(self.subnet6)))
        return ways

    @property
    def capacity(self) -> int:
        """How many containers the subnet has room for."""
        return capacity(self.subnet) if self.subnet else 0

    def set_subnet(self, subnet: Network) -> bool:
        """Make `subnet` the node's of its family; false where it already is.

        Raises RequestError while addresses of another one are in use, StateError where it cannot be recorded.
        A first one of IPv6 may come while pods run: those that come later have it.
        """
        with self._lock:
            held = self.subnet if subnet.version == 4 else self.subnet6
            if subnet == held:
                return False
            if (count := len(self._by_owner)) and (held or subnet.version == 4):
                raise RequestError(
                    f"Subnet cannot change from {held} to {subnet} while {count} addresses "
                    "are allocated; remove this node's pods first",
                    retryable=True,
                )
            if isinstance(subnet, IPv4Network):
                self._store.put_meta(subnet=str(subnet))
                self.subnet = subnet
            else:
                self._store.put_meta(subnet6=str(subnet))
                self.subnet6 = subnet
            return True

    def allocate(
        self, owner: Owner, network: str = "", wishes: Sequence[str] = (), pod: PodName | None = None
    ) -> tuple[Allocation, bool]:
        """Give the owner an address, recorded when this returns; (allocation, whether it is a new one).

        An owner that has one gets the same again. `wishes` are static addresses, at most one of each family.
        Raises NoSubnetError, ExhaustedError, AddressTakenError, RequestError, StateError.
        """
        with self._lock:
            if self.subnet is None:
                raise NoSubnetError
            held = self._by_owner.get(owner)
            if held is not None:
                if wishes and static_addresses(self.subnet, self.subnet6, wishes) != held.address:
                    raise AddressTakenError(
                        f"{owner.container_id}/{owner.interface} already has {held.address}"
                    )
                return held, False
            allocation = Allocation(owner, self._choose(self.subnet, wishes), network, pod)
            self._record(allocation)
            self._cursor = int(allocation.address)
            return allocation, True

    def get(self, owner: Owner) -> Allocation | None:
        """Return what the owner holds."""
        return self._by_owner.get(owner)

    def name(self, owner: Owner, pod: PodName) -> None:
        """Say which pod an owner is that was recorded without a name; known until the end of the process."""
        with self._lock:
            if (held := self._by_owner.get(owner)) is not None and held.pod is None:
                self._by_owner[owner] = replace(held, pod=pod)

    def holder(self, address: IPv4Address) -> Owner | None:
        """Return who holds an address."""
        return self._owners.get(int(address))

    def release(self, owners: Iterable[Owner]) -> list[Allocation]:
        """Free what these owners hold and return it; nothing held is no error. Raises StateError."""
        with self._lock:
            freed = [self._by_owner[owner] for owner in set(owners) if owner in self._by_owner]
            return self._free(freed, gone=False)

    def release_gone(self, owner: Owner) -> None:
        """As release, of a container whose interface is gone: free even where no space is left to record it.

        A pod must be deletable on a full file system, and a later start sees that the interface is gone.
        """
        with self._lock:
            held = self._by_owner.get(owner)
            self._free([held] if held else [], gone=True)

    @contextmanager
    def connecting(self, owner: Owner) -> Iterator[None]:
        """While its interface is being made, an address without one is not that of a dead container."""
        with self._lock:
            self._connecting[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._connecting[owner] -= 1
                self._connecting += Counter()  # drops who is done

    def recover(self, found: Iterable[IPv4Address]) -> list[Allocation]:
        """Record addresses that the kernel shows in use and nobody has; returns those taken on."""
        with self._lock:
            missing = [address for address in found if int(address) not in self._owners]
            recovered = [Allocation(Owner(RECOVERED, str(address)), address) for address in missing]
            for allocation in recovered:
                self._record(allocation)
            return recovered

    def forget_vanished(
        self, exists: Callable[[Allocation], bool], *, also_owned: bool = False
    ) -> list[Allocation]:
        """Free recovered addresses whose interface is gone, with `also_owned` those of CNI containers too.

        Their DEL may have been answered while no runtime ran, before the interface went.
        """
        with self._lock:
            vanished = [
                held
                for held in self._by_owner.values()
                if held.owner not in self._connecting
                and (also_owned or held.owner.container_id == RECOVERED)
                and _ends_with_interface(held)
                and not exists(held)
            ]
            return self._free(vanished, gone=True)

    def held(self) -> list[Allocation]:
        """Return all allocations by address."""
        with self._lock:
            return sorted(self._by_owner.values(), key=lambda allocation: allocation.address)

    def __len__(self) -> int:
        return len(self._by_owner)

    def _free(self, freed: list[Allocation], *, gone: bool) -> list[Allocation]:
        owners = {allocation.owner for allocation in freed}
        if owners:
            try:
                self._store.delete(self._owed | owners)
                self._owed.clear()
            except StateError as error:
                if not gone or any(not _ends_with_interface(allocation) for allocation in freed):
                    raise
                log.warning("release_not_recorded", reason=str(error), addresses=len(freed))
                self._owed |= owners
        for owner in owners:
            self._owners.pop(int(self._by_owner.pop(owner).address))
        return freed

    def _record(self, allocation: Allocation) -> None:
        self._store.insert(allocation, forget=self._owed)
        self._owed.clear()
        self._put(allocation)

    def _put(self, allocation: Allocation) -> None:
        self._by_owner[allocation.owner] = allocation
        self._owners[int(allocation.address)] = allocation.owner

    def _choose(self, subnet: IPv4Network, wishes: Sequence[str]) -> IPv4Address:
        if not wishes:
            return next_free(subnet, self._owners, self._cursor, len(self._owners))
        address = static_addresses(subnet, self.subnet6, wishes)
        holder = self._owners.get(int(address))
        if holder is not None:
            raise AddressTakenError(
                f"Static address {address} is held by {holder.container_id}/{holder.interface}"
            )
        return address


def _ends_with_interface(allocation: Allocation) -> bool:
    """Whether the runtime frees it by itself, at a start at the latest, once its interface is gone."""
    return bool(allocation.network) or allocation.owner.container_id == RECOVERED
