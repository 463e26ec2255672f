"""What was judged: the sets of the table `inet quilt-policy` that remember it, and the rules about them.

Rules ask who wants which port of whom, and nothing else. So that is what is remembered of protocols with
ports, once for all connections that have it in common; of others it is the connection. It is judged again
when a time is over, and at once when anything is forbidden, for then all of it is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from quilt_netlink.nftsets import Flush, SetChange
from quilt_policy.program import Protocol

FRESH = "fresh"
IS_FRESH = f"ct id @{FRESH} accept"
"""No packet without a tuple has an id."""
NOW_FRESH = f"add @{FRESH} {{ ct id }}"
_ADDRESS = {4: "ip saddr", 6: "ip6 saddr"}
# What is beyond the size is judged packet by packet, which is slower and no more.
_SIZE = "size 262144;"
_WITH_PORTS = [protocol.name.lower() for protocol in Protocol]
_WITHOUT_PORTS = f"meta l4proto != {{ {', '.join(_WITH_PORTS)} }}"


def judged(family: int) -> str:
    """Return the name of one family's set."""
    return f"judged{family}"


REMEMBERED = (*map(judged, _ADDRESS), FRESH)
FORGET: list[SetChange | Flush] = [Flush(name) for name in REMEMBERED]
"""What has all judged again."""


def declared() -> dict[str, str]:
    """Return the sets as declared, by name: of both families, whichever the node has."""
    found = {
        judged(family): f"set {judged(family)} {{ type ipv{family}_addr . ipv{family}_addr . inet_proto"
        f" . inet_service; flags dynamic,timeout; timeout 1m; {_SIZE} }}"
        for family in _ADDRESS
    }
    return {**found, FRESH: f"set {FRESH} {{ typeof ct id; flags dynamic,timeout; timeout 5m; {_SIZE} }}"}


def accepted(families: Iterable[int]) -> Iterator[str]:
    """Yield the rules that accept what was judged, TCP first."""
    for protocol, family in product(_WITH_PORTS, families):
        yield f"meta l4proto {protocol} {_asked(family)} @{judged(family)} accept"
    yield f"{_WITHOUT_PORTS} {IS_FRESH}"


def remembered(families: Iterable[int]) -> Iterator[str]:
    """Yield the rules that remember what was accepted."""
    for protocol, family in product(_WITH_PORTS, families):
        yield f"meta l4proto {protocol} add @{judged(family)} {{ {_asked(family)} }}"
    yield f"{_WITHOUT_PORTS} {NOW_FRESH}"


def _asked(family: int) -> str:
    """Return the key; nft knows the kind of the port where a rule names the protocol before."""
    client, server = f"ct original {_ADDRESS[family]}", f"ct reply {_ADDRESS[family]}"
    return f"{client} . {server} . meta l4proto . ct reply proto-src"
