"""What nodes contribute to addresses: a pod's IPv6 twin, and under which addresses a node's packets come.

A pod's IPv6 address has the number within its node's IPv6 subnet that its IPv4 address has within the other
(decision 15). What a node's own processes send to pods of other nodes comes from its VTEP's address, the
first of its subnet, and not from the address that people know it by; pods reach it there and at the
gateway, the next one.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_policy.program import Members
from quilt_policy.ranges import Ranges


@dataclass(frozen=True, slots=True)
class Place:
    """A node as its claim describes it: the host's address, where it is known, and the pods' subnets."""

    host: IPv4Address | IPv6Address | None
    subnet: IPv4Network
    subnet6: IPv6Network | None = None

    @property
    def inner(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The node's own addresses in the subnets: the VTEP's and the gateway's."""
        subnets: list[IPv4Network | IPv6Network] = [self.subnet]
        if self.subnet6 is not None:
            subnets.append(self.subnet6)
        return tuple(subnet[number] for subnet in subnets for number in (0, 1))


class Places:
    """The nodes' places by name of the node or claim."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._twins: dict[int, dict[int, int]] = {}
        self._by_host: dict[bytes, dict[str, Place]] = {}
        self._hosts: list[bytes] | None = None  # sorted; made again when asked for

    def put(self, name: str, place: Place | None) -> Place | None:
        """Note a place, or with None that it is gone; return what was there before."""
        before = self._places.pop(name, None)
        if before is not None:
            self._twins.get(before.subnet.prefixlen, {}).pop(int(before.subnet.network_address), None)
            if before.host is not None:
                self._leave(before.host.packed, name)
        if place is not None:
            self._places[name] = place
            if place.subnet6 is not None:
                twins = self._twins.setdefault(place.subnet.prefixlen, {})
                twins[int(place.subnet.network_address)] = int(place.subnet6.network_address)
            if place.host is not None:
                self._by_host.setdefault(place.host.packed, {})[name] = place
                self._hosts = None
        return before

    def twins(self, v4: bytes) -> bytes:
        """Return the IPv6 addresses of pods with these IPv4 addresses, as far as they have one: sorted."""
        found = []
        for length, subnets in self._twins.items():
            if subnets:
                found += [_twin(number, length, subnets) for number in numbers(v4)]
        return b"".join(sorted(found))

    def inner(self, ranges: Ranges) -> Members:
        """Return the inner addresses of hosts whose address is in these ranges."""
        if self._hosts is None:
            self._hosts = sorted(self._by_host, key=_by_family)
        within = [
            host
            for length, pairs in ((4, ranges.v4), (16, ranges.v6))
            for first, last in pairs
            for host in _between(self._hosts, first.to_bytes(length, "big"), last.to_bytes(length, "big"))
        ]
        return self._inner(within)

    def inner_of(self, hosts: bytes) -> Members:
        """Return the inner addresses of these hosts, given by their IPv4 addresses."""
        return self._inner(chunks(hosts, 4))

    def _inner(self, hosts: Iterable[bytes]) -> Members:
        places = [place for host in hosts for place in self._by_host.get(host, {}).values()]
        found = sorted({address.packed for place in places for address in place.inner})
        return Members(
            b"".join(one for one in found if len(one) == 4), b"".join(one for one in found if len(one) == 16)
        )

    def _leave(self, host: bytes, name: str) -> None:
        places = self._by_host[host]
        del places[name]
        if not places:
            del self._by_host[host]
            self._hosts = None


def _twin(number: int, length: int, subnets: Mapping[int, int]) -> bytes:
    """Return the twin of an address in one of these subnets, all of one prefix length; else nothing."""
    base = number >> 32 - length << 32 - length
    return (subnets[base] + number - base).to_bytes(16, "big") if base in subnets else b""


def _by_family(address: bytes) -> tuple[int, bytes]:
    return len(address), address


def _between(hosts: list[bytes], first: bytes, last: bytes) -> list[bytes]:
    """Return the addresses of this family from first to last."""
    start = bisect_left(hosts, _by_family(first), key=_by_family)
    return hosts[start : bisect_right(hosts, _by_family(last), key=_by_family)]


def chunks(addresses: bytes, length: int) -> Iterator[bytes]:
    """Yield the addresses of this length in bytes."""
    return (addresses[at : at + length] for at in range(0, len(addresses), length))


def numbers(v4: bytes) -> tuple[int, ...]:
    """Return these IPv4 addresses as numbers."""
    return struct.unpack(f">{len(v4) // 4}I", v4)
