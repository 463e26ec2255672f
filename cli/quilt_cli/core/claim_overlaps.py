"""Which claims are to addresses that another claim has, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from quilt_crds.wire import QuiltSubnet


def overlapping(
    claims: Iterable[QuiltSubnet], others: Iterable[QuiltSubnet] = ()
) -> Iterator[tuple[QuiltSubnet, QuiltSubnet]]:
    """Each of `claims` that overlaps another one of them or of the others; what is no CIDR overlaps nothing.

    CIDRs are nested or apart, so in order of their first addresses, the wider first, one look back is enough.
    """
    marked = [
        (network.version, int(network.network_address), network.prefixlen, asked, network, claim)
        for asked, group in ((True, claims), (False, others))
        for claim in group
        if (network := _network(claim)) is not None
    ]
    marked.sort(key=lambda item: item[:4])
    wide: tuple[bool, IPv4Network | IPv6Network, QuiltSubnet] | None = None
    for *_, asked, network, claim in marked:
        if wide is None or not network.overlaps(wide[1]):
            wide = asked, network, claim
        elif asked:
            yield claim, wide[2]
        elif wide[0]:
            yield wide[2], claim


def _network(claim: QuiltSubnet) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(claim.cidr)
    except ValueError:
        return None
