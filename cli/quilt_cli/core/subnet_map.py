"""Where claims are in a network's ranges, each range cut into the subnets that nodes get."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from quilt_cli.core.snapshot import Snapshot
from quilt_crds.wire import QuiltSubnet, Wire
from quilt_crds.wire_network import QuiltNetworkSpec

# Claims and ranges of the largest mesh, and as much again.
_KEPT = 1 << 14


class Range(Wire, frozen=True):
    """A range, `slots` subnets of `length` bits; `edges`: its first and last are given to nobody unasked."""

    cidr: str
    length: int
    slots: int
    edges: bool


class Claim(Wire, frozen=True, omit_defaults=True):
    """A claim: `phase` Up, Down or Releasing, and `slots` subnets of the range `place` from `slot` on.

    `place` is None where the claim is in no range.
    """

    cidr: str
    node: str
    phase: str = ""
    released_at: str = ""
    place: int | None = None
    slot: int = 0
    slots: int = 1


def ranges(spec: QuiltNetworkSpec) -> tuple[Range, ...]:
    """Return the ranges of both families; what cannot be read is left out."""
    # The operator keeps both edges of a range back where it chooses itself and there are others.
    chooses = spec.ipam.mode == "quilt"
    found = []
    for cidr in spec.cidrs:
        network = _network(cidr)
        length = spec.node_prefix_length if ":" not in cidr else spec.node_prefix_length_v6
        if network is not None and network.prefixlen <= length:
            slots = 1 << (length - network.prefixlen)
            found.append(Range(cidr, length, slots, chooses and slots > 2))
    return tuple(found)


def claims(snapshot: Snapshot) -> dict[str, Claim]:
    """Return the snapshot's claims by their names, each with its place in the ranges of its network."""
    held = ranges(snapshot.spec)
    return {item.name: _claim(item, held) for item in snapshot.subnets}


def _claim(item: QuiltSubnet, held: tuple[Range, ...]) -> Claim:
    place, slot, slots = _place(item.cidr, held)
    return Claim(item.cidr, item.node, item.mesh.phase, item.mesh.released_at, place, slot, slots)


@lru_cache(_KEPT)
def _place(cidr: str, held: Sequence[Range]) -> tuple[int | None, int, int]:
    """Return which range a claim is in, its first slot there, and how many it holds."""
    claim = _network(cidr)
    for place, item in enumerate(held):
        network = _network(item.cidr)
        if claim is None or network is None or claim.version != network.version:
            continue
        width = claim.max_prefixlen - item.length
        first = (int(claim.network_address) - int(network.network_address)) >> width
        if 0 <= first < item.slots:
            return place, first, max(1, 1 << max(0, item.length - claim.prefixlen))
    return None, 0, 1


@lru_cache(_KEPT)
def _network(cidr: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(cidr, strict=False)
    except ValueError:
        return None
