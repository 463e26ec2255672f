"""Blocks of addresses as ranges: what a list of CIDRs without their exceptions leaves, of both families."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from typing import TypeAlias

from quilt_policy.objects import IPBlock
from quilt_policy.program import Members

Range: TypeAlias = tuple[int, int]
"""First and last address, as numbers."""

_BEYOND = 2**128


@dataclass(frozen=True)
class Ranges:
    """Addresses, as sorted and disjoint ranges that do not touch."""

    v4: tuple[Range, ...] = ()
    v6: tuple[Range, ...] = ()

    @cached_property
    def members(self) -> Members:
        """The ranges as an AddressSet has them: pairs of first and last address."""
        return Members(_packed(self.v4, 4), _packed(self.v6, 16))

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits which tell them from others."""
        return hashlib.sha256(b"%b|%b" % (self.members.v4, self.members.v6)).hexdigest()[:16]

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __contains__(self, address: bytes) -> bool:
        """Whether the address, of 4 or 16 bytes, is within."""
        ranges = self.v4 if len(address) == 4 else self.v6
        number = int.from_bytes(address, "big")
        place = bisect_right(ranges, (number, _BEYOND))
        return place > 0 and ranges[place - 1][1] >= number


def from_blocks(blocks: Iterable[IPBlock]) -> Ranges:
    """Return what these blocks have in all; a block with anything that is no CIDR has nothing."""
    found: dict[int, list[Range]] = {4: [], 6: []}
    for block in blocks:
        try:
            version, whole = _parse(block.cidr)
            holes = [_parse(text) for text in block.except_]
        except ValueError:
            continue
        found[version] += _without(whole, merged(hole for family, hole in holes if family == version))
    return Ranges(merged(found[4]), merged(found[6]))


def from_networks(networks: Iterable[str]) -> Ranges:
    """Return what these CIDRs have in all."""
    return from_blocks(IPBlock(cidr) for cidr in networks)


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return the same numbers as sorted ranges that neither overlap nor touch."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def _parse(cidr: str) -> tuple[int, Range]:
    """Return family and range; raises ValueError."""
    network = ip_network(cidr, strict=False)
    return network.version, (int(network.network_address), int(network.broadcast_address))


def _without(whole: Range, holes: Iterable[Range]) -> list[Range]:
    """Return what sorted, disjoint holes leave."""
    left: list[Range] = []
    start, end = whole
    for first, last in holes:
        if first > start:
            left.append((start, min(first - 1, end)))
        start = max(start, last + 1)
    if start <= end:
        left.append((start, end))
    return [one for one in left if one[0] <= one[1]]


def _packed(ranges: Iterable[Range], length: int) -> bytes:
    return b"".join(number.to_bytes(length, "big") for pair in ranges for number in pair)
