"""What a QuiltNetwork's `spec.underlay` means: on a host, and for those who believe the host.

Where it means no address of the host, or several, nobody guesses: a text says what is in the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Final

from quilt_crds.wire_network import UnderlaySpec

Network = IPv4Network | IPv6Network
# IPv4 first, for all nodes need an address of the same family.
_ANYWHERE: Final = ("0.0.0.0/0", "::/0")
# A condition's message has room for so many addresses of a host.
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class OnHost:
    """An address of a host with its prefix length, and the name of the interface that has it."""

    interface: str
    address: IPv4Interface | IPv6Interface

    @property
    def ip(self) -> str:
        """The address alone."""
        return str(self.address.ip)

    @property
    def single(self) -> bool:
        """Whether its prefix is the address alone, as of addresses that move between hosts with a service."""
        return self.address.network.prefixlen == self.address.max_prefixlen


@dataclass(frozen=True, slots=True)
class Meaning:
    """The address that a choice means, or None; `text` names the choice, or says why it means no address."""

    found: OnHost | None
    text: str


def believed(interface: str, cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks in which an agent's own word for its address is enough; none without a choice."""
    return tuple(map(ip_network, tuple(cidrs) or (_ANYWHERE if interface else ())))


def usable(addresses: Iterable[OnHost], mesh: Sequence[str]) -> list[OnHost]:
    """Return which addresses another host might reach: none of the link alone, none in the ranges of pods."""
    pods = [ip_network(cidr) for cidr in mesh]
    found = []
    for item in addresses:
        ip = item.address.ip
        if not (ip.is_link_local or ip.is_loopback or any(ip in cidr for cidr in pods)):
            found.append(item)
    return found


def meaning(
    choice: UnderlaySpec, addresses: Sequence[OnHost], internal_ips: Collection[str], held: str
) -> Meaning:
    """Return which of a host's `usable` addresses a choice means.

    The first network in which the first interface has one decides. Of several there the Node's InternalIP
    counts, else the one that is not `single`, and of several of those the one that peers use (`held`).
    """
    named, found = _named(choice), _first(choice, addresses)
    internal = [item for item in found if item.ip in internal_ips]
    own = [item for item in found if not item.single] or found
    used = [item for item in own if item.ip == held]
    for some in (internal, own, used):
        if len({item.ip for item in some}) == 1:
            return Meaning(some[0], named)
    if found:
        return Meaning(None, f"Several addresses of this host fit {named}: {_listed(found)}.")
    return Meaning(None, f"No address of this host fits {named}; it has {_listed(addresses) or 'none'}.")


def could_mean(choice: UnderlaySpec, item: OnHost) -> bool:
    """Whether an address can be the one that a choice means."""
    return bool(_first(choice, [item]))


def _first(choice: UnderlaySpec, addresses: Sequence[OnHost]) -> list[OnHost]:
    for cidr, pattern in _steps(choice):
        if found := [a for a in addresses if a.address.ip in cidr and fnmatchcase(a.interface, pattern)]:
            return found
    return []


def _steps(choice: UnderlaySpec) -> Iterator[tuple[Network, str]]:
    for cidr in choice.cidrs or _ANYWHERE:
        for pattern in (choice.interface or "*").split(","):
            yield ip_network(cidr), pattern


def _named(choice: UnderlaySpec) -> str:
    interface = [f"underlay.interface {choice.interface}"] if choice.interface else []
    cidrs = [f"underlay.cidrs {', '.join(choice.cidrs)}"] if choice.cidrs else []
    return " and ".join(interface + cidrs)


def _listed(addresses: Sequence[OnHost]) -> str:
    shown = ", ".join(f"{item.ip} ({item.interface})" for item in addresses[:_SHOWN])
    return f"{shown} and others" if len(addresses) > _SHOWN else shown
