"""The network below the mesh: which of a node's addresses is used, and which peers are on the same link.

A wrong choice of the address is invisible until packets get lost, so it has a reason. A peer is on the link
when the host's own table says so: the longest matching route to its address has no gateway and leaves by the
interface that carries this node's underlay address. Only then does a frame sent straight to the peer's MAC
arrive; everybody else stays in the overlay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network

from quilt_crds.underlay import Network, OnHost, meaning, usable
from quilt_crds.wire_network import UnderlaySpec

NO_CHOICE = UnderlaySpec()


@dataclass(frozen=True, slots=True)
class HostIP:
    """The chosen underlay address; `reason` is a clause for people, `local` whether this host has it."""

    address: str
    reason: str
    local: bool


@dataclass(frozen=True, slots=True)
class Wishes:
    """Who says what of the host address: --host-ip, the QuiltNode's spec.hostIP, the network, the Node.

    Empty means "not given". `held` is the address that peers use, `mesh` are the ranges of pods.
    """

    flag: str = ""
    spec: str = ""
    choice: UnderlaySpec = NO_CHOICE
    internal_ips: Sequence[str] = ()
    held: str = ""
    mesh: Sequence[str] = ()

    @property
    def by_network(self) -> bool:
        """Whether the network's choice counts: nobody says anything of this node alone."""
        return self.choice.given and not self.flag and not self.spec


def follow_choice(wishes: Wishes, addresses: Iterable[OnHost]) -> tuple[HostIP | None, str]:
    """Choose as the network says; sentences tell why that is not possible.

    The address is then the one of before, or None where this host does not have that.
    """
    candidates = usable(addresses, wishes.mesh)
    meant = meaning(wishes.choice, candidates, wishes.internal_ips, wishes.held)
    if meant.found:
        return HostIP(meant.found.ip, f"{meant.text}, on {meant.found.interface}", local=True), ""
    before = HostIP(wishes.held, "as before", local=True)
    has_it = any(item.ip == wishes.held for item in candidates)
    unmet = f"{meant.text} Correct underlay of the QuiltNetwork, or set spec.hostIP of the QuiltNode."
    return before if has_it else None, unmet


def choose(wishes: Wishes, default_source: str, local: Collection[str]) -> HostIP | None:
    """Choose by what is known of this node alone, or None while nothing points at an address.

    `local` holds this host's addresses; an empty `default_source` means "not given".
    An explicit wish is followed even when no interface has the address (yet): it may come, and silently using
    another one would put the node where nobody expects it.
    """
    internal = next((ip for ip in wishes.internal_ips if ip in local), "")
    for address, reason in (
        (wishes.flag, "from --host-ip"),
        (wishes.spec, "from the QuiltNode's spec.hostIP"),
        (internal, "the Node's InternalIP"),
        (default_source, _why_default(wishes.internal_ips)),
    ):
        if address:
            return HostIP(address, reason, address in local)
    return None


def _why_default(internal_ips: Sequence[str]) -> str:
    if not internal_ips:
        return "source address of the default route; the Node has no InternalIP"
    return f"source address of the default route; no interface has the Node's InternalIP {internal_ips[0]}"


@dataclass(frozen=True)
class Direct:
    """The link that peers may share with us: interface `device`, and what the host's table says of addresses.

    `here` tells of prefixes whether they are on this link, or more specific ones that are not.
    """

    device: str
    here: Mapping[str, bool]

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({int(prefix.partition("/")[2]) for prefix in self.here}, reverse=True)

    def reaches(self, host_ip: str) -> bool:
        """Whether the address is on the link."""
        return next((self.here[p] for p in enclosing(host_ip, self._lengths) if p in self.here), False)


def enclosing(address: str, lengths: Iterable[int]) -> Iterator[str]:
    """Return the prefixes of these lengths that hold an address."""
    inside = ip_address(address)
    number, bits, kind = int(inside), inside.max_prefixlen, type(inside)
    for length in lengths:
        if length <= bits:
            yield f"{kind(number >> (bits - length) << (bits - length))}/{length}"


def on_link(routes: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    """Return of (prefix, whether it is on our link) those that are, and those inside of them that are not."""
    found = [(ip_network(prefix), is_here) for prefix, is_here in routes]
    here = {network for network, is_here in found if is_here and network.prefixlen}
    elsewhere = {network for network, is_here in found if not is_here} - here
    inside = {network for network in elsewhere if any(_inside(network, outer) for outer in here)}
    return {str(network): network in here for network in here | inside}


def _inside(network: Network, outer: Network) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
