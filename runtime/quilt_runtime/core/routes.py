"""What makes one route as asked, decided from what the kernel holds at its destination.

A route over a gateway hangs on a next hop object, because the kernel keeps routes with a gateway of their own
in one hash chain per device and becomes quadratic (5,000 of them: 29 us each, against 2.5 us). Only where the
kernel has no such objects the route carries its gateway itself. A route without a gateway is plain and of
link scope. Routes of other programs are never changed: an item that would is refused.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from quilt_crds.names import MESH_PROTOCOL, ROUTE_PROTOCOLS
from quilt_netlink.ops import Create, Delete, Failure, Op, Put
from quilt_netlink.shapes import number4, pack_ip, pack_ips
from quilt_netlink.state import SCOPE_LINK, TABLE_MAIN, Route, Unreachable
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Network
from quilt_runtime.core.requests import LONGEST_CIDR, parse_network

RETRYABLE = frozenset(
    {errno.ENETDOWN, errno.EEXIST, errno.EINTR, errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN}
)
RACED = frozenset({errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL})
LONGEST_INTERFACE = 15  # IFNAMSIZ - 1
_LENGTH = {str(number): number for number in range(1, 33)}
"""Canonical decimal spellings: a look-up both checks and reads. Thousands of routes arrive at once."""

OURS = frozenset(ROUTE_PROTOCOLS)
LOWEST_PREFERENCE = 0xFFFFFFFF
"""The metric of what refuses: any other route of the same prefix precedes it, of whatever owner."""

Hop = tuple[str, int]
"""Gateway and device index: what a next hop object represents."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item; `error` empty on success, `changed` where something was written for it."""

    error: str = ""
    retryable: bool = False
    changed: bool = False
    raced: bool = False
    """Another program wrote between the look and the writing: the call tries again."""


class Asked(NamedTuple):
    """An add as asked for, already checked: canonical destination, gateway empty for a link-scope route."""

    destination: str
    gateway: str
    interface: str

    def over(self, hop: Hop, nhid: int, protocol: int) -> Route:
        """Return the route to write; `nhid` is the next hop object's, 0 where the kernel has none."""
        gateway, ifindex = hop
        if not gateway:
            scope = SCOPE_LINK if ":" not in self.destination else 0
            return Route(self.destination, protocol, ifindex=ifindex, scope=scope)
        if not nhid:
            return Route(self.destination, protocol, ifindex=ifindex, gateway=gateway, onlink=True)
        return Route(self.destination, protocol, nhid=nhid)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a call writes: as `protocol`; removes only `removable`; an equal route of `keep` will do.

    With `by_vteps` a route over a VXLAN device has its destination's network address for gateway: its VTEP's.
    """

    protocol: int
    removable: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()
    by_vteps: bool = False


UNCHANGED, CHANGED = Outcome(), Outcome(changed=True)


def preferred_id(gateway: str) -> int:
    """Return the next hop id that a gateway has unless another program took it: readable from the address."""
    if ":" in gateway:
        # Node subnets differ in the upper half; bit 30 keeps off the low numbers, which people choose.
        value = int(ipaddress.IPv6Address(gateway))
        return (value >> 64 ^ value) & 0x3FFFFFFF | 0x40000000
    # Thousands at a time, so not by way of an IPv4Address each.
    return int.from_bytes(pack_ip(gateway)) & 0x7FFFFFFF or 1


def next_id(nhid: int) -> int:
    """Return the id that a next hop has where another program took this one."""
    return nhid % 0x7FFFFFFF + 1


def unclear(found: Route | None, prefix: str) -> bool:
    """Whether a single look-up at a prefix, which shows the route that counts there, may hide another one."""
    if found is None:
        return False
    return found.table != TABLE_MAIN or _length(found.prefix) > _length(prefix)


def _length(prefix: str) -> int:
    return int(prefix.partition("/")[2])


def foreign(held: Sequence[Route], *, beside_own: bool) -> Route | None:
    """Return another program's route at a destination, which is in the way: of an addition always, of a
    removal only without a route of the mesh.
    """
    if not held:
        return None
    others = [route for route in held if route.protocol not in OURS]
    return others[0] if others and (beside_own or len(others) == len(held)) else None


def refusing(prefix: str) -> Unreachable:
    """Return the entry by which the kernel refuses what no route leads to."""
    return Unreachable(prefix, MESH_PROTOCOL, LOWEST_PREFERENCE)


def foreign_text(route: Route, device: str) -> str:
    """Return what is answered where another program's route is in the way; `device` may be empty."""
    via = f" via {route.gateway}" if route.gateway else ""
    dev = f" dev {device}" if device else ""
    return (
        f"Route {route.prefix}{via}{dev} (protocol {route.protocol}) does not belong to the mesh "
        "and was left as it is; remove it first"
    )


def addition(route: Route, held: Sequence[Route], keep: frozenset[int]) -> Op | None:
    """Return what makes a route, None where it or an equal one of a protocol in `keep` is there."""
    if not held:
        return Create(route)
    if any(same_but_protocol(route, old) and old.protocol in {route.protocol, *keep} for old in held):
        return None
    return Put(route)


def same_but_protocol(wanted: Route, held: Route) -> bool:
    """Whether two routes send the same packets the same way, of whatever owner."""
    return (wanted.prefix, wanted.nhid, wanted.ifindex, wanted.gateway, wanted.metric) == (
        held.prefix,
        held.nhid,
        held.ifindex,
        held.gateway,
        held.metric,
    )


def found_nothing(failure: Failure) -> bool:
    """Whether it was the removal of what is not there."""
    return isinstance(failure.op, Delete) and failure.absent


def refusal(failure: Failure) -> Outcome:
    """Return what a refused write is answered with."""
    entry = failure.op.entry
    what = getattr(entry, "prefix", "") or f"next hop {getattr(entry, 'gateway', entry)}"
    hint = "; bring its interface up" if failure.errno == errno.ENETDOWN else ""
    text = f"Kernel refused {what}: {failure.message}{hint}"
    return Outcome(text, failure.errno in RETRYABLE, raced=failure.errno in RACED)


def canonical4(text: str) -> str:
    """Return `text` where it is a canonical IPv4 CIDR of a pod network, else "": then the slow way says why.

    The ipaddress module would take 15 us for each.
    """
    address, _, size = text.partition("/")
    packed, length = number4(address), _LENGTH.get(size, 0)
    if packed < 0 or not length or packed & (0xFFFFFFFF >> length):
        return ""
    first = packed >> 24
    return text if 0 < first < 224 and first != 127 and packed >> 16 != 0xA9FE else ""


def all_canonical4(addresses: Sequence[str]) -> bool:
    """Whether all are canonically spelled IPv4 addresses."""
    try:
        return not addresses or len(pack_ips(addresses)[0]) == 4
    except (OSError, ValueError):
        return False


def route_destination(network: Network) -> Network:
    """Return the destination, or raise RequestError where no pod network can have a route to it."""
    if network.prefixlen == 0:
        raise RequestError(f"Destination {network} is the default route, which is not the mesh's to change")
    if network.is_loopback or network.is_multicast or network.is_link_local:
        raise RequestError(f"Destination {network} is not a unicast network beyond this host")
    return network


def destination(text: str, parse: Callable[[str, str], Network] = parse_network) -> str:
    """Return a destination as it is spelled canonically; `parse` is for what is not ordinary."""
    return canonical4(text) or str(route_destination(parse("Destination", text)))


def gateway(text: str, family: int) -> str:
    """Return the canonical gateway address of the destination's family (4 or 6); empty stays empty."""
    if not text:
        return ""
    if family == 4 and number4(text) >= 0:
        return text
    if len(text) > LONGEST_CIDR:
        raise RequestError(f"Gateway is {len(text)} characters long, an address has at most 39")
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise RequestError(f"Invalid gateway {text!r}: {error}") from error
    if address.version != family:
        raise RequestError(f"Gateway {address} must be IPv{family} like its destination")
    return str(address)


@lru_cache(maxsize=64)
def interface_name(text: str) -> str:
    """Return the name, or raise RequestError where no interface can be called so."""
    if not text:
        raise RequestError("Interface must not be empty")
    if len(text.encode(errors="replace")) > LONGEST_INTERFACE:
        raise RequestError(f"Interface name is too long, at most {LONGEST_INTERFACE} characters are possible")
    if text in {".", ".."} or any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise RequestError(f"Invalid interface name {text!r}")
    return text
